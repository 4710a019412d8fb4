//! Why a request cannot be right, whatever the node's state.

/// A field of a request that no node could accept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidRequest {
    /// The JSON name of the field.
    pub field: &'static str,
    /// What is wrong with its value.
    pub message: String,
}

impl InvalidRequest {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}
