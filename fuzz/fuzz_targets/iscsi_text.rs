//! Text of logins: what parses is put together to the same again, and values have their meaning or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_iscsi::parameters::Parameters;
use quarry_iscsi::text::{binary, number, parse, put};

fuzz_target!(|data: &[u8]| {
    let Ok(pairs) = parse(data) else { return };
    let mut again = Vec::new();
    let mut parameters = Parameters::default();
    for (key, value) in &pairs {
        put(&mut again, key, value);
        let _ = number(value);
        assert!(binary(value, 64).is_none_or(|bytes| (1..=64).contains(&bytes.len())));
        for discovery in [false, true] {
            let _ = parameters.negotiate(key, value, discovery);
        }
    }
    assert_eq!(parse(&again).as_ref(), Ok(&pairs));
    parameters.settle();
    assert!(
        parameters.initiator_segment_bytes >= 512 && parameters.first_burst_bytes <= parameters.burst_bytes
    );
});
