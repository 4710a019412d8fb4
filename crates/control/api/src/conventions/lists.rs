//! Parts of lists.
//!
//! A list is one of a sort of objects, in JSON an array. `?pool=fast&exported=true` leaves the items that say so; `?limit=100` gives a
//! page, and the header `Link` the way to the next (RFC 8288). Pages are in the order of keys, so that what is made and deleted between
//! them neither hides an item nor shows one twice.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quarry_api_types::ProblemCode;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Required};

use crate::limits::PAGE_ITEMS_MAX;
use crate::problem::ApiError;

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
/// Parameters of every list.
const LIMIT: &str = "limit";
const AFTER: &str = "after";

/// By the id of each operation that answers with a list: the members by which its items can be chosen.
pub(crate) struct Lists(BTreeMap<String, BTreeSet<String>>);

/// What a client wants of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selection {
    /// Members and what they must be.
    wanted: Vec<(String, String)>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Lists {
    /// Those that a document describes.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).expect("a document is JSON");
        let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
        let lists = paths.filter_map(|path| {
            let get = path.get("get")?;
            let schema = get.pointer("/responses/200/content/application~1json/schema")?;
            let item = resolve(&document, schema.get("items").filter(|_| schema["type"] == "array")?);
            let members = item["properties"].as_object()?.iter();
            let simple = members.filter(|(_, schema)| is_simple(&document, schema));
            Some((get["operationId"].as_str()?.to_owned(), simple.map(|(name, _)| name.clone()).collect()))
        });
        Self(lists.collect())
    }

    /// Adds the parameters to every list of a document.
    pub(crate) fn document(&self, document: &mut OpenApi) {
        let gets = document.paths.paths.values_mut().filter_map(|path| path.get.as_mut());
        for operation in gets {
            let Some(members) = operation.operation_id.as_ref().and_then(|id| self.0.get(id)) else {
                continue;
            };
            describe(operation, members);
        }
    }

    /// What a query wants of the list that an operation answers with; `None` for what is no list.
    pub(crate) fn selection(&self, operation: &str, uri: &Uri) -> Result<Option<Selection>, ApiError> {
        let Some(members) = self.0.get(operation) else { return Ok(None) };
        let invalid = |detail: String, next_step: &str| {
            Err(ApiError::new(ProblemCode::Invalid, StatusCode::BAD_REQUEST, detail, next_step))
        };
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return invalid("the query is not `name=value&...`".to_owned(), "Correct the query.");
        };
        let mut selection = Selection::default();
        for (name, value) in query {
            match name.as_str() {
                LIMIT => match value.parse() {
                    Ok(limit @ 1..=PAGE_ITEMS_MAX) => selection.limit = Some(limit),
                    _ => {
                        let detail = format!("limit '{value}' is no number from 1 to {PAGE_ITEMS_MAX}");
                        return invalid(detail, "Correct it, or leave it out for the whole list.");
                    }
                },
                AFTER => selection.after = Some(value),
                _ if members.contains(&name) => selection.wanted.push((name, value)),
                _ => {
                    let known: Vec<_> = members.iter().map(String::as_str).collect();
                    let detail = format!("the items of this list cannot be chosen by '{name}'");
                    return invalid(detail, &format!("Choose by {LIMIT}, {AFTER}, {}.", known.join(", ")));
                }
            }
        }
        Ok(Some(selection))
    }
}

fn describe(operation: &mut Operation, members: &BTreeSet<String>) {
    let parameter = |name: &str, kind: Type, description: String| -> RefOr<Parameter> {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(match kind {
                Type::Integer => {
                    ObjectBuilder::new().schema_type(kind).minimum(Some(1)).maximum(Some(PAGE_ITEMS_MAX))
                }
                _ => ObjectBuilder::new().schema_type(kind),
            }))
            .build()
            .into()
    };
    let parameters = operation.parameters.get_or_insert_default();
    let page = "So many items at most, in the order of their keys; the header `Link` tells of the next page, `X-Total-Count` of all \
                items. Without it all are there.";
    parameters.push(parameter(LIMIT, Type::Integer, page.to_owned()));
    let after = "Items behind this one: the key of the last one of the page before, as in the header `Link`.";
    parameters.push(parameter(AFTER, Type::String, after.to_owned()));
    for name in members {
        let only = format!(
            "Only items with this `{name}`; `vm-*` for all that begin so, nothing for those without one."
        );
        parameters.push(parameter(name, Type::String, only));
    }
}

