//! The checked-in OpenAPI document is the one that the code makes, so a change of the API shows as a diff.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

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
fn what_is_made_has_links_to_what_can_be_done_with_it() {
    let document: Value = serde_json::from_str(&quarry_api::openapi_json()).unwrap();
    let operations: Vec<(&String, &Value)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().values().map(move |operation| (path, operation)))
        .collect();
    let find = |id: &str| *operations.iter().find(|(_, operation)| operation["operationId"] == id).unwrap();
    let parameters = |from: &str, status: &str, to: &str| {
        let (_, operation) = find(from);
        operation["responses"][status]["links"][to]["parameters"].clone()
    };
    let name = json!({"name": "$response.body#/name"});
    for (from, status, to, wanted) in [
        ("create_pool", "201", "delete_pool", name.clone()),
        ("create_volume", "201", "create_snapshot", name.clone()),
        ("clone_volume", "201", "resize_volume", name.clone()),
        ("adopt_volume", "201", "release_volume", name.clone()),
        ("create_user", "201", "set_password", name.clone()),
        ("create_token", "201", "revoke_token", json!({"id": "$response.body#/id"})),
        ("create_export", "201", "show_exports", json!({"selector": "$response.body#/id"})),
        ("apply_state", "202", "cancel_job", json!({"id": "$response.body#/id"})),
        ("start_scrub", "202", "stop_scrub", name.clone()),
        (
            "create_snapshot",
            "201",
            "change_snapshot",
            json!({"name": "$request.path.name", "snapshot": "$response.body#/name"}),
        ),
        (
            "create_group_snapshot",
            "201",
            "delete_group_snapshot",
            json!({"name": "$request.path.name", "snapshot": "$response.body#/name"}),
        ),
        // It names a device as well, of which the answer says nothing.
        ("create_pool", "201", "drain_device", Value::Null),
    ] {
        assert_eq!(parameters(from, status, to), wanted, "{from} to {to}");
    }
    let mut linked = BTreeSet::new();
    for (_, operation) in &operations {
        for response in operation["responses"].as_object().unwrap().values() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let (path, target) = find(link["operationId"].as_str().unwrap());
                let given: BTreeSet<&str> =
                    link["parameters"].as_object().unwrap().keys().map(String::as_str).collect();
                let needed = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
                assert_eq!(
                    given,
                    needed.collect::<BTreeSet<_>>(),
                    "{name} from {}",
                    operation["operationId"]
                );
                linked.insert(target["operationId"].as_str().unwrap());
            }
        }
    }
    // Whatever is about one thing can be come to from where it is made; devices of pools are named by nobody who makes something.
    let unlinked: Vec<_> = operations
        .iter()
        .filter(|(path, _)| path.contains('{') && !path.contains("{device}"))
        .filter(|(_, operation)| !linked.contains(operation["operationId"].as_str().unwrap()))
        .map(|(_, operation)| &operation["operationId"])
        .collect();
    assert!(unlinked.is_empty(), "{unlinked:?}");
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
