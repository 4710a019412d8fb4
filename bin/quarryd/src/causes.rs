//! Errors in a line of text.

/// An error with what is below it.
pub fn whole(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(below) => {
            let (text, below) = (error.to_string(), whole(below));
            if text.ends_with(&below) { text } else { format!("{text}: {below}") }
        }
        None => error.to_string(),
    }
}
