//! A device label, with whatever checksum the fuzzer finds: an answer or an error, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::label::Label;

fuzz_target!(|data: &[u8]| {
    if let Ok(label) = Label::decode(data) {
        assert_eq!(Label::decode(&label.encode()), Ok(label));
    }
});
