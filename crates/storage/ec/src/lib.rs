//! The erasure code: m parity members over k data members, any k of which give back all of them.
//!
//! What it is: a systematic Reed-Solomon code over GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D), for the
//! shapes 2+1 to 8+3, and the loops that compute it: portable, AVX2 and GFNI, chosen once at run time. What it is not:
//! it knows no chunk, no device and no checksum. It cannot tell that a member is wrong, only compute one that is
//! missing; who calls it verifies what comes out.
//!
//! Invariants:
//! - The code is fixed by its [`Shape`]: the matrix is the Vandermonde matrix of the points 0, 1, 2, ..., made systematic.
//!   What is on devices depends on it, so it never changes; `tests/vectors.rs` holds examples.
//! - Byte i of every member depends on byte i of the others alone. So any range of a member is computed from the same
//!   range of k others, whatever its length and alignment.
//! - Every kernel gives the same bytes. Which one runs is a matter of speed.
//! - Data members are stored as they are: reading one needs no arithmetic and no other member.

mod code;
mod error;
mod field;
mod kernel;
mod matrix;
mod members;
mod recovery;
mod shape;

pub use code::Code;
pub use error::CodeError;
pub use kernel::Kernel;
pub use members::Members;
pub use recovery::Recovery;
pub use shape::Shape;
