//! CHAP in the login (RFC 7143 section 12.1.3, RFC 1994): each side proves that it knows a secret, without saying it.
//!
//! ```text
//! initiator: CHAP_A=7,5       the algorithms that it knows
//! target:    CHAP_A CHAP_I CHAP_C       the chosen one, and a challenge
//! initiator: CHAP_N CHAP_R [CHAP_I CHAP_C]       its name and response, and a challenge of its own
//! target:    [CHAP_N CHAP_R]
//! ```

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest, Md5};
use quarry_target::Chap;

use crate::limits::CHAP_BYTES_MAX;
use crate::text::{binary, number, put};

/// Bytes of our challenge.
pub const CHALLENGE_BYTES: usize = 32;

/// The algorithms, by the numbers that IANA has given them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Md5 = 5,
    Sha256 = 7,
}

impl Algorithm {
    fn of(number: &str) -> Option<Self> {
        match number {
            "5" => Some(Self::Md5),
            "7" => Some(Self::Sha256),
            _ => None,
        }
    }

    /// The response to a challenge: a hash of the identifier, the secret and the challenge.
    fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        let whole = [&[identifier], secret, challenge].concat();
        match self {
            Self::Md5 => Md5::digest(&whole).to_vec(),
            Self::Sha256 => digest(&SHA256, &whole).as_ref().to_vec(),
        }
    }
}

/// Why the initiator is not who it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChapError {
    /// A key is missing or makes no sense.
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    /// None of its algorithms is known.
    #[error("no algorithm is known to both sides")]
    NoAlgorithm,
    /// The name or the response is not the right one.
    #[error("the name or the response is wrong")]
    Wrong,
    /// It wants to be answered what it was asked.
    #[error("the initiator's challenge is our own")]
    Reflected,
    /// It wants a proof, and there is no secret for one; or the other way round.
    #[error("one side wants the other one to prove itself, and the other does not")]
    NotMutual,
}

/// Where an exchange stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begin,
    Challenged(Algorithm),
    Done,
}

/// One exchange.
pub struct Exchange {
    chap: Chap,
    identifier: u8,
    challenge: [u8; CHALLENGE_BYTES],
    stage: Stage,
}

fn value<'a>(pairs: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

impl Exchange {
    /// An exchange about `chap`; the caller brings chance.
    pub fn new(chap: Chap, identifier: u8, challenge: [u8; CHALLENGE_BYTES]) -> Self {
        Self { chap, identifier, challenge, stage: Stage::Begin }
    }

    /// Whether the initiator has proved itself.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Takes what the initiator sends, and puts the answer into `text`.
    pub fn step(&mut self, pairs: &[(&str, &str)], text: &mut Vec<u8>) -> Result<(), ChapError> {
        match self.stage {
            Stage::Begin => self.begin(pairs, text),
            Stage::Challenged(algorithm) => self.check(algorithm, pairs, text),
            Stage::Done => Ok(()),
        }
    }

    fn begin(&mut self, pairs: &[(&str, &str)], text: &mut Vec<u8>) -> Result<(), ChapError> {
        // It may first say no more than that it wants CHAP.
        let Some(offered) = value(pairs, "CHAP_A") else { return Ok(()) };
        let algorithm = offered.split(',').find_map(Algorithm::of).ok_or(ChapError::NoAlgorithm)?;
        put(text, "CHAP_A", &(algorithm as u8).to_string());
        put(text, "CHAP_I", &self.identifier.to_string());
        put(text, "CHAP_C", &format!("0x{}", hex::encode(self.challenge)));
        self.stage = Stage::Challenged(algorithm);
        Ok(())
    }

    fn check(
        &mut self,
        algorithm: Algorithm,
        pairs: &[(&str, &str)],
        text: &mut Vec<u8>,
    ) -> Result<(), ChapError> {
        let name = value(pairs, "CHAP_N").ok_or(ChapError::Malformed("CHAP_N"))?;
        let response = value(pairs, "CHAP_R").and_then(|value| binary(value, CHAP_BYTES_MAX));
        let response = response.ok_or(ChapError::Malformed("CHAP_R"))?;
        let expected = algorithm.response(self.identifier, self.chap.secret.as_bytes(), &self.challenge);
        let known = name == self.chap.user;
        if verify_slices_are_equal(&response, &expected).is_err() || !known {
            return Err(ChapError::Wrong);
        }
        self.prove(algorithm, pairs, text)?;
        self.stage = Stage::Done;
        Ok(())
    }

