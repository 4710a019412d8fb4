//! What a request costs.

/// Bytes that count as one I/O against limits and reservations of I/Os; a larger request counts once for each that it begins.
pub const IO_BYTES: u64 = 64 << 10;
/// Bytes that take a core as long as one request without any. Measured over NBD: 128 KiB cost 7.5 times as much as 4 KiB.
pub const UNIT_BYTES: u64 = 16 << 10;
/// A unit of cost in the finest steps that are counted.
pub(crate) const UNIT: u64 = 16;
/// What is freed by one discard counts as one I/O for each so many bytes: it detaches whole subtrees of a map.
const FREED_BYTES: u64 = 1 << 30;

/// What a request costs, in each of the ways in which it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Against limits and reservations of I/Os.
    pub ios: u64,
    /// Against those of bytes.
    pub bytes: u64,
    /// Of the core's time, for shares by weight: sixteenths of a request without data.
    pub units: u64,
}

impl Cost {
    /// Of a request that moves so many bytes.
    pub fn of_bytes(bytes: u64) -> Self {
        Self { ios: bytes.div_ceil(IO_BYTES).max(1), bytes, units: UNIT + bytes * UNIT / UNIT_BYTES }
    }

    /// Of a request that frees so many bytes, or makes them read as zeroes without storing them.
    pub fn of_freed(bytes: u64) -> Self {
        let ios = bytes.div_ceil(FREED_BYTES).max(1);
        Self { ios, bytes: 0, units: UNIT * ios }
    }

    /// Of a request without data: a flush, a look at extents.
    pub fn of_order() -> Self {
        Self::of_bytes(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_cost_more_and_discards_something() {
        assert_eq!(Cost::of_bytes(4096), Cost { ios: 1, bytes: 4096, units: 20 });
        assert_eq!(Cost::of_bytes(64 << 10).ios, 1);
        assert_eq!(Cost::of_bytes((64 << 10) + 512).ios, 2);
        let (large, small) = (Cost::of_bytes(128 << 10), Cost::of_bytes(4096));
        assert!((7.0..8.0).contains(&(large.units as f64 / small.units as f64)));
        assert_eq!(Cost::of_freed(1 << 20), Cost { ios: 1, bytes: 0, units: 16 });
        assert_eq!(Cost::of_freed(1 << 40).ios, 1024);
        assert_eq!(Cost::of_order(), Cost { ios: 1, bytes: 0, units: 16 });
    }
}
