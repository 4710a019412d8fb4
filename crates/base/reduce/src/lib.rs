//! Making blocks smaller, and whole again; recognising those that are there already.
//!
//! What it is: one block in, fewer sectors out, if that gains anything; and the reverse. What it is not: it does no I/O and keeps
//! no data; who wants a block smaller, and where it goes, is for the engine to say.
//!
//! Invariants:
//! - A stored block is the length of what follows in two bytes, that much compressed data, and zeroes up to a whole sector; it is
//!   at least a sector shorter than the block.
//! - What was made smaller comes back to the byte. What does not expand to exactly one block is an error, whatever the bytes are.

mod bypass;
mod expand;
mod fingerprint;
mod reducer;
#[cfg(test)]
mod tests;

pub use bypass::Bypass;
pub use expand::{ExpandError, expand};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use reducer::Reducer;
