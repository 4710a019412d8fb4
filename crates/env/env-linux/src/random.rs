//! Randomness from the kernel.

use std::cell::RefCell;

use quarry_env::Random;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// `getrandom(2)`, fetched in small portions.
pub(crate) struct SystemRandom(RefCell<Portion>);

const PORTION_BYTES: usize = 256;

struct Portion {
    bytes: [u8; PORTION_BYTES],
    used: usize,
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self(RefCell::new(Portion { bytes: [0; PORTION_BYTES], used: PORTION_BYTES }))
    }
}

impl Portion {
    fn refill(&mut self) {
        let mut filled = 0;
        while filled < PORTION_BYTES {
            match getrandom(&mut self.bytes[filled..], GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => panic!("the kernel gives no random numbers: {error}"),
            }
        }
        self.used = 0;
    }
}

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        let portion = &mut *self.0.borrow_mut();
        if portion.used == PORTION_BYTES {
            portion.refill();
        }
        let taken = &mut portion.bytes[portion.used..portion.used + 8];
        portion.used += 8;
        let number = u64::from_ne_bytes(taken.try_into().expect("eight bytes"));
        taken.fill(0);
        number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_do_not_repeat_across_portions() {
        let random = SystemRandom::default();
        let numbers: BTreeSet<u64> = (0..1000).map(|_| random.next_u64()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
