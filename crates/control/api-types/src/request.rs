//! Why a request cannot be right, whatever the node's state.

/// A field of a request that no node could accept.
///
/// What a schema can say is *invalid* where it is not kept. What no schema says, because it is about several fields together, is a
/// *contradiction*: the request is formed as the document has it, and answered 409 and not 400.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidRequest {
    /// The JSON name of the field.
    pub field: &'static str,
    /// What is wrong with its value.
    pub message: String,
    /// Each field is right by itself, not all of them together.
    pub is_contradiction: bool,
}

impl InvalidRequest {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into(), is_contradiction: false }
    }

    pub(crate) fn contradiction(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into(), is_contradiction: true }
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
        Some(pair) => Err(InvalidRequest::contradiction(field, format!("'{}' is given twice", pair[0]))),
        None => Ok(()),
    }
}

/// Reads a type that is derived with `remote = "Self"` from an object alone. Without this an array would do, too, and one that is too short
/// where members may be absent.
macro_rules! only_as_object {
    ($type:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> serde::de::Visitor<'de> for Members {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<$type, A::Error> {
                        <$type>::deserialize(serde::de::value::MapAccessDeserializer::new(members))
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, serializer)
            }
        }
    };
}

pub(crate) use only_as_object;
