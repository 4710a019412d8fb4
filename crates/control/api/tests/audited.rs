//! What the audit log tells of requests.

mod memory_node;
mod world;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use memory_node::Fault;
use quarry_api::Guard;
use quarry_api_types::Timestamp;
use quarry_audit::AuditLog;
use quarry_auth::AccessStore;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};
use world::World;

async fn entries(world: &World) -> Vec<Value> {
    let answer = world.get("/v1/audit", &world.admin).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["entries"].as_array().unwrap().clone()
}

fn in_short(entry: &Value) -> String {
    let text = |member: &str| entry[member].as_str().unwrap_or("-").to_owned();
    let status = entry["status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
    format!("{} {} {} {} {status}", text("kind"), text("user"), text("operation"), text("object"))
}

#[tokio::test]
async fn a_change_is_told_before_and_behind_and_a_look_is_not() {
    let world = World::new();
    world.make("/v1/pools", json!({"name": "p", "devices": ["/dev/sdb"]})).await;
    world.get("/v1/pools", &world.admin).await;
    let gone = world.ask(Method::DELETE, "/v1/volumes/v", Some(&world.admin), None).await;
    assert_eq!(gone.status, 404);
    let told: Vec<_> = entries(&world).await.iter().map(in_short).collect();
    assert_eq!(
        told,
        [
            "begun admin create_pool p -",
            "ended admin create_pool p 201",
            "begun admin delete_volume v -",
            "ended admin delete_volume v 404",
        ]
    );
    let all = entries(&world).await;
    assert_eq!(all[0]["request"], all[1]["request"]);
    assert_eq!(gone.head["x-request-id"], all[3]["request"].as_str().unwrap());
    let verified = world.get("/v1/audit/verification", &world.admin).await.json();
    assert_eq!((&verified["intact"], &verified["last"]), (&json!(true), &json!(4)));
}

#[tokio::test]
async fn every_refusal_is_told_with_who_and_why() {
    let world = World::with_tenants().await;
    let (auditor, globex) = (world.token("auditor", "").await, world.token("tenant-user", "globex").await);
    let since = entries(&world).await.len();
    world.ask(Method::GET, "/v1/pools", None, None).await;
    world.ask(Method::DELETE, "/v1/pools/p", Some(&auditor), None).await;
    world.get("/v1/volumes/acme.thing", &globex).await;
    world.ask(Method::GET, "/v1/none", None, None).await;
    let all = entries(&world).await;
    let told: Vec<_> = all[since..].iter().map(in_short).collect();
    assert_eq!(
        told,
        [
            "refused - list_pools - 401",
            "refused admin delete_pool p 403",
            "refused admin show_volume acme.thing 404",
            "refused - GET /v1/none - 401",
        ]
    );
    let [.., by_role, by_tenant, _] = &all[..] else { panic!() };
    assert_eq!((&by_role["role"], by_role["tenant"].is_null()), (&json!("auditor"), true));
    assert!(by_role["reason"].as_str().unwrap().contains("does not permit delete_pool"));
    assert_eq!((&by_tenant["role"], &by_tenant["tenant"]), (&json!("tenant-user"), &json!("globex")));
}

#[tokio::test]
async fn what_a_stranger_names_is_told() {
    let world = World::with_tenants().await;
    let since = entries(&world).await.len();
    world.ask(Method::DELETE, "/v1/volumes/vm1", None, None).await;
    world.ask(Method::DELETE, "/v1/volumes/vm1/snapshots/monday", None, None).await;
    world.ask(Method::POST, "/v1/pools", None, Some(&json!({"name": "p", "devices": ["/dev/sdb"]}))).await;
    let told: Vec<_> = entries(&world).await[since..].iter().map(in_short).collect();
    assert_eq!(
        told,
        [
            "refused - delete_volume vm1 401",
            "refused - delete_snapshot vm1 monday 401",
            "refused - create_pool - 401",
        ]
    );
}

#[tokio::test]
async fn a_watch_of_what_one_may_not_list_is_told() {
    let world = World::with_tenants().await;
    let acme = world.token("tenant-user", "acme").await;
    let since = entries(&world).await.len();
    assert_eq!(world.get("/v1/watch?sorts=events", &acme).await.status, 403);
    let all = entries(&world).await;
    assert_eq!(all[since..].iter().map(in_short).collect::<Vec<_>>(), ["refused admin watch - 403"]);
    assert!(all[since]["reason"].as_str().unwrap().contains("list_events"), "{}", all[since]);
}

#[tokio::test]
async fn a_change_of_what_has_changed_meanwhile_is_told() {
    let world = World::with_tenants().await;
    let since = entries(&world).await.len();
    let request = axum::http::Request::delete("/v1/volumes/acme.thing")
        .header("authorization", format!("Bearer {}", world.admin.reveal()))
        .header("if-match", "\"another\"")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = tower::ServiceExt::oneshot(world.router.clone(), request).await.unwrap();
    assert_eq!(answer.status(), 412);
    // So is what cannot be understood.
    let list = world.ask(Method::POST, "/v1/pools", Some(&world.admin), Some(&json!([]))).await;
    assert_eq!(list.status, 400);
    let all = entries(&world).await;
    assert_eq!(
        all[since..].iter().map(in_short).collect::<Vec<_>>(),
        ["refused admin delete_volume acme.thing 412", "refused admin create_pool - 400"]
    );
    assert!(all[since]["reason"].as_str().unwrap().contains("another one"), "{}", all[since]);
}

#[tokio::test]
async fn what_a_document_does_to_tenants_is_told() {
    let world = World::with_tenants().await;
    let since = entries(&world).await.len();
    let stated = json!({"tenants": [
        {"name": "initech", "pools": ["p"], "volumes": 3},
        {"name": "acme", "volumes": 17},
    ]});
    let answer = world.ask(Method::POST, "/v1/state", Some(&world.admin), Some(&stated)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let all = entries(&world).await;
    assert_eq!(
        all[since..].iter().map(in_short).collect::<Vec<_>>(),
        [
            "begun admin apply_state - -",
            "node - create_tenant initech -",
            "node - change_tenant acme -",
            "ended admin apply_state - 202",
        ]
    );
    let job = answer.json()["id"].as_u64().unwrap();
    for step in &all[since + 1..since + 3] {
        assert_eq!(step["reason"], format!("job {job} of apply_state"));
    }
    assert_eq!(all.last().unwrap()["reason"], format!("job {job}"));
}

/// One asker does not push what others did out of the log, whatever he asks for.
#[tokio::test]
async fn a_flood_of_failures_is_told_in_a_few_entries() {
    let world = World::with_tenants().await;
    let acme = world.token("tenant-user", "acme").await;
    let since = entries_of(&world).await;
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..6000 {
        let (method, path) = match number % 3 {
            0 => (Method::DELETE, format!("/v1/volumes/acme.none{number}")),
            1 => (Method::GET, format!("/v1/volumes/globex.none{number}")),
            _ => (Method::DELETE, format!("/v1/pools/p{number}")),
        };
        *statuses.entry(world.ask(method, &path, Some(&acme), None).await.status).or_insert(0) += 1;
    }
    assert!(statuses[&429] > 900, "changes are turned away: {statuses:?}");
    let written = entries_of(&world).await - since;
    assert!((3000..4500).contains(&written), "{written} entries");
    // Others are listened to, he may look, and what he did not ask for is told.
    assert_eq!(world.get("/v1/volumes/acme.thing", &acme).await.status, 200);
    let gone = world.ask(Method::DELETE, "/v1/volumes/none", Some(&world.admin), None).await;
    assert_eq!(gone.status, 404);
    let (mut since, mut is_told) = (Some(0), false);
    while let Some(part) = since {
        let told = world.get(&format!("/v1/audit?kind=refused&since={part}"), &world.admin).await;
        is_told |= told.text.contains("were turned away");
        since = told.json()["next"].as_u64();
    }
    assert!(is_told);
}

/// How many entries there are.
async fn entries_of(world: &World) -> u64 {
    let verified = world.get("/v1/audit/verification", &world.admin).await.json();
    assert_eq!(verified["intact"], true);
    verified["last"].as_u64().unwrap()
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_in_an_answer_but_where_it_is_new() {
    const SECRETS: [&str; 4] = ["correct-horse", "another-horse", "chap-secret-horse", "keyring-horse"];
    let world = World::new();
    let mut answers = Vec::new();
    for (method, path, body) in [
        (Method::POST, "/v1/users", json!({"name": "ann", "role": "operator", "password": SECRETS[0]})),
        (Method::POST, "/v1/login", json!({"user": "bob", "password": SECRETS[0]})),
        (Method::PUT, "/v1/users/ann/password", json!({"password": SECRETS[1], "old_password": SECRETS[0]})),
        (
            Method::POST,
            "/v1/hosts",
            json!({"name": "h", "networks": ["10.0.0.1"], "chap": {"user": "u", "secret": SECRETS[2]}}),
        ),
        (Method::POST, "/v1/keyring/unlock", json!({"passphrase": SECRETS[3]})),
    ] {
        answers.push(world.ask(method, path, Some(&world.admin), Some(&body)).await.text);
    }
    let new = world.make("/v1/login", json!({"user": "ann", "password": SECRETS[1]})).await;
    let token = new["text"].as_str().unwrap().to_owned();
    for path in
        ["/v1/audit", "/v1/users", "/v1/users/ann", "/v1/tokens", "/v1/hosts/h", "/v1/session", "/metrics"]
    {
        let answer = world.get(path, &world.admin).await;
        assert_eq!(answer.status, 200, "{path}");
        answers.push(answer.text);
    }
    for answer in answers {
        assert!(!SECRETS.iter().any(|secret| answer.contains(secret)), "{answer}");
        assert!(!answer.contains(&token) && !answer.contains(world.admin.reveal()), "{answer}");
    }
}

#[tokio::test]
async fn a_change_whose_asker_hangs_up_runs_to_its_end_and_is_told() {
    let world = World::new();
    world.node.inject(Fault::Delay(Duration::from_millis(200)));
    let body = json!({"name": "p", "devices": ["/dev/sdb"]});
    let asked = world.ask(Method::POST, "/v1/pools", Some(&world.admin), Some(&body));
    assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    for _ in 0..100 {
        let told: Vec<_> = entries(&world).await.iter().map(in_short).collect();
        if told.len() == 2 {
            assert_eq!(told[1], "ended admin create_pool p 201");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its end is not told");
}

/// A disk that can fail.
#[derive(Debug)]
struct Disk {
    memory: InMemoryBackend,
    is_broken: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        match self.is_broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("No space left on device")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn nothing_is_changed_when_the_log_takes_no_entry() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let disk = Disk { memory: InMemoryBackend::new(), is_broken: is_broken.clone() };
    let store = AccessStore::in_memory().unwrap();
    let admin = store.new_admin_token(Timestamp::from_unix_ms(0)).unwrap();
    let guard = Arc::new(Guard::new(store, AuditLog::over(disk).unwrap(), false));
    let world = World::guarded_by(guard, admin);
    world.make("/v1/pools", json!({"name": "p", "devices": ["/dev/sdb"]})).await;
    is_broken.store(true, Ordering::Relaxed);
    let refused = world.ask(Method::DELETE, "/v1/pools/p", Some(&world.admin), None).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text.contains("nothing is changed"), "{}", refused.text);
    let pools = world.get("/v1/pools", &world.admin).await;
    assert_eq!(pools.json().as_array().unwrap().len(), 1, "who only looks is answered");
    let figures = world.get("/metrics", &world.admin).await.text;
    assert!(figures.contains("\nquarry_audit_unwritten_total 1\n"), "{figures}");
}

#[tokio::test]
async fn an_id_that_a_client_gives_to_its_request_is_kept_when_it_is_a_word() {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    let world = World::new();
    for (given, kept) in [("job-17.a_b", true), ("two words", false), (&"x".repeat(65)[..], false)] {
        let request = Request::get("/v1/health").header("x-request-id", given).body(Body::empty()).unwrap();
        let answer = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["x-request-id"] == given, kept, "{given}");
    }
}
