//! Logical unit numbers (SAM-6 4.7): eight bytes that say which unit, in one of several ways.

/// Numbers up to here fit into the shorter way of writing them.
const PERIPHERAL_MAX: u32 = 0xFF;
const FLAT_MAX: u32 = 0x3FFF;

/// A logical unit number as it travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// How this target writes the number of a unit.
    pub fn of(number: u32) -> Self {
        let mut bytes = [0; 8];
        let [high, low] = (number as u16).to_be_bytes();
        (bytes[0], bytes[1]) = match number {
            0..=PERIPHERAL_MAX => (0, low),
            _ => (0x40 | high, low),
        };
        Self(bytes)
    }

    /// The number of a unit, if it is one of a single level: peripheral device addressing on bus 0, or flat space addressing.
    pub fn number(self) -> Option<u32> {
        if self.0[2..] != [0; 6] {
            return None;
        }
        let number = u32::from(u16::from_be_bytes([self.0[0], self.0[1]]));
        match self.0[0] >> 6 {
            0 if number <= PERIPHERAL_MAX => Some(number),
            1 => Some(number & FLAT_MAX),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_written() {
        for number in [0, 1, 255, 256, 1000, 16383] {
            assert_eq!(Lun::of(number).number(), Some(number));
        }
        assert_eq!(Lun::of(255).0, [0, 255, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun::of(256).0, [0x41, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun([0x40, 7, 0, 0, 0, 0, 0, 0]).number(), Some(7), "both ways are understood");
        for bytes in [[0, 1, 0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], [0xC1, 1, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Lun(bytes).number(), None, "{bytes:?}");
        }
    }
}
