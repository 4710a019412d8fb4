//! The chain: what the hash of an entry covers, and the walk along it.

use quarry_api_types::{AuditEntry, VerifyAudit};

/// The hash before the first entry.
pub(crate) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What the hash of `entry` must be behind an entry with the hash `before`: BLAKE3 over the digits of `before` and the JSON of the
/// entry, its own hash left empty.
pub fn hash_of(before: &str, entry: &AuditEntry) -> String {
    let unsigned = AuditEntry { hash: String::new(), ..entry.clone() };
    let json = serde_json::to_vec(&unsigned).expect("an entry holds texts and numbers only");
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes()).update(&json);
    hex::encode(hasher.finalize().as_bytes())
}

/// A place in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) hash: String,
}

impl Place {
    pub(crate) fn beginning() -> Self {
        Self { number: 0, hash: BEGINNING.to_owned() }
    }

    pub(crate) fn of(entry: &AuditEntry) -> Self {
        Self { number: entry.number, hash: entry.hash.clone() }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, hash) = text.split_once(':')?;
        Some(Self { number: number.parse().ok()?, hash: hash.to_owned() })
    }

    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.number, self.hash)
    }
}

/// A walk along the chain, entry by entry.
pub(crate) struct Walk<'a> {
    pub(crate) at: Place,
    /// What is known of the chain from elsewhere.
    pub(crate) known: &'a VerifyAudit,
}

impl Walk<'_> {
    /// Goes on to the next entry; or says what is wrong with it.
    pub(crate) fn step(&mut self, json: &[u8]) -> Result<(), String> {
        let due = self.at.number + 1;
        let entry: AuditEntry =
            serde_json::from_slice(json).map_err(|error| format!("entry {due} cannot be read: {error}"))?;
        let is_as_written = serde_json::to_vec(&entry).is_ok_and(|again| again == json);
        if entry.number != due || !is_as_written || entry.hash != hash_of(&self.at.hash, &entry) {
            return Err(format!("entry {due} is not what was written behind entry {}", self.at.number));
        }
        self.at = Place::of(&entry);
        if self.known.number == Some(due)
            && self.known.hash.as_ref().is_some_and(|hash| *hash != self.at.hash)
        {
            return Err(format!("entry {due} has another hash than the one that was kept elsewhere"));
        }
        Ok(())
    }

    /// Whether an entry with this number is the next one.
    pub(crate) fn numbered(&self, number: u64) -> Result<(), String> {
        match number == self.at.number + 1 {
            true => Ok(()),
            false => Err(format!("behind entry {} comes entry {number}", self.at.number)),
        }
    }

    /// Whether the walk is where it should have come to.
    pub(crate) fn ends_at(&self, place: &Place) -> Result<(), String> {
        match self.at == *place {
            true => Ok(()),
            false => Err(format!("entries {} to {} are missing", self.at.number + 1, place.number)),
        }
    }
}
