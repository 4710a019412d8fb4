//! Every on-disk byte: encode and decode, nothing else.
//!
//! What it is: one module per structure that Quarry writes to a device, each with a magic, a version and a CRC-32C, all
//! numbers little-endian. `docs/format` has the tables. What it is not: no I/O, no policy, no state.
//!
//! Invariants:
//! - Decoding never panics, whatever the bytes; it says what is wrong with them ([`FormatError`]).
//! - What was encoded decodes to the same value, and nothing that differs in a checked byte decodes at all.

pub mod anchor;
pub mod batch;
mod bytes;
pub mod cache_disk;
mod checksum;
pub mod chunk;
pub mod claim;
pub mod detached;
mod error;
mod head;
pub mod image;
pub mod label;
pub mod node;
pub mod packed;
pub mod parity;
pub mod record;
mod settings;

pub use bytes::{Reader, Writer};
pub use checksum::crc32c;
pub use error::FormatError;
