//! The checked-in OpenAPI document is the one that the code makes, so a change of the API shows as a diff.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

#[test]
#[expect(clippy::disallowed_methods, reason = "it compares with a file of the repository")]
fn the_checked_in_document_is_the_one_that_the_code_makes() {
    let path = Path::new("../../../openapi/quarry.json");
    let made = quarry_api::openapi_json();
    if std::env::var_os("UPDATE_OPENAPI").is_some_and(|value| value == "1") {
        std::fs::write(path, &made).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    let differs = made.lines().zip(checked_in.lines()).position(|(made, checked_in)| made != checked_in);
    assert!(
        made == checked_in,
        "openapi/quarry.json is not what the code makes (first difference in line {:?}). When the change is meant, \
         run: UPDATE_OPENAPI=1 cargo test -p quarry-api --test openapi",
        differs.map(|line| line + 1)
    );
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_openapi_3_1_and_complete_in_itself() {
    let document: Value = serde_json::from_str(&quarry_api::openapi_json()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("references stay inside the document");
        assert!(document.pointer(pointer).is_some(), "{reference} points nowhere");
    }
}

#[test]
fn every_operation_has_a_unique_id_a_summary_and_the_problem_answer() {
    let document: Value = serde_json::from_str(&quarry_api::openapi_json()).unwrap();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with("/v1/"), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert!(problem.is_object(), "{method} {path} does not document its errors");
        }
    }
    assert_eq!(ids.len(), 117);
}

#[test]
fn words_are_documented_as_they_are_sent() {
    use quarry_api_types::{Durability, HealthLevel, PoolDeviceState, ProblemCode, Protocol};

    let document: Value = serde_json::from_str(&quarry_api::openapi_json()).unwrap();
    let documented = |name: &str| document["components"]["schemas"][name]["enum"].clone();
    assert_eq!(documented("Durability"), serde_json::to_value(Durability::ALL).unwrap());
    assert_eq!(documented("HealthLevel"), serde_json::to_value(HealthLevel::ALL).unwrap());
    assert_eq!(documented("PoolDeviceState"), serde_json::to_value(PoolDeviceState::ALL).unwrap());
    assert_eq!(documented("Protocol"), serde_json::to_value(Protocol::ALL).unwrap());
    for code in serde_json::to_value(ProblemCode::SENT).unwrap().as_array().unwrap() {
        assert!(documented("ProblemCode").as_array().unwrap().contains(code), "{code}");
    }
}
