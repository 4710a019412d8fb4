//! From a latency to its bucket and back.

/// Buckets of a histogram. The last one has everything from 58.7 seconds on.
pub const BUCKETS: usize = 100;

/// Each doubling is cut into so many parts, as a power of two.
const PART_BITS: u32 = 2;
const PARTS: u64 = 1 << PART_BITS;

/// The bucket of a latency.
#[inline]
pub fn bucket_of(us: u64) -> usize {
    if us < PARTS {
        return us as usize;
    }
    let exponent = us.ilog2();
    let part = us >> (exponent - PART_BITS) & (PARTS - 1);
    let index = u64::from(exponent - PART_BITS + 1) << PART_BITS | part;
    (index as usize).min(BUCKETS - 1)
}

/// The least latency of a bucket in microseconds; of one behind the last, the end of the last.
pub const fn lower_bound_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let exponent = (bucket >> PART_BITS) as u32 + PART_BITS - 1;
    (PARTS + (bucket & (PARTS - 1))) << (exponent - PART_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_the_bucket_whose_bounds_hold_it() {
        for bucket in 0..BUCKETS {
            let (lower, upper) = (lower_bound_us(bucket), lower_bound_us(bucket + 1));
            assert!(lower < upper, "bucket {bucket}");
            assert_eq!([bucket_of(lower), bucket_of(upper - 1)], [bucket; 2]);
            assert!(bucket < 8 || upper - lower <= lower.div_ceil(4), "bucket {bucket} is too wide");
        }
        assert_eq!(lower_bound_us(BUCKETS), 1 << 26);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn powers_of_two_are_bounds() {
        for exponent in 0..26 {
            assert_eq!(lower_bound_us(bucket_of(1 << exponent)), 1 << exponent);
        }
    }
}
