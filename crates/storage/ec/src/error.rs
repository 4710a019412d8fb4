//! What cannot be coded.

use quarry_types::limits::{CODE_DATA_MAX, CODE_DATA_MIN, CODE_PARITY_MAX, CODE_PARITY_MIN};

use crate::shape::Shape;

/// Why a code or a recovery is not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeError {
    /// No such shape.
    #[error(
        "a code of {data}+{parity} is not supported: choose {CODE_DATA_MIN} to {CODE_DATA_MAX} data members and \
         {CODE_PARITY_MIN} to {CODE_PARITY_MAX} parity members"
    )]
    Shape {
        /// Data members asked for.
        data: usize,
        /// Parity members asked for.
        parity: usize,
    },
    /// Text that is no shape.
    #[error("'{text}' is no erasure code: write DATA+PARITY, for example 4+2")]
    Unreadable {
        /// The text.
        text: String,
    },
    /// More members are missing than the code has parity.
    #[error("{present} members of a group of {shape} are present, and {} are needed", shape.data())]
    TooFew {
        /// The code.
        shape: Shape,
        /// Members present.
        present: usize,
    },
}
