//! The bytes of a row: docs/format/history.md.

use std::collections::BTreeMap;

use crate::point::Point;

const POINT_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 4;

/// Points by the number of their series, and a checksum over them.
pub(crate) fn encode(points: &[(u32, Point)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(points.len() * POINT_BYTES + CHECKSUM_BYTES);
    for (number, point) in points {
        bytes.extend(number.to_le_bytes());
        bytes.extend(point.count.to_le_bytes());
        bytes.extend(point.mean.to_le_bytes());
        bytes.extend(point.min.to_le_bytes());
        bytes.extend(point.max.to_le_bytes());
    }
    bytes.extend(crc_fast::crc32_iscsi(&bytes).to_le_bytes());
    bytes
}

/// `None` of what is no row.
pub(crate) fn decode(stretch: u32, bytes: &[u8]) -> Option<BTreeMap<u32, Point>> {
    let (points, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if crc_fast::crc32_iscsi(points) != u32::from_le_bytes(*checksum) || points.len() % POINT_BYTES != 0 {
        return None;
    }
    points.chunks_exact(POINT_BYTES).map(|bytes| point(stretch, bytes)).collect()
}

fn point(stretch: u32, bytes: &[u8]) -> Option<(u32, Point)> {
    let four = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
    let mean = f64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    let (min, max) = (f32::from_le_bytes(four(16)?), f32::from_le_bytes(four(20)?));
    let point = Point { stretch, count: u32::from_le_bytes(four(4)?), mean, min, max };
    let is_good = point.count > 0 && mean.is_finite() && min.is_finite() && max.is_finite();
    is_good.then_some((u32::from_le_bytes(four(0)?), point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_row_are_those_of_the_document() {
        let point = Point { stretch: 9, count: 3, mean: 1.5, min: -1.0, max: 4.0 };
        let bytes = encode(&[(7, point)]);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&text[..48], "0700000003000000000000000000f83f000080bf00008040");
        assert_eq!(bytes.len(), 28);
        assert_eq!(decode(9, &bytes).unwrap(), BTreeMap::from([(7, point)]));
        assert_eq!(decode(9, &encode(&[])).unwrap(), BTreeMap::new());
    }

    #[test]
    fn what_was_damaged_is_no_row() {
        let point = Point { stretch: 9, count: 3, mean: 1.5, min: -1.0, max: 4.0 };
        let bytes = encode(&[(7, point), (8, point)]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(9, &bad), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| decode(9, &bytes[..length]).is_none()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_row_or_none(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode(1, &bytes);
            let mut sealed = bytes.clone();
            sealed.extend(crc_fast::crc32_iscsi(&bytes).to_le_bytes());
            if let Some(points) = decode(1, &sealed) {
                proptest::prop_assert!(points.len() * POINT_BYTES <= bytes.len());
            }
        }
    }
}
