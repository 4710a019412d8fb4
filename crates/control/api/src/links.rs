//! What can be done with what an operation has made: links of its answer to other operations (OpenAPI's Link Object).
//!
//! They follow from the paths. An answer that shows an object has a link to each operation on the path at which the object is shown, or
//! below it, as far as the answer and the request name everything in that path.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

/// Answers that tell of something new, or of work that has begun.
const STATUSES: [&str; 2] = ["201", "202"];

/// Adds the links to a document.
pub(crate) fn add(document: &mut OpenApi) {
    let read = serde_json::to_value(&*document).expect("a document is JSON");
    let paths = Paths(&read);
    for (path, item) in &mut document.paths.paths {
        let PathItem { put, post, delete, patch, .. } = item;
        for operation in [put, post, delete, patch].into_iter().flatten() {
            link(&paths, path, operation);
        }
    }
}

fn link(paths: &Paths<'_>, path: &str, operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let (true, RefOr::T(response)) = (STATUSES.contains(&&status[..]), response) else { continue };
        let Some(RefOr::T(content)) = response.content.get("application/json") else { continue };
        let Some(RefOr::Ref(schema)) = &content.schema else { continue };
        let Some(schema) = schema.ref_location.rsplit('/').next() else { continue };
        for (id, link) in paths.links(path, schema) {
            response.links.insert(id, RefOr::T(link));
        }
    }
}

/// The paths of a document, in JSON.
struct Paths<'d>(&'d Value);

impl Paths<'_> {
    /// From the answer of an operation on `path`, an object with this schema: by the ids of operations.
    fn links(&self, path: &str, schema: &str) -> BTreeMap<String, Link> {
        let Some(shown) = self.shown_at(schema).or_else(|| self.item_of(path)) else {
            return BTreeMap::new();
        };
        let Some(parameters) = self.parameters(path, schema, shown) else { return BTreeMap::new() };
        let operations = self.below(shown).filter(|(path, _)| parts(path).count() == parameters.len());
        let link = |operation: &Value| {
            let id = operation["operationId"].as_str()?.to_owned();
            let mut link = LinkBuilder::new().operation_id(&id);
            for (name, expression) in &parameters {
                link = link.parameter(name, expression.clone());
            }
            Some((id, link.build()))
        };
        operations.filter_map(|(_, operation)| link(operation)).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.0["paths"].as_object().into_iter().flatten();
        paths.map(|(path, item)| (path.as_str(), item))
    }

    /// The path at which an object with this schema is shown, alone or in a list of those that it is named with.
    fn shown_at(&self, schema: &str) -> Option<&str> {
        let reference = format!("#/components/schemas/{schema}");
        let found = self.all().find(|(path, item)| {
            let shown = item.pointer("/get/responses/200/content/application~1json/schema");
            let is_it = |shown: &Value| shown["$ref"] == reference || shown["items"]["$ref"] == reference;
            path.ends_with('}') && shown.is_some_and(is_it)
        });
        found.map(|(path, _)| path)
    }

    /// The path of an item of the list at `path`.
    fn item_of(&self, path: &str) -> Option<&str> {
        let is_item = |item: &str| {
            let part = item.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
            part.is_some_and(|part| part.starts_with('{') && !part.contains('/'))
        };
        self.all().map(|(path, _)| path).find(|item| is_item(item))
    }

    /// Where the parts of the path `shown` are found in the request to `path` or its answer; `None` when one is in neither.
    fn parameters(&self, path: &str, schema: &str, shown: &str) -> Option<Vec<(String, String)>> {
        let own: Vec<&str> = parts(shown).collect();
        let parameter = |(at, part): (usize, &&str)| {
            let is_last = at + 1 == own.len();
            if !is_last && parts(path).any(|known| known == *part) {
                return Some(((*part).to_owned(), format!("$request.path.{part}")));
            }
            // What an object stands in, it names by what that is: a snapshot its volume.
            let members = match is_last {
                true => vec![*part, "name", "id"],
                false => vec![shown.split('/').nth(2)?.trim_end_matches('s')],
            };
            let member = members.into_iter().find(|member| self.has(schema, member))?;
            Some(((*part).to_owned(), format!("$response.body#/{member}")))
        };
        own.iter().enumerate().map(parameter).collect()
    }

    fn has(&self, schema: &str, member: &str) -> bool {
        let schema = &self.0["components"]["schemas"][schema];
        let flattened = schema["allOf"].as_array().into_iter().flatten();
        let is_in = |schema: &Value| !schema["properties"][member].is_null();
        let is_in_named = |part: &Value| {
            let reference = part["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
            reference.and_then(|pointer| self.0.pointer(pointer)).is_some_and(is_in)
        };
        is_in(schema) || flattened.clone().any(is_in) || flattened.clone().any(is_in_named)
    }

    /// Operations on a path and on those below it.
    fn below(&self, shown: &str) -> impl Iterator<Item = (&str, &Value)> {
        let is_below = move |path: &str| {
            path.strip_prefix(shown).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let items = self.all().filter(move |(path, _)| is_below(path));
        items.flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |(_, operation)| (path, operation))
        })
    }
}

/// The parts of a path that stand for something, by their names.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}