    /// Answers the challenge of the initiator, where there is to be one.
    fn prove(
        &self,
        algorithm: Algorithm,
        pairs: &[(&str, &str)],
        text: &mut Vec<u8>,
    ) -> Result<(), ChapError> {
        let (identifier, challenge) = match (value(pairs, "CHAP_I"), value(pairs, "CHAP_C")) {
            // An initiator that wants no proof is content with less than it could have.
            (None, None) => return Ok(()),
            (Some(identifier), Some(challenge)) => (identifier, challenge),
            (None, Some(_)) => return Err(ChapError::Malformed("CHAP_I")),
            (Some(_), None) => return Err(ChapError::Malformed("CHAP_C")),
        };
        let Some((name, secret)) = &self.chap.mutual else { return Err(ChapError::NotMutual) };
        let identifier = number(identifier).and_then(|number| u8::try_from(number).ok());
        let identifier = identifier.ok_or(ChapError::Malformed("CHAP_I"))?;
        let challenge = binary(challenge, CHAP_BYTES_MAX).ok_or(ChapError::Malformed("CHAP_C"))?;
        if challenge == self.challenge {
            return Err(ChapError::Reflected);
        }
        let response = algorithm.response(identifier, secret.as_bytes(), &challenge);
        put(text, "CHAP_N", name);
        put(text, "CHAP_R", &format!("0x{}", hex::encode(response)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    const CHALLENGE: [u8; CHALLENGE_BYTES] = [7; CHALLENGE_BYTES];

    fn exchange(mutual: bool) -> Exchange {
        let mutual = mutual.then(|| ("target".to_owned(), "its secret".to_owned()));
        let chap = Chap { user: "user".to_owned(), secret: "a secret of some length".to_owned(), mutual };
        Exchange::new(chap, 9, CHALLENGE)
    }

    fn right(algorithm: Algorithm) -> String {
        let response = algorithm.response(9, b"a secret of some length", &CHALLENGE);
        format!("0x{}", hex::encode(response))
    }

    fn step(exchange: &mut Exchange, pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, ChapError> {
        let mut text = Vec::new();
        exchange.step(pairs, &mut text)?;
        let pairs = parse(&text).expect("our own text");
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn the_response_is_the_hash_of_rfc_1994() {
        let expected = Md5::digest(b"\x01secret\x02\x03").to_vec();
        assert_eq!(Algorithm::Md5.response(1, b"secret", &[2, 3]), expected);
        assert_eq!(Algorithm::Sha256.response(1, b"secret", &[2, 3]).len(), 32);
    }

    #[test]
    fn who_knows_the_secret_is_let_in() {
        for (offered, chosen) in
            [("5", Algorithm::Md5), ("6,7,5", Algorithm::Sha256), ("5,7", Algorithm::Md5)]
        {
            let mut exchange = exchange(false);
            assert_eq!(step(&mut exchange, &[]), Ok(vec![]), "it has only said CHAP");
            let answer = step(&mut exchange, &[("CHAP_A", offered)]).expect("known");
            assert_eq!(answer[0].1, (chosen as u8).to_string());
            assert_eq!(answer[2].1, format!("0x{}", hex::encode(CHALLENGE)));
            assert!(!exchange.is_done());
            let answer = step(&mut exchange, &[("CHAP_N", "user"), ("CHAP_R", &right(chosen))]);
            assert_eq!((answer, exchange.is_done()), (Ok(vec![]), true));
        }
    }

    #[test]
    fn everybody_else_is_not() {
        let right = right(Algorithm::Md5);
        let table = [
            (vec![("CHAP_N", "user"), ("CHAP_R", "0x00112233445566778899aabbccddeeff")], ChapError::Wrong),
            (vec![("CHAP_N", "other"), ("CHAP_R", right.as_str())], ChapError::Wrong),
            (vec![("CHAP_N", "user"), ("CHAP_R", &right[..10])], ChapError::Wrong),
            (vec![("CHAP_R", right.as_str())], ChapError::Malformed("CHAP_N")),
            (vec![("CHAP_N", "user"), ("CHAP_R", "nonsense")], ChapError::Malformed("CHAP_R")),
            (vec![("CHAP_N", "user"), ("CHAP_R", &right), ("CHAP_I", "1")], ChapError::Malformed("CHAP_C")),
            (
                vec![("CHAP_N", "user"), ("CHAP_R", &right), ("CHAP_I", "1"), ("CHAP_C", "0x01")],
                ChapError::NotMutual,
            ),
        ];
        for (pairs, expected) in table {
            let mut exchange = exchange(false);
            step(&mut exchange, &[("CHAP_A", "5")]).expect("known");
            assert_eq!(step(&mut exchange, &pairs), Err(expected), "{pairs:?}");
            assert!(!exchange.is_done());
        }
        for offered in ["", "56", "6,8", "05"] {
            let refused = step(&mut exchange(false), &[("CHAP_A", offered)]);
            assert_eq!(refused, Err(ChapError::NoAlgorithm), "{offered}");
        }
    }

    #[test]
    fn the_target_proves_itself_but_answers_no_question_of_its_own() {
        let right = right(Algorithm::Md5);
        let mut exchange = exchange(true);
        step(&mut exchange, &[("CHAP_A", "5")]).expect("known");
        let pairs = [("CHAP_N", "user"), ("CHAP_R", &right), ("CHAP_I", "3"), ("CHAP_C", "0x0405")];
        let answer = step(&mut exchange, &pairs).expect("right");
        let response = Algorithm::Md5.response(3, b"its secret", &[4, 5]);
        assert_eq!(answer[0], ("CHAP_N".to_owned(), "target".to_owned()));
        assert_eq!(answer[1].1, format!("0x{}", hex::encode(response)));
        let mut exchange = self::exchange(true);
        step(&mut exchange, &[("CHAP_A", "5")]).expect("known");
        let own = format!("0x{}", hex::encode(CHALLENGE));
        let pairs = [("CHAP_N", "user"), ("CHAP_R", &right), ("CHAP_I", "3"), ("CHAP_C", &own)];
        assert_eq!(step(&mut exchange, &pairs), Err(ChapError::Reflected));
    }
}
