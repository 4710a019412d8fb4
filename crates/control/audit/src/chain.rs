//! The chain: what the hash of an entry covers.

use quarry_api_types::AuditEntry;

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
