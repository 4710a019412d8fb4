//! A guarded API over a node in memory, with what is needed to ask it everything: the operations of the OpenAPI document, and a
//! request for each.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use quarry_api::Guard;
use quarry_api_types::Secret;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::memory_node::MemoryNode;

/// The name of everything that tenant acme has, and of everything in requests.
pub const THING: &str = "acme.thing";

/// A node with a guard.
pub struct World {
    pub node: Arc<MemoryNode>,
    pub router: Router,
    pub guard: Arc<Guard>,
    pub admin: Secret,
}

/// What a request got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: axum::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// An operation of the document.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

impl World {
    pub fn new() -> Self {
        let (guard, admin) = Guard::in_memory();
        Self::guarded_by(guard, admin)
    }

    pub fn guarded_by(guard: Arc<Guard>, admin: Secret) -> Self {
        let node = Arc::new(MemoryNode::default());
        _ = node.tenants.set(quarry_api::Tenants::of(&guard));
        Self { router: quarry_api::router(node.clone(), guard.clone()), node, guard, admin }
    }

    /// One with a pool, tenants acme and globex, and everything that a tenant can have, which is acme's.
    pub async fn with_tenants() -> Self {
        let world = Self::new();
        let pool = json!({"name": "p", "devices": ["/dev/sdb"]});
        world.make("/v1/pools", pool).await;
        for tenant in ["acme", "globex"] {
            world.make("/v1/tenants", json!({"name": tenant, "pools": ["p"]})).await;
        }
        world.make("/v1/volumes", json!({"name": THING, "pool": "p", "size_bytes": 1 << 30})).await;
        world.make("/v1/volumes/acme.thing/snapshots", json!({"name": "monday"})).await;
        world.make("/v1/groups", json!({"name": THING, "volumes": [THING]})).await;
        let host = json!({"name": THING, "initiators": ["iqn.2001-04.com.example:acme"]});
        world.make("/v1/hosts", host).await;
        world.make("/v1/host-groups", json!({"name": THING, "hosts": [THING]})).await;
        world.make("/v1/exports", json!({"volume": THING, "protocol": "nbd"})).await;
        world
    }

    /// Makes something as the admin.
    pub async fn make(&self, path: &str, body: Value) -> Value {
        let answer = self.ask(Method::POST, path, Some(&self.admin), Some(&body)).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text);
        answer.json()
    }

    /// A token of a role, in tenant `tenant` where the role is one of tenants.
    pub async fn token(&self, role: &str, tenant: &str) -> Secret {
        let body = match role.starts_with("tenant-") {
            true => json!({"role": role, "tenant": tenant}),
            false => json!({"role": role}),
        };
        Secret::new(self.make("/v1/tokens", body).await["text"].as_str().unwrap())
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        answer(self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &Secret) -> Answer {
        self.ask(Method::GET, path, Some(token), None).await
    }

    pub async fn perform(&self, operation: &Operation, token: Option<&Secret>) -> Answer {
        self.ask(operation.method.clone(), &operation.path, token, operation.body.as_ref()).await
    }
}

async fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), head: parts.headers, text }
}

/// Every operation of the document, with a request that names `name` wherever it names something.
pub fn operations(name: &str) -> Vec<Operation> {
    let document: Value = serde_json::from_str(&quarry_api::openapi_json()).unwrap();
    let mut found = Vec::new();
    // A watch has no end, and tests of its own.
    for (path, item) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| *path != "/v1/watch")
    {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path_with(path, name),
                body: (!schema.is_null()).then(|| sample(&document, schema, name)),
            });
        }
    }
    found
}

fn path_with(path: &str, name: &str) -> String {
    path.replace("{name}", name)
        .replace("{selector}", name)
        .replace("{snapshot}", "monday")
        .replace("{device}", "00000000-0000-4000-8000-000000000001")
        .replace("{id}", "0011223344556677")
}

/// A value that fits a schema: what is required, and every list of names.
fn sample(document: &Value, schema: &Value, name: &str) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        if reference.ends_with("/Name") {
            return json!(name);
        }
        return sample(document, document.pointer(reference.strip_prefix('#').unwrap()).unwrap(), name);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let real = choices.iter().find(|choice| choice["type"] != "null").unwrap();
            return sample(document, real, name);
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "object" => {
            let required: Vec<_> =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let mut made = Map::new();
            for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
                let is_list_of_names =
                    schema["items"]["$ref"].as_str().is_some_and(|kind| kind.ends_with("/Name"));
                if required.contains(&&member[..]) || (is_list_of_names && member != "remove") {
                    made.insert(member.clone(), sample(document, schema, name));
                }
            }
            Value::Object(made)
        }
        "array" => json!([sample(document, &schema["items"], name)]),
        "integer" => json!(schema["minimum"].as_u64().unwrap_or(1 << 30)),
        "boolean" => json!(false),
        _ => match schema["format"].as_str() {
            Some("date-time") => json!("2027-01-01T00:00:00Z"),
            Some("password") => json!("correct-horse"),
            _ => json!("thing"),
        },
    }
}
