//! The table of a packed chunk: what decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::packed;

fuzz_target!(|data: &[u8]| {
    let bytes = quarry_fuzz::sealed(&packed::encode(&[]), data);
    if let Ok(items) = packed::decode(&bytes) {
        assert_eq!(packed::encode(&items), bytes);
    }
});
