use proptest::prelude::*;
use quarry_types::{LogAddress, LogId, SegmentId, Tag};

use crate::{Ciphers, DataKey, Forged, WrapError};

fn address(sequence: u64, sector: u32) -> LogAddress {
    LogAddress::new(SegmentId::new(LogId(3), sequence), sector)
}

#[test]
fn the_derivation_never_changes() {
    // HKDF-SHA256 and AES-256-GCM over known input, computed once with Python's cryptography: devices depend on it.
    let ciphers = Ciphers::new(DataKey::new([7; 32]), LogId(3));
    let mut bytes = *b"sixteen bytes...";
    let tag = ciphers.seal(&[9; 16], address(5, 40), &mut bytes);
    assert_eq!(hex(&bytes), "b879802bd3719eee817e62054dfa6c8c");
    assert_eq!(format!("{tag:?}"), "2ce92d19d66e2c1565a51e6133bdeeaa");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #[test]
    fn only_what_was_sealed_for_the_place_opens(
        clear in prop::collection::vec(any::<u8>(), 1..4096), flip in any::<usize>(), sector in 8u32..60_000,
    ) {
        let ciphers = Ciphers::new(DataKey::new([1; 32]), LogId(3));
        let (salt, place) = ([2; 16], address(9, sector));
        let mut sealed = clear.clone();
        let tag = ciphers.seal(&salt, place, &mut sealed);
        let mut opened = vec![0; clear.len()];
        prop_assert_eq!(ciphers.open(&salt, place, (&sealed, &tag), &mut opened), Ok(()));
        prop_assert_eq!(&opened, &clear);
        let mut open = |ciphers: &Ciphers, salt, place, sealed: &[u8], tag: &Tag| ciphers.open(salt, place, (sealed, tag), &mut opened);
        prop_assert_eq!(open(&ciphers, &[3; 16], place, &sealed, &tag), Err(Forged));
        prop_assert_eq!(open(&ciphers, &salt, address(9, sector + 1), &sealed, &tag), Err(Forged));
        prop_assert_eq!(open(&ciphers, &salt, address(10, sector), &sealed, &tag), Err(Forged));
        let other = Ciphers::new(DataKey::new([1; 32]), LogId(4));
        prop_assert_eq!(open(&other, &salt, place, &sealed, &tag), Err(Forged));
        let mut changed = sealed.clone();
        changed[flip % clear.len()] ^= 1 << (flip % 8);
        prop_assert_eq!(open(&ciphers, &salt, place, &changed, &tag), Err(Forged));
        let mut changed = tag;
        changed.0[flip % 16] ^= 1 << (flip % 8);
        prop_assert_eq!(open(&ciphers, &salt, place, &sealed, &changed), Err(Forged));
    }
}

#[test]
fn a_wrapped_key_opens_under_its_key_and_name_alone() {
    let (outer, inner) = (DataKey::new([1; 32]), DataKey::new([2; 32]));
    let wrapped = outer.wrap(&inner, "volume", 77);
    assert!(!wrapped.windows(32).any(|window| window == inner.bytes()));
    assert_eq!(outer.unwrap(&wrapped, "volume").map(|key| *key.bytes()), Ok([2; 32]));
    assert_eq!(outer.unwrap(&wrapped, "other").map(|_| ()), Err(WrapError));
    assert_eq!(inner.unwrap(&wrapped, "volume").map(|_| ()), Err(WrapError));
    let mut damaged = wrapped;
    damaged[20] ^= 1;
    assert_eq!(outer.unwrap(&damaged, "volume").map(|_| ()), Err(WrapError));
    assert_eq!(format!("{inner:?}"), "DataKey");
}
