//! The text of a token: `qt_ID_SECRET`, an id of 64 bits to find it by and a secret of 256 bits, in hexadecimal digits.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use quarry_api_types::Secret;

const PREFIX: &str = "qt_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// A new token and what is kept of it.
pub(crate) struct Fresh {
    pub(crate) id: String,
    pub(crate) hash: String,
    pub(crate) text: Secret,
}

impl Fresh {
    pub(crate) fn new() -> Self {
        let (id, secret) = (hex::encode(chance::<8>()), hex::encode(chance::<32>()));
        let text = Secret::new(format!("{PREFIX}{id}_{secret}"));
        Self { hash: hash(&secret), id, text }
    }
}

/// Id and secret, if the text has the form of a token.
pub(crate) fn parse(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits = id.len() == ID_DIGITS && secret.len() == SECRET_DIGITS && is_hex(id) && is_hex(secret);
    fits.then_some((id, secret))
}

/// Whether `kept` is the hash of this secret. A secret of 256 random bits needs no slow hash: nobody tries them all.
pub(crate) fn matches(secret: &str, kept: &str) -> bool {
    verify_slices_are_equal(hash(secret).as_bytes(), kept.as_bytes()).is_ok()
}

fn hash(secret: &str) -> String {
    hex::encode(digest(&SHA256, secret.as_bytes()))
}

/// Random bytes of the system's generator.
pub(crate) fn chance<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_id_and_proved_by_its_secret() {
        let (fresh, other) = (Fresh::new(), Fresh::new());
        let (id, secret) = parse(fresh.text.reveal()).unwrap();
        assert_eq!(id, fresh.id);
        assert!(matches(secret, &fresh.hash) && !matches(secret, &other.hash));
        assert!(!fresh.hash.contains(secret));
        let text = fresh.text.reveal();
        for bad in ["", "qt_", "qt_1_2", &text[1..], &text[..text.len() - 1], &text.to_uppercase()] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
