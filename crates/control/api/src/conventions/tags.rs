//! Entity tags (RFC 9110 section 8.8.3): `"INTENDED-WHOLE"`, two hashes of an answer.
//!
//! `If-None-Match` goes by the whole of it. `If-Match` goes by the first alone, which leaves out what is measured: a volume that hosts
//! write to is still the one that its owner has read.

use axum::http::HeaderValue;
use serde_json::Value;

use super::intended::Intended;

/// The tag of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tag(String);

impl Tag {
    /// That of what an operation answers with, a JSON document.
    pub(crate) fn of(intended: &Intended, operation: &str, body: &[u8]) -> Self {
        let left = match serde_json::from_slice::<Value>(body) {
            Ok(mut answer) => {
                intended.leave(operation, &mut answer);
                answer.to_string().into_bytes()
            }
            Err(_) => body.to_vec(),
        };
        Self(format!("\"{}-{}\"", hash(&left), hash(body)))
    }

    /// The tag that an answer has.
    pub(crate) fn given(header: &HeaderValue) -> Option<Self> {
        header.to_str().ok().map(|text| Self(text.to_owned()))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("hexadecimal digits and quotes")
    }

    fn intended(&self) -> &str {
        intended(&self.0)
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

fn intended(tag: &str) -> &str {
    tag.trim_start_matches('"').split('-').next().unwrap_or_default()
}

/// Whether the client has an answer with this tag: `If-None-Match` (RFC 9110 section 13.1.2), which compares weakly.
pub(crate) fn is_known(header: &HeaderValue, tag: &Tag) -> bool {
    matches(header, |given| given.trim_start_matches("W/") == tag.0)
}

/// Whether an object is as the client has read it: `If-Match` (RFC 9110 section 13.1.1), by what is intended. A weak tag never is.
pub(crate) fn is_wanted(header: &HeaderValue, tag: &Tag) -> bool {
    matches(header, |given| given.starts_with('"') && intended(given) == tag.intended())
}

fn matches(header: &HeaderValue, is_same: impl Fn(&str) -> bool) -> bool {
    let text = header.to_str().unwrap_or_default();
    text.split(',').map(str::trim).any(|given| given == "*" || is_same(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn what_is_measured_changes_the_second_part_alone() {
        let (_, document) = crate::document::documented_routes().split_for_parts();
        let intended = Intended::of(&document);
        let tag = |body: &[u8]| Tag::of(&intended, "show_volume", body);
        let before = tag(br#"{"name":"v","size_bytes":1,"used_bytes":0}"#);
        let written = tag(br#"{"name":"v","size_bytes":1,"used_bytes":9}"#);
        let grown = tag(br#"{"name":"v","size_bytes":2,"used_bytes":0}"#);
        let held = before.header();
        assert!(is_known(&held, &before) && !is_known(&held, &written) && !is_known(&held, &grown));
        assert!(is_wanted(&held, &before) && is_wanted(&held, &written) && !is_wanted(&held, &grown));
    }

    #[test]
    fn headers_have_lists_stars_and_weak_tags() {
        let tag = Tag::of(&Intended::default(), "list_volumes", b"[]");
        for (text, known, wanted) in [
            (tag.0.clone(), true, true),
            (format!("W/{}", tag.0), true, false),
            (format!("\"x-y\", {}", tag.0), true, true),
            ("*".to_owned(), true, true),
            ("\"x-y\"".to_owned(), false, false),
            (String::new(), false, false),
        ] {
            assert_eq!(
                (is_known(&header(&text), &tag), is_wanted(&header(&text), &tag)),
                (known, wanted),
                "{text}"
            );
        }
    }
}