impl Selection {
    /// Whether all of the list is wanted, as it comes.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Leaves what is wanted of a list, and says in `head` how large it is and how it goes on.
    pub(crate) fn apply(&self, list: Vec<Value>, uri: &Uri, head: &mut HeaderMap) -> Vec<Value> {
        let mut items: Vec<(String, Value)> =
            list.into_iter().filter(|item| self.wants(item)).map(|item| (key_of(&item), item)).collect();
        head.insert(TOTAL_COUNT, items.len().into());
        if self.limit.is_some() || self.after.is_some() {
            items.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        if let Some(after) = &self.after {
            items.retain(|(key, _)| key > after);
        }
        if let Some(limit) = self.limit.filter(|&limit| limit < items.len()) {
            items.truncate(limit);
            let next = items.last().and_then(|(key, _)| self.next(uri, limit, key));
            next.and_then(|link| head.insert(header::LINK, link));
        }
        items.into_iter().map(|(_, item)| item).collect()
    }

    fn next(&self, uri: &Uri, limit: usize, key: &str) -> Option<HeaderValue> {
        let pair = |(name, value): &(String, String)| format!("{name}={}&", encoded(value));
        let wanted: String = self.wanted.iter().map(pair).collect();
        let link = format!("<{}?{wanted}limit={limit}&after={}>; rel=\"next\"", uri.path(), encoded(key));
        HeaderValue::from_str(&link).ok()
    }

    fn wants(&self, item: &Value) -> bool {
        self.wanted.iter().all(|(name, wanted)| {
            let text = match item.get(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            match wanted.strip_suffix('*') {
                Some(beginning) => text.starts_with(beginning),
                None => text == *wanted,
            }
        })
    }
}

/// The key of an item in its list: its name or path or id, with that of the volume to which it belongs in front.
pub(crate) fn key_of(item: &Value) -> String {
    let text = |name: &str| match item.get(name)? {
        Value::String(text) => Some(text.clone()),
        // In the order of texts they keep their own.
        Value::Number(number) => Some(format!("{:0>20}", number.to_string())),
        _ => None,
    };
    let own = text("name").or_else(|| text("path")).or_else(|| text("id")).unwrap_or_default();
    match text("volume") {
        Some(volume) => format!("{volume}/{own}"),
        None => own,
    }
}

fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let pointed = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointed.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

/// Whether a member is a text, a number or a truth, or absent.
fn is_simple(document: &Value, schema: &Value) -> bool {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().all(|choice| choice["type"] == "null" || is_simple(document, choice));
    }
    let is_word =
        |word: &Value| matches!(word.as_str(), Some("string" | "integer" | "boolean" | "number" | "null"));
    match &schema["type"] {
        Value::Array(words) => words.iter().all(is_word),
        word => is_word(word),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(list: &[Value]) -> Vec<&str> {
        list.iter().map(|item| item["name"].as_str().unwrap()).collect()
    }

    fn volumes() -> Vec<Value> {
        let volume = |name: &str, pool: &str, exported: bool| json!({"name": name, "pool": pool, "exported": exported});
        vec![volume("b", "p", true), volume("a", "q", true), volume("c", "p", false), json!({"name": "d"})]
    }

    fn lists() -> Lists {
        let members = ["name", "pool", "exported"].map(str::to_owned).into();
        Lists(BTreeMap::from([("list_volumes".to_owned(), members)]))
    }

    fn select(query: &str) -> (Vec<Value>, HeaderMap) {
        let uri: Uri = format!("/v1/volumes?{query}").parse().unwrap();
        let selection = lists().selection("list_volumes", &uri).unwrap().unwrap();
        let mut head = HeaderMap::new();
        (selection.apply(volumes(), &uri, &mut head), head)
    }

    #[test]
    fn items_are_chosen_by_what_they_say() {
        for (query, wanted) in [
            ("", vec!["b", "a", "c", "d"]),
            ("pool=p", vec!["b", "c"]),
            ("pool=p&exported=true", vec!["b"]),
            ("name=c*", vec!["c"]),
            ("pool=", vec!["d"]),
            ("pool=r", vec![]),
        ] {
            assert_eq!(names(&select(query).0), wanted, "{query}");
        }
    }

    #[test]
    fn pages_have_every_item_once() {
        let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
        for _ in 0..3 {
            let (page, head) = select(&query);
            assert_eq!(head["x-total-count"], "4");
            seen.extend(names(&page).into_iter().map(str::to_owned));
            let Some(link) = head.get(header::LINK) else { break };
            let link = link.to_str().unwrap();
            query = link
                .strip_prefix("</v1/volumes?")
                .unwrap()
                .strip_suffix(">; rel=\"next\"")
                .unwrap()
                .to_owned();
        }
        assert_eq!(seen, ["a", "b", "c", "d"]);
        // Between two pages the last one of the first may be deleted.
        assert_eq!(names(&select("limit=2&after=bb").0), ["c", "d"]);
    }

    #[test]
    fn keys_are_in_the_order_of_what_they_stand_for() {
        let keys = [
            json!({"id": 9}),
            json!({"id": 10}),
            json!({"name": "v", "id": "u"}),
            json!({"volume": "v", "name": "s"}),
        ];
        let keys: Vec<_> = keys.iter().map(key_of).collect();
        assert_eq!(keys, ["00000000000000000009", "00000000000000000010", "v", "v/s"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=x", "colour=red"] {
            let uri: Uri = format!("/v1/volumes?{query}").parse().unwrap();
            assert_eq!(lists().selection("list_volumes", &uri).unwrap_err().status(), 400, "{query}");
        }
        let uri: Uri = "/v1/volumes/v?limit=x".parse().unwrap();
        assert!(lists().selection("show_volume", &uri).unwrap().is_none());
    }
}
