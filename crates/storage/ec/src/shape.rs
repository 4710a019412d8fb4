//! How many members a code has.

use std::fmt;
use std::str::FromStr;

use quarry_types::limits::{CODE_DATA_MAX, CODE_DATA_MIN, CODE_PARITY_MAX, CODE_PARITY_MIN};

use crate::error::CodeError;

/// The numbers of data members (k) and parity members (m) of a code. Written `4+2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shape {
    data: u8,
    parity: u8,
}

impl Shape {
    /// A shape between 2+1 and 8+3.
    pub fn new(data: usize, parity: usize) -> Result<Self, CodeError> {
        let is_known = (CODE_DATA_MIN..=CODE_DATA_MAX).contains(&data)
            && (CODE_PARITY_MIN..=CODE_PARITY_MAX).contains(&parity);
        match (u8::try_from(data), u8::try_from(parity)) {
            (Ok(data), Ok(parity)) if is_known => Ok(Self { data, parity }),
            _ => Err(CodeError::Shape { data, parity }),
        }
    }

    /// Every shape there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let shapes = |data| (CODE_PARITY_MIN..=CODE_PARITY_MAX).map(move |parity| (data, parity));
        (CODE_DATA_MIN..=CODE_DATA_MAX)
            .flat_map(shapes)
            .map(|(data, parity)| Self { data: data as u8, parity: parity as u8 })
    }

    /// Data members.
    pub fn data(self) -> usize {
        self.data.into()
    }

    /// Parity members: as many members may be missing.
    pub fn parity(self) -> usize {
        self.parity.into()
    }

    /// All members. Data members are numbered first.
    pub fn members(self) -> usize {
        self.data() + self.parity()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Shape {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let unreadable = || CodeError::Unreadable { text: text.to_owned() };
        let (data, parity) = text.split_once('+').ok_or_else(unreadable)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| unreadable());
        Self::new(number(data)?, number(parity)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_and_written() {
        for shape in Shape::all() {
            assert_eq!(shape.to_string().parse::<Shape>(), Ok(shape));
        }
        assert_eq!(Shape::all().count(), 21);
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        for (text, message) in [
            ("1+1", "a code of 1+1 is not supported: choose 2 to 8 data members and 1 to 3 parity members"),
            ("9+3", "a code of 9+3 is not supported: choose 2 to 8 data members and 1 to 3 parity members"),
            ("4+4", "a code of 4+4 is not supported: choose 2 to 8 data members and 1 to 3 parity members"),
            (
                "258+1",
                "a code of 258+1 is not supported: choose 2 to 8 data members and 1 to 3 parity members",
            ),
            ("4", "'4' is no erasure code: write DATA+PARITY, for example 4+2"),
            ("4+-2", "'4+-2' is no erasure code: write DATA+PARITY, for example 4+2"),
        ] {
            assert_eq!(text.parse::<Shape>().expect_err(text).to_string(), message);
        }
    }
}
