//! Values of options that are no types of the API.

use std::str::FromStr;

/// A share of something in whole percent, written `70%` or `70`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percent(pub u8);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match number.parse() {
            Ok(percent @ 1..=100) => Ok(Self(percent)),
            _ => Err(format!("'{text}' is not a whole percentage from 1% to 100%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_may_carry_its_sign() {
        for (text, percent) in [("70%", 70), ("70", 70), ("70 %", 70), ("1", 1), ("100%", 100)] {
            assert_eq!(text.parse(), Ok(Percent(percent)), "{text}");
        }
        for text in ["", "%", "0", "101%", "0.7", "-3", "7%%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
