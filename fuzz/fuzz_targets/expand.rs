//! A compressed block: whatever it holds, a block or an error, and what was made smaller comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::node::Method;
use quarry_reduce::{Reducer, expand};
use quarry_types::Compression;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let (method, compression) =
        if choice & 1 == 0 { (Method::Lz4, Compression::Lz4) } else { (Method::Zstd, Compression::Zstd) };
    let mut block = vec![0; 4096];
    let _ = expand(method, data, &mut block);
    let mut original = data.to_vec();
    original.resize(4096, choice);
    let mut reducer = Reducer::default();
    if let Some((made, stored)) = reducer.reduce(compression, &original) {
        assert_eq!(made, method);
        assert_eq!(expand(made, stored, &mut block), Ok(()));
        assert_eq!(block, original);
    }
});
