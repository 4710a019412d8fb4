//! How a pool keeps what it holds, so that devices may be lost.

use std::fmt;
use std::str::FromStr;

use crate::limits::{CODE_DATA_MAX, CODE_DATA_MIN, CODE_PARITY_MAX, CODE_PARITY_MIN, COPIES_MAX};

/// What keeps data when devices are lost. Written `copies:3` or `ec:4+2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protection {
    /// So many copies of everything, on distinct devices.
    Copies(u8),
    /// An erasure code: groups of chunks that are full, with parity, all on distinct devices. What is being filled has as many
    /// copies as keep it through the same losses.
    Coded {
        /// Chunks with data in a group.
        data: u8,
        /// Chunks with parity in a group: as many of the group's devices may be lost.
        parity: u8,
    },
}

/// Why a protection is not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtectionError {
    /// Not so many copies.
    #[error("a pool keeps 1 to {COPIES_MAX} copies, not {copies}")]
    Copies {
        /// Copies asked for.
        copies: u64,
    },
    /// No such code.
    #[error(
        "an erasure code of {data}+{parity} is not supported: choose {CODE_DATA_MIN} to {CODE_DATA_MAX} data members and \
         {CODE_PARITY_MIN} to {CODE_PARITY_MAX} parity members"
    )]
    Code {
        /// Data members asked for.
        data: u64,
        /// Parity members asked for.
        parity: u64,
    },
    /// Text that is none.
    #[error(
        "'{text}' is no protection: write copies:NUMBER or ec:DATA+PARITY, for example copies:3 or ec:4+2"
    )]
    Unreadable {
        /// The text.
        text: String,
    },
}

impl Protection {
    /// So many copies, if there can be so many.
    pub fn of_copies(copies: u64) -> Result<Self, ProtectionError> {
        match u8::try_from(copies) {
            Ok(count) if (1..=COPIES_MAX).contains(&usize::from(count)) => Ok(Self::Copies(count)),
            _ => Err(ProtectionError::Copies { copies }),
        }
    }

    /// An erasure code, if there is such a one.
    pub fn of_code(data: u64, parity: u64) -> Result<Self, ProtectionError> {
        let is_known = (CODE_DATA_MIN as u64..=CODE_DATA_MAX as u64).contains(&data)
            && (CODE_PARITY_MIN as u64..=CODE_PARITY_MAX as u64).contains(&parity);
        match is_known {
            true => Ok(Self::Coded { data: data as u8, parity: parity as u8 }),
            false => Err(ProtectionError::Code { data, parity }),
        }
    }

    /// Data and parity members of a group, if there are groups.
    pub fn code(self) -> Option<(usize, usize)> {
        match self {
            Self::Copies(_) => None,
            Self::Coded { data, parity } => Some((data.into(), parity.into())),
        }
    }

    /// Copies of what is in no group: it may be lost on all of them but one.
    pub fn copies(self) -> usize {
        match self {
            Self::Copies(copies) => copies.into(),
            Self::Coded { parity, .. } => usize::from(parity) + 1,
        }
    }

    /// Devices that may be lost.
    pub fn losses_tolerated(self) -> usize {
        self.copies() - 1
    }

    /// Devices that it needs.
    pub fn devices(self) -> usize {
        self.slots().0
    }

    /// What is stored: so many slots, on distinct devices, for so many chunks of data.
    pub fn slots(self) -> (usize, usize) {
        match self {
            Self::Copies(copies) => (copies.into(), 1),
            Self::Coded { data, parity } => (usize::from(data) + usize::from(parity), data.into()),
        }
    }

    /// What so many bytes of data take on the devices.
    pub fn stored_bytes(self, bytes: u64) -> u64 {
        let (slots, chunks) = self.slots();
        (u128::from(bytes) * slots as u128 / chunks as u128) as u64
    }

    /// How many bytes of data so many bytes of the devices hold.
    pub fn data_bytes(self, stored_bytes: u64) -> u64 {
        let (slots, chunks) = self.slots();
        (u128::from(stored_bytes) * chunks as u128 / slots as u128) as u64
    }

    /// Chunks with all the copies of what is in no group that take as many slots as so many chunks of data in the end.
    pub fn open_chunks(self, chunks: u64) -> u64 {
        let (slots, data) = self.slots();
        (chunks * slots as u64).div_ceil((data * self.copies()) as u64)
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copies(copies) => write!(f, "copies:{copies}"),
            Self::Coded { data, parity } => write!(f, "ec:{data}+{parity}"),
        }
    }
}

impl FromStr for Protection {
    type Err = ProtectionError;

    fn from_str(text: &str) -> Result<Self, ProtectionError> {
        let unreadable = || ProtectionError::Unreadable { text: text.to_owned() };
        let number = |text: &str| text.parse::<u64>().map_err(|_| unreadable());
        match text.split_once(':').ok_or_else(unreadable)? {
            ("copies", copies) => Self::of_copies(number(copies)?),
            ("ec", code) => {
                let (data, parity) = code.split_once('+').ok_or_else(unreadable)?;
                Self::of_code(number(data)?, number(parity)?)
            }
            _ => Err(unreadable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_are_read_and_written() {
        let copies = (1..=4).map(Protection::Copies);
        let coded = (2..=8).flat_map(|data| (1..=3).map(move |parity| Protection::Coded { data, parity }));
        for protection in copies.chain(coded) {
            assert_eq!(protection.to_string().parse(), Ok(protection));
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        for (text, message) in [
            ("copies:0", "a pool keeps 1 to 4 copies, not 0"),
            ("copies:5", "a pool keeps 1 to 4 copies, not 5"),
            ("copies:261", "a pool keeps 1 to 4 copies, not 261"),
            (
                "ec:1+1",
                "an erasure code of 1+1 is not supported: choose 2 to 8 data members and 1 to 3 parity members",
            ),
            (
                "ec:258+2",
                "an erasure code of 258+2 is not supported: choose 2 to 8 data members and 1 to 3 parity members",
            ),
            (
                "raid6",
                "'raid6' is no protection: write copies:NUMBER or ec:DATA+PARITY, for example copies:3 or ec:4+2",
            ),
            (
                "ec:4",
                "'ec:4' is no protection: write copies:NUMBER or ec:DATA+PARITY, for example copies:3 or ec:4+2",
            ),
        ] {
            assert_eq!(text.parse::<Protection>().expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn what_it_costs() {
        let coded = Protection::Coded { data: 4, parity: 2 };
        assert_eq!((coded.copies(), coded.devices(), coded.losses_tolerated()), (3, 6, 2));
        assert_eq!((coded.stored_bytes(1000), coded.data_bytes(1500)), (1500, 1000));
        assert_eq!([0, 1, 2, 4, 5].map(|chunks| coded.open_chunks(chunks)), [0, 1, 1, 2, 3]);
        let mirrored = Protection::Copies(3);
        assert_eq!((mirrored.copies(), mirrored.devices(), mirrored.losses_tolerated()), (3, 3, 2));
        assert_eq!((mirrored.stored_bytes(1000), mirrored.data_bytes(3000)), (3000, 1000));
        assert_eq!(mirrored.open_chunks(7), 7);
    }
}
