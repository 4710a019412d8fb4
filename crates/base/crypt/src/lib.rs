//! Encryption of blocks: AES-256-GCM (NIST SP 800-38D) under keys derived for each opening of a log.
//!
//! What it is: a data key, the ciphers derived from it, and the sealing of data keys under key-encryption keys. What it is not: it
//! knows no volumes and keeps no keys on any device; who holds the key-encryption keys is a matter of the control plane.
//!
//! Invariants:
//! - **No nonce twice under one key.** The key of a cipher is HKDF-SHA256(data key; salt; log), where the salt is drawn anew at
//!   every opening of the log and durable before anything is appended. The nonce is the log address, and a log writes an address
//!   at most once an opening: segments are never reused, a batch that must go elsewhere gets another address. So a crash, and
//!   even a device file that was restored from an older copy and appended to again, gives another key. Relocation moves
//!   ciphertext, and encrypts nothing.
//! - What is not exactly what was sealed, for that address, is refused.
//! - Keys are wiped from memory when they are dropped, and never printed.

mod cipher;
mod data_key;
#[cfg(test)]
mod tests;

pub use cipher::{Ciphers, Forged, Salt};
pub use data_key::{DataKey, WRAPPED_BYTES, WrapError, WrappedKey};
