//! Text of logins and text requests (RFC 7143 section 6.1): `key=value`, each ended by a zero.

use crate::limits::{KEY_BYTES_MAX, KEYS_MAX, VALUE_BYTES_MAX};

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TextError {
    /// Not UTF-8, or without `=`.
    #[error("the text is no list of keys and values")]
    Malformed,
    /// A key, a value or the list is longer than any that is needed.
    #[error("the text is too long")]
    TooLong,
}

/// The keys and values of `bytes`, in their order. What is behind the last zero ends there as well.
pub fn parse(bytes: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
    let mut pairs = Vec::new();
    for pair in bytes.split(|&byte| byte == 0).filter(|pair| !pair.is_empty()) {
        let pair = std::str::from_utf8(pair).map_err(|_| TextError::Malformed)?;
        let (key, value) = pair.split_once('=').ok_or(TextError::Malformed)?;
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX || pairs.len() >= KEYS_MAX {
            return Err(TextError::TooLong);
        }
        if key.is_empty() {
            return Err(TextError::Malformed);
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Appends `key=value`.
pub fn put(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    text.push(0);
}

/// A number (RFC 7143 section 6.1, "numerical-value"): decimal or, behind `0x`, hexadecimal.
pub fn number(value: &str) -> Option<u32> {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if value.bytes().all(|byte| byte.is_ascii_digit()) => value.parse().ok(),
        None => None,
    }
}

/// A binary value (RFC 7143 section 6.1): hexadecimal behind `0x`, or base64 behind `0b`; at most `bytes_max`.
pub fn binary(value: &str, bytes_max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = value.split_at_checked(2)?;
    let bytes = match prefix {
        "0x" | "0X" if digits.len() % 2 == 1 => hex::decode(format!("0{digits}")).ok()?,
        "0x" | "0X" => hex::decode(digits).ok()?,
        "0b" | "0B" => base64(digits)?,
        _ => return None,
    };
    (!bytes.is_empty() && bytes.len() <= bytes_max).then_some(bytes)
}

/// Decodes base64 (RFC 4648 section 4), with its padding.
fn base64(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(4) || digits.is_empty() {
        return None;
    }
    let body = digits.trim_end_matches('=');
    if digits.len() - body.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for digit in body.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_lists_of_keys_and_values() {
        assert_eq!(parse(b"a=1\0b=\0c=x=y"), Ok(vec![("a", "1"), ("b", ""), ("c", "x=y")]));
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(parse(b"\0\0a=1\0\0"), Ok(vec![("a", "1")]));
        for malformed in [&b"a"[..], b"=1", b"\xff=1\0"] {
            assert_eq!(parse(malformed), Err(TextError::Malformed), "{malformed:?}");
        }
        let long = format!("{}=1", "k".repeat(KEY_BYTES_MAX + 1));
        assert_eq!(parse(long.as_bytes()), Err(TextError::TooLong));
        assert_eq!(parse("a=1\0".repeat(KEYS_MAX + 1).as_bytes()), Err(TextError::TooLong));
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let table = [
            ("0", Some(0)),
            ("262144", Some(262_144)),
            ("0x1fF", Some(0x1ff)),
            ("4294967296", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("0x", None),
            ("0x+1", None),
            ("1a", None),
        ];
        for (text, expected) in table {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn binary_values_have_two_forms() {
        let table: [(&str, Option<&[u8]>); 11] = [
            ("0x010aFF", Some(&[1, 10, 255])),
            ("0xabc", Some(&[0x0a, 0xbc])),
            ("0bAQr/", Some(&[1, 10, 255])),
            ("0bAQo=", Some(&[1, 10])),
            ("0bAQ==", Some(&[1])),
            ("0bAR==", None),
            ("0bAQ", None),
            ("0b====", None),
            ("0x", None),
            ("abcd", None),
            ("0x0102030405", None),
        ];
        for (text, expected) in table {
            assert_eq!(binary(text, 4).as_deref(), expected, "{text}");
        }
    }
}
