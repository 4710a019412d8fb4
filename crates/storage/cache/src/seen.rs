//! Which addresses were asked for lately: a table of marks in rows, and a row for each address.
//!
//! In a row the latest drives out the oldest, so what was asked for long ago is forgotten by itself. An address may be taken for another
//! one, once in some hundred million; then something is kept that was read once.

use quarry_types::LogAddress;

/// Spreads neighbours over the whole table: the golden ratio of 2^64.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// No address has this mark.
const NONE: u32 = 0;

/// Marks of a row: a quarter of a line of the processor's cache.
const ROW_MARKS: usize = 4;

/// See the module.
pub struct Seen {
    rows: Box<[[u32; ROW_MARKS]]>,
    shift: u32,
}

impl Seen {
    /// Bytes of a mark.
    pub const MARK_BYTES: usize = size_of::<u32>();

    /// With room for so many marks at least, and for twice as many at most.
    pub fn new(marks: usize) -> Self {
        let rows = marks.div_ceil(ROW_MARKS).next_power_of_two().max(2);
        Self { rows: vec![[NONE; ROW_MARKS]; rows].into(), shift: u64::BITS - rows.ilog2() }
    }

    /// Whether the address was asked for lately. From now on it was.
    pub fn note(&mut self, address: LogAddress) -> bool {
        let spread = address.0.wrapping_mul(FACTOR);
        let spread = (spread ^ (spread >> 32)).wrapping_mul(FACTOR);
        let (row, mark) = (&mut self.rows[(spread >> self.shift) as usize], (spread as u32) | 1);
        let found = row.iter().position(|&known| known == mark);
        row[..=found.unwrap_or(ROW_MARKS - 1)].rotate_right(1);
        row[0] = mark;
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_is_noticed_unless_it_is_long_after_the_first() {
        let mut seen = Seen::new(1000);
        let address = |number: u64| LogAddress(number * 8);
        let again = (0..500).filter(|&number| seen.note(address(number))).count();
        assert_eq!(again, 0);
        let again = (0..500).filter(|&number| seen.note(address(number))).count();
        assert!(again > 400, "{again}: most rows have room");
        (1000..20_000).for_each(|number| _ = seen.note(address(number)));
        let again = (0..500).filter(|&number| seen.note(address(number))).count();
        assert!(again < 10, "{again}");
    }
}
