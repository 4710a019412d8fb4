//! What goes over the wire: statuses, headers, problem documents, bounds.

mod memory_node;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use memory_node::{Fault, MemoryNode};
use quarry_api::Guard;
use quarry_api_types::{Cause, Health, HealthLevel, Problem, ProblemCode};
use quarry_node_api::{ErrorKind, NodeError};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Api {
    node: Arc<MemoryNode>,
    router: Router,
    /// What goes into the header `Authorization` where a request has none.
    authorization: String,
}

impl Api {
    fn new() -> Self {
        let node = Arc::new(MemoryNode::default());
        let (guard, token) = Guard::in_memory();
        let authorization = format!("Bearer {}", token.reveal());
        Self { router: quarry_api::router(node.clone(), guard), node, authorization }
    }

    async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        let value = self.authorization.parse().unwrap();
        request.headers_mut().entry(header::AUTHORIZATION).or_insert(value);
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response<Body> {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Response<Body> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn with_volume() -> Self {
        let api = Self::new();
        let pool = api.post("/v1/pools", &json!({"name": "p", "devices": ["/dev/sdb"]})).await;
        assert_eq!(pool.status(), StatusCode::CREATED);
        let volume = api.post("/v1/volumes", &json!({"name": "v", "pool": "p", "size_bytes": 4096})).await;
        assert_eq!(volume.status(), StatusCode::CREATED);
        assert_eq!(volume.headers()[header::LOCATION], "/v1/volumes/v");
        api
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn problem(response: Response<Body>) -> Problem {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem: Problem = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem.status, status, "the body repeats the status");
    assert!(!problem.detail.is_empty() && !problem.next_step.is_empty());
    problem
}

#[tokio::test]
async fn the_life_of_a_volume() {
    let api = Api::with_volume().await;
    let resized = api.post("/v1/volumes/v/resize", &json!({"size_bytes": 8192})).await;
    assert_eq!(resized.status(), StatusCode::OK);
    let export = api.post("/v1/exports", &json!({"volume": "v", "protocol": "nbd"})).await;
    assert_eq!(export.status(), StatusCode::CREATED);
    let export: Value = serde_json::from_str(&text(export).await).unwrap();
    assert_eq!(export["uris"][0], "nbd://127.0.0.1:10809/v");
    let volume: Value = serde_json::from_str(&text(api.get("/v1/volumes/v").await).await).unwrap();
    assert_eq!((&volume["size_bytes"], &volume["exported"]), (&json!(8192), &json!(true)));
    let delete = |path: &str| Request::delete(path).body(Body::empty()).unwrap();
    let refused = problem(api.send(delete("/v1/volumes/v")).await).await;
    assert_eq!(refused.code, ProblemCode::InUse);
    for path in ["/v1/exports/v", "/v1/volumes/v", "/v1/pools/p"] {
        assert_eq!(api.send(delete(path)).await.status(), StatusCode::NO_CONTENT, "{path}");
    }
    assert_eq!(text(api.get("/v1/pools").await).await, "[]");
}

#[tokio::test]
async fn the_life_of_a_snapshot() {
    let api = Api::with_volume().await;
    let until = "2027-01-01T00:00:00Z";
    let body = json!({"name": "s", "locked_until": until});
    let created = api.post("/v1/volumes/v/snapshots", &body).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()[header::LOCATION], "/v1/volumes/v/snapshots/s");
    let snapshot: Value = serde_json::from_str(&text(created).await).unwrap();
    assert_eq!((&snapshot["volume"], &snapshot["locked_until"]), (&json!("v"), &json!(until)));
    assert!(snapshot.get("set_id").is_none());
    let path = "/v1/volumes/v/snapshots/s";
    assert_eq!(serde_json::from_str::<Value>(&text(api.get(path).await).await).unwrap(), snapshot);

    let patch = async |body: Value| {
        let request = Request::patch(path).header(header::CONTENT_TYPE, "application/json");
        api.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    assert_eq!(patch(json!({"locked_until": "2028-01-01T00:00:00Z"})).await.status(), StatusCode::OK);
    let shorter = problem(patch(json!({"locked_until": until})).await).await;
    assert_eq!(shorter.code, ProblemCode::Conflict);
    assert!(shorter.detail.contains("locked until 2028-01-01T00:00:00Z"), "{}", shorter.detail);
    for (body, status) in [(json!({}), 409), (json!({"lock": until}), 422)] {
        assert_eq!(problem(patch(body).await).await.status, status);
    }

    let clone = api.post("/v1/volumes/v/clone", &json!({"name": "c", "snapshot": "s"})).await;
    assert_eq!(
        (clone.status(), &clone.headers()[header::LOCATION]),
        (StatusCode::CREATED, &"/v1/volumes/c".parse().unwrap())
    );
    assert_eq!(serde_json::from_str::<Value>(&text(clone).await).unwrap()["origin"], "v@s");
    let set = api.post("/v1/snapshot-sets", &json!({"name": "t", "volumes": ["c", "v"]})).await;
    assert_eq!(set.status(), StatusCode::CREATED);
    let all: Value = serde_json::from_str(&text(api.get("/v1/snapshots").await).await).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_life_of_a_group() {
    let api = Api::with_volume().await;
    let created = api.post("/v1/groups", &json!({"name": "g", "volumes": ["v"]})).await;
    assert_eq!(
        (created.status(), &created.headers()[header::LOCATION]),
        (StatusCode::CREATED, &"/v1/groups/g".parse().unwrap())
    );
    let taken = api.post("/v1/groups/g/snapshots", &json!({"name": "s"})).await;
    assert_eq!(taken.status(), StatusCode::CREATED);
    let snapshot: Value =
        serde_json::from_str(&text(api.get("/v1/volumes/v/snapshots/s").await).await).unwrap();
    assert!(snapshot["set_id"].is_string(), "a group of one has sets of one");
    assert_eq!(api.post("/v1/groups/g/rollback", &json!({"snapshot": "s"})).await.status(), StatusCode::OK);
    let patch = async |body: Value| {
        let request = Request::patch("/v1/groups/g").header(header::CONTENT_TYPE, "application/json");
        api.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    for (body, status) in
        [(json!({}), 409), (json!({"volumes": ["v"]}), 422), (json!({"remove": ["w"]}), 404)]
    {
        assert_eq!(problem(patch(body).await).await.status, status);
    }
    let group: Value = serde_json::from_str(&text(patch(json!({"remove": ["v"]})).await).await).unwrap();
    assert_eq!(group["volumes"], json!([]));
    let delete = |path: &str| Request::delete(path).body(Body::empty()).unwrap();
    let gone = problem(api.send(delete("/v1/groups/g/snapshots/s")).await).await;
    assert_eq!(gone.code, ProblemCode::NotFound);
    assert_eq!(api.send(delete("/v1/groups/g")).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_life_of_a_host() {
    let api = Api::with_volume().await;
    let (initiator, secret) = ("iqn.1993-08.org.debian:01:a", "correct horse battery");
    let chap =
        json!({"user": "web", "secret": secret, "mutual": {"user": "node", "secret": "other horse battery"}});
    let host = json!({"name": "web", "initiators": [initiator], "networks": ["10.1.0.0/16"], "chap": chap});
    let created = api.post("/v1/hosts", &host).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()[header::LOCATION], "/v1/hosts/web");
    let created = text(created).await;
    let shown: Value = serde_json::from_str(&created).unwrap();
    assert_eq!(shown["chap"], json!({"user": "web", "mutual": true}));
    assert_eq!(api.node.secret_of("web").as_deref(), Some(secret), "it has arrived");
    let all = [text(api.get("/v1/hosts").await).await, text(api.get("/v1/hosts/web").await).await, created];
    assert!(all.iter().all(|answer| !answer.contains("battery")), "{all:?}");
    let group = api.post("/v1/host-groups", &json!({"name": "farm", "hosts": ["web"]})).await;
    assert_eq!(group.headers()[header::LOCATION], "/v1/host-groups/farm");
    let export = json!({"volume": "v", "protocol": "iscsi", "host_group": "farm", "number": 3});
    let export = text(api.post("/v1/exports", &export).await).await;
    let export: Value = serde_json::from_str(&export).unwrap();
    assert_eq!((&export["number"], &export["host_group"]), (&json!(3), &json!("farm")));
    let delete = |path: &str| Request::delete(path).body(Body::empty()).unwrap();
    let refused = problem(api.send(delete("/v1/host-groups/farm")).await).await;
    assert_eq!((refused.code, refused.status), (ProblemCode::InUse, 409));
    assert!(refused.detail.contains(export["id"].as_str().unwrap()), "{}", refused.detail);
    let change = |body: Value| {
        let request = Request::patch("/v1/hosts/web").header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(body.to_string())).unwrap()
    };
    let changed = text(api.send(change(json!({"remove_chap": true}))).await).await;
    assert!(serde_json::from_str::<Value>(&changed).unwrap().get("chap").is_none(), "{changed}");
    for path in ["/v1/exports/v?force=true", "/v1/host-groups/farm", "/v1/hosts/web"] {
        assert_eq!(api.send(delete(path)).await.status(), StatusCode::NO_CONTENT, "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_host_is_said_without_its_secret() {
    let api = Api::with_volume().await;
    let chap = |secret: &str| json!({"name": "h", "networks": ["10.0.0.1"], "chap": {"user": "u", "secret": secret}});
    for (path, body, part) in [
        (
            "/v1/hosts",
            json!({"name": "h", "initiators": ["iqn.debian"]}),
            "behind the first dot stands a month",
        ),
        ("/v1/hosts", json!({"name": "h", "networks": ["10.1.2.3/16"]}), "write 10.1.0.0/16 for the range"),
        ("/v1/hosts", json!({"name": "h"}), "a host has an initiator or a network at least"),
        ("/v1/hosts", chap("horse"), "chap.secret: it has 5 bytes; 12 to 128 are needed"),
        ("/v1/exports", json!({"volume": "v", "protocol": "nbd", "number": 1}), "an NBD export has a name"),
        ("/v1/exports", json!({"volume": "v", "protocol": "nvme-tcp", "number": 0}), "not from 1 to 16383"),
    ] {
        let refused = problem(api.post(path, &body).await).await;
        assert_eq!((refused.code, refused.detail.contains("horse")), (ProblemCode::Invalid, false));
        assert!(refused.detail.contains(part), "{body}: {}", refused.detail);
    }
}

#[tokio::test]
async fn what_stands_behind_the_question_mark_is_checked() {
    let api = Api::with_volume().await;
    let changes = api.get("/v1/volumes/v/changes?start=0").await;
    let changes: Value = serde_json::from_str(&text(changes).await).unwrap();
    assert_eq!(changes, json!({"size_bytes": 4096, "ranges": [{"offset": 0, "length": 4096, "data": true}]}));
    for (query, part) in
        [("form=s", "form"), ("from=a%40b", "'a@b' is not a valid name"), ("start=-1", "invalid")]
    {
        let problem = problem(api.get(&format!("/v1/volumes/v/changes?{query}")).await).await;
        assert_eq!((problem.code, problem.status), (ProblemCode::Invalid, 400));
        assert!(problem.detail.contains(part), "{query}: {}", problem.detail);
    }
    assert_eq!(problem(api.get("/v1/volumes/v/changes?to=s").await).await.code, ProblemCode::NotFound);

    assert_eq!(
        api.post("/v1/volumes/v/snapshots", &json!({"name": "s"})).await.status(),
        StatusCode::CREATED
    );
    let delete = |path: &str| Request::delete(path).body(Body::empty()).unwrap();
    let refused = problem(api.send(delete("/v1/volumes/v")).await).await;
    assert_eq!(refused.code, ProblemCode::InUse);
    assert!(refused.next_step.contains("--with-snapshots"), "{}", refused.next_step);
    let misspelt = problem(api.send(delete("/v1/volumes/v?with_snapshot=true")).await).await;
    assert_eq!(misspelt.code, ProblemCode::Invalid);
    let done = api.send(delete("/v1/volumes/v?with_snapshots=true")).await;
    assert_eq!(done.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn every_kind_of_error_is_a_problem_with_its_status() {
    let api = Api::new();
    for &kind in ErrorKind::ALL {
        let error = NodeError::new(kind, "the thing").with_cause("the cause").with_next_step("the step");
        api.node.inject(Fault::Error(error));
        let problem = problem(api.get("/v1/pools").await).await;
        let (code, status) = quarry_api::http_status(kind);
        assert_eq!((problem.code, problem.status), (code, status.as_u16()));
        assert_eq!((problem.detail, problem.next_step), ("the thing".into(), "the step".into()));
        assert_eq!(problem.cause.as_deref(), Some("the cause"));
    }
}

#[tokio::test]
async fn malformed_bodies_are_problems_that_name_the_mistake() {
    let api = Api::new();
    let send = async |content_type: &str, body: &'static str| {
        let request = Request::post("/v1/pools").header(header::CONTENT_TYPE, content_type);
        problem(api.send(request.body(Body::from(body)).unwrap()).await).await
    };
    for (body, status, part) in [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        ("[]", 400, "no object"),
        (r#"{"name":"p"}"#, 422, "missing field `devices`"),
        (r#"{"name":"a b","devices":["/a"]}"#, 422, "'a b' is not a valid name"),
        (r#"{"name":"p","devices":["/a"],"copys":2}"#, 422, "copys"),
        (r#"{"name":"p","devices":["/a"],"copies":300}"#, 422, "300"),
        (r#"{"name":"p","devices":["a"]}"#, 400, "'a' is neither an absolute path"),
        (r#"{"name":"p","devices":["/a"],"copies":2}"#, 409, "2 distinct devices"),
    ] {
        let problem = send("application/json", body).await;
        assert_eq!((problem.code, problem.status), (ProblemCode::Invalid, status), "{body}");
        assert!(problem.detail.contains(part), "{body}: {}", problem.detail);
    }
    let form = send("text/plain", r#"{"name":"p","devices":["/a"]}"#).await;
    assert_eq!((form.code, form.status), (ProblemCode::Invalid, 415));
    assert_eq!(text(api.get("/v1/pools").await).await, "[]");
}

#[tokio::test]
async fn unknown_paths_wrong_methods_and_bad_names_are_problems() {
    let api = Api::new();
    for path in ["/", "/v1", "/v2/pools", "/v1/pools/a/b/c"] {
        assert_eq!(problem(api.get(path).await).await.code, ProblemCode::UnknownRoute, "{path}");
    }
    let response = api.send(Request::put("/v1/pools").body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD,POST");
    let wrong_method = problem(response).await;
    assert_eq!((wrong_method.code, wrong_method.status), (ProblemCode::MethodNotAllowed, 405));
    for path in ["/v1/pools/%20", "/v1/volumes/%2e%2e%2f", "/v1/volumes/%ff"] {
        let problem = problem(api.get(path).await).await;
        assert_eq!((problem.code, problem.status), (ProblemCode::Invalid, 400), "{path}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let api = Api::new();
    let long = "x".repeat(quarry_api::limits::REQUEST_BYTES_MAX);
    let refused = problem(api.post("/v1/pools", &json!({"name": "p", "devices": [long]})).await).await;
    assert_eq!((refused.code, refused.status), (ProblemCode::TooLarge, 413));
}

#[tokio::test]
async fn the_longest_honest_request_is_within_the_limit() {
    let api = Api::new();
    let devices: Vec<_> = (0..64).map(|number| format!("/{}{number:02}", "d".repeat(4092))).collect();
    let made = api.post("/v1/pools", &json!({"name": "p", "devices": devices})).await;
    assert_eq!(made.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_panic_in_the_node_is_an_error_of_one_request() {
    let api = Api::new();
    api.node.inject(Fault::Panic);
    assert_eq!(problem(api.get("/v1/pools").await).await.code, ProblemCode::Internal);
    assert_eq!(api.get("/v1/pools").await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_does_not_cut_off_the_node() {
    let api = Api::with_volume().await;
    api.node.inject(Fault::Delay(Duration::from_secs(5)));
    let body = json!({"name": "w", "pool": "p", "size_bytes": 4096});
    let request = api.post("/v1/volumes", &body);
    assert!(tokio::time::timeout(Duration::from_secs(1), request).await.is_err());
    assert_eq!(api.node.volume_names(), ["v"]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(api.node.volume_names(), ["v", "w"]);
}

#[tokio::test]
async fn health_is_503_only_when_a_pool_does_not_serve() {
    let api = Api::new();
    for (level, offline, status) in [
        (HealthLevel::Ok, 0, StatusCode::OK),
        (HealthLevel::Warning, 0, StatusCode::OK),
        (HealthLevel::Critical, 0, StatusCode::OK),
        (HealthLevel::Critical, 1, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let cause = Cause { level, message: "m".into(), next_step: "n".into() };
        let health = Health::from_causes(vec![cause]);
        api.node.set_health(health.clone(), offline);
        let response = api.get("/v1/health").await;
        assert_eq!(response.status(), status);
        assert_eq!(serde_json::from_str::<Health>(&text(response).await).unwrap(), health);
    }
}

#[tokio::test]
async fn the_document_and_the_figures_are_served() {
    let api = Api::with_volume().await;
    let document = api.get("/v1/openapi.json").await;
    assert_eq!(document.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(text(document).await, quarry_api::openapi_json());
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    assert!(text(metrics).await.contains("quarry_volumes 1"));
}

#[tokio::test]
async fn a_history_is_of_what_a_thing_has() {
    let api = Api::with_volume().await;
    let of = async |path: &str| api.get(&format!("/v1/{path}")).await;
    let shown = of("volumes/v/history?series=errors&resolution=day&from=2026-11-20T08:30:00%2B00:00").await;
    assert_eq!(shown.status(), StatusCode::OK);
    let shown: Value = serde_json::from_str(&text(shown).await).unwrap();
    assert_eq!(
        (&shown["series"], &shown["unit"], &shown["resolution"]),
        (&json!("errors"), &json!("per-minute"), &json!("day"))
    );
    for wrong in ["series=stored", "series=nonsense", "resolution=year", "from=yesterday", "till=now"] {
        let problem = problem(of(&format!("volumes/v/history?{wrong}")).await).await;
        assert!(matches!(problem.status, 400 | 409 | 422), "{wrong}: {problem:?}");
    }
    assert_eq!(of("volumes/w/forecast").await.status(), StatusCode::NOT_FOUND);
    let forecast: Value = serde_json::from_str(&text(of("pools/p/forecast").await).await).unwrap();
    assert_eq!((&forecast["object"], &forecast["capacity"]["state"]), (&json!("p"), &json!("growing")));
}
