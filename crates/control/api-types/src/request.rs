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

/// Fails when there are too many of something, or something is given twice.
pub(crate) fn check_list<T: Ord + std::fmt::Display>(
    field: &'static str,
    items: &[T],
    count_max: usize,
) -> Result<(), InvalidRequest> {
    if items.len() > count_max {
        return Err(InvalidRequest::new(field, format!("at most {count_max}, not {}", items.len())));
    }
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(InvalidRequest::new(field, format!("'{}' is given twice", pair[0]))),
        None => Ok(()),
    }
}
