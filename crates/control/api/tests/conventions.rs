//! What holds for every operation: pages and selections of lists, entity tags, changes that are sent again, watching.

mod memory_node;
mod world;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use http_body_util::BodyExt;
use memory_node::Fault;
use quarry_api_types::{EventSeverity, JobKind};
use serde_json::{Value, json};
use tower::ServiceExt;
use world::{Answer, World};

async fn with_volumes(count: usize) -> World {
    let world = World::with_tenants().await;
    for number in 0..count {
        world
            .make("/v1/volumes", json!({"name": format!("v{number}"), "pool": "p", "size_bytes": 4096}))
            .await;
    }
    world
}

/// Sends a request as the admin, with headers.
async fn send(
    world: &World,
    method: Method,
    path: &str,
    head: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::AUTHORIZATION, format!("Bearer {}", world.admin.reveal()));
    for (name, value) in head {
        request = request.header(*name, *value);
    }
    let body = match body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let (parts, body) = world.router.clone().oneshot(request.body(body).unwrap()).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), head: parts.headers, text }
}

fn names(answer: &Answer) -> Vec<String> {
    let list = answer.json();
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_come_in_pages_and_parts() {
    let world = with_volumes(5).await;
    let (mut path, mut seen) = ("/v1/volumes?limit=2&name=v*".to_owned(), Vec::new());
    loop {
        let page = world.get(&path, &world.admin).await;
        assert_eq!((page.status, &page.head["x-total-count"]), (200, &"5".parse().unwrap()));
        seen.extend(names(&page));
        let Some(link) = page.head.get(header::LINK) else { break };
        let link = link.to_str().unwrap();
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen, ["v0", "v1", "v2", "v3", "v4"]);
    assert_eq!(names(&world.get("/v1/volumes?pool=p&limit=1", &world.admin).await), ["acme.thing"]);
    assert_eq!(names(&world.get("/v1/volumes?pool=q", &world.admin).await), Vec::<String>::new());
    let refused = world.get("/v1/volumes?colour=red", &world.admin).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("invalid")));
}

#[tokio::test]
async fn a_tenant_has_pages_of_its_own_things_alone() {
    let world = with_volumes(3).await;
    let token = world.token("tenant-user", "acme").await;
    let page = world.get("/v1/volumes?limit=2", &token).await;
    assert_eq!(
        (names(&page), &page.head["x-total-count"]),
        (vec!["acme.thing".to_owned()], &"1".parse().unwrap())
    );
    assert!(page.head.get(header::LINK).is_none());
    assert_eq!(names(&world.get("/v1/volumes?name=v0", &token).await), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let world = with_volumes(1).await;
    for path in ["/v1/volumes", "/v1/volumes/v0", "/v1/status", "/v1/openapi.json"] {
        let first = world.get(path, &world.admin).await;
        let tag = first.head[header::ETAG].to_str().unwrap().to_owned();
        let head = send(&world, Method::HEAD, path, &[], None).await;
        assert_eq!(
            (head.status, head.text.as_str(), head.head[header::ETAG].to_str().unwrap()),
            (200, "", &*tag)
        );
        let again = send(&world, Method::GET, path, &[("if-none-match", &tag)], None).await;
        assert_eq!(
            (again.status, again.text.as_str(), again.head[header::ETAG].to_str().unwrap()),
            (304, "", &*tag)
        );
        assert_eq!(
            send(&world, Method::GET, path, &[("if-none-match", "\"x\"")], None).await.text,
            first.text
        );
    }
}

#[tokio::test]
async fn a_change_can_depend_on_what_was_read() {
    let world = with_volumes(2).await;
    let tag = |answer: Answer| answer.head[header::ETAG].to_str().unwrap().to_owned();
    let before = tag(world.get("/v1/volumes/v0", &world.admin).await);
    let resize = async |tag: &str, size: u64| {
        let body = json!({"size_bytes": size});
        send(&world, Method::POST, "/v1/volumes/v0/resize", &[("if-match", tag)], Some(body)).await
    };
    assert_eq!(resize(&before, 8192).await.status, 200);
    let refused = resize(&before, 16384).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (412, Some("changed")));
    let now = world.get("/v1/volumes/v0", &world.admin).await;
    assert_eq!(now.json()["size_bytes"], 8192);
    assert_eq!(resize(&format!("{before}, {}", tag(now)), 16384).await.status, 200);
    assert_eq!(resize("*", 32768).await.status, 200);
    // An export is nothing of the volume's own.
    let now = tag(world.get("/v1/volumes/v1", &world.admin).await);
    world.make("/v1/exports", json!({"volume": "v1", "protocol": "nbd"})).await;
    let rename = json!({"size_bytes": 8192});
    let changed =
        send(&world, Method::POST, "/v1/volumes/v1/resize", &[("if-match", &now)], Some(rename)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let gone = send(&world, Method::DELETE, "/v1/volumes/none", &[("if-match", "*")], None).await;
    assert_eq!(gone.status, 412);
}

#[tokio::test]
async fn what_hosts_do_and_work_that_goes_on_disturb_no_administrator() {
    let world = with_volumes(1).await;
    world.make("/v1/exports", json!({"volume": "v0", "protocol": "nbd"})).await;
    world.node.work(JobKind::Scrub, "p", &[0, 400, 500]);
    let tag = async |path: &str| tag_of(&world, path).await;
    let tags = [
        (Method::PATCH, "/v1/pools/p", json!({"warning_percent": 70}), tag("/v1/pools/p").await),
        (Method::PATCH, "/v1/volumes/v0", json!({"quota_bytes": 4096}), tag("/v1/volumes/v0").await),
        (Method::PATCH, "/v1/tenants/acme", json!({"volumes": 9}), tag("/v1/tenants/acme").await),
        (Method::DELETE, "/v1/exports/v0?force=true", Value::Null, tag("/v1/exports/v0").await),
        (Method::POST, "/v1/jobs/1/cancel", Value::Null, tag("/v1/jobs/1").await),
    ];
    world.node.write("v0", 64 << 20);
    world.make("/v1/volumes", json!({"name": "acme.more", "pool": "p", "size_bytes": 4096})).await;
    world.node.connect_client("v0");
    for (method, path, body, tag) in &tags {
        let body = Some(body.clone()).filter(|body| !body.is_null());
        let now = tag_of(&world, path).await;
        assert_ne!(now, *tag, "{path}: something that is measured has changed");
        let answer = send(&world, method.clone(), path, &[("if-match", tag)], body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
    }
    // What somebody means otherwise is another thing.
    let body = Some(json!({"critical_percent": 99}));
    let refused = send(&world, Method::PATCH, "/v1/pools/p", &[("if-match", &tags[0].3)], body).await;
    assert_eq!(refused.status, 412, "{}", refused.text);
}

/// The tag of what a change on `path` is about.
async fn tag_of(world: &World, path: &str) -> String {
    let shown = path.split('?').next().unwrap().trim_end_matches("/cancel");
    world.get(shown, &world.admin).await.head[header::ETAG].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_changes_that_depend_on_the_same_state_one_is_made() {
    let world = with_volumes(1).await;
    let tag = world.get("/v1/volumes/v0", &world.admin).await.head[header::ETAG].to_str().unwrap().to_owned();
    let resizes = (2..10u64).map(|blocks| {
        let (world, tag) = (&world, &tag);
        async move {
            let body = json!({"size_bytes": blocks * 4096});
            send(world, Method::POST, "/v1/volumes/v0/resize", &[("if-match", tag)], Some(body)).await.status
        }
    });
    let statuses = futures::future::join_all(resizes).await;
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == 412).count(), 7, "{statuses:?}");
}

#[tokio::test]
async fn a_change_with_a_key_is_made_once() {
    let world = with_volumes(0).await;
    let create = async |key: &str, name: &str| {
        let body = json!({"name": name, "pool": "p", "size_bytes": 4096});
        send(&world, Method::POST, "/v1/volumes", &[("idempotency-key", key)], Some(body)).await
    };
    let first = create("one", "v").await;
    assert_eq!((first.status, first.head.get("idempotency-replayed")), (201, None));
    let again = create("one", "v").await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.head["idempotency-replayed"], "true");
    assert_eq!(again.head[header::LOCATION], "/v1/volumes/v");
    assert_eq!(create("two", "v").await.status, 409);
    assert_eq!(create("one", "w").await.status, 422);
    assert_eq!(create(&"k".repeat(256), "w").await.status, 400);
    // Somebody else's key is another one.
    let token = world.token("operator", "").await;
    let body = json!({"name": "w", "pool": "p", "size_bytes": 4096}).to_string();
    let request = Request::post("/v1/volumes")
        .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", "one");
    let response = world.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert!(!response.headers().contains_key("idempotency-replayed"));
    let entries = world.get("/v1/audit", &world.admin).await.json();
    let made = entries["entries"].as_array().unwrap().iter();
    let created = |entry: &&Value| entry["operation"] == "create_volume" && entry["object"] == "v p";
    assert_eq!(made.filter(created).filter(|entry| entry["kind"] == "begun").count(), 2, "{entries}");
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_client_hangs_up_is_not_made_again() {
    let world = with_volumes(0).await;
    let body = json!({"name": "v", "pool": "p", "size_bytes": 4096});
    let create =
        || send(&world, Method::POST, "/v1/volumes", &[("idempotency-key", "k")], Some(body.clone()));
    world.node.inject(Fault::Delay(Duration::from_secs(5)));
    assert!(tokio::time::timeout(Duration::from_secs(1), create()).await.is_err());
    let again = loop {
        let answer = create().await;
        if answer.json()["detail"] != "the change with this idempotency key is under way" {
            break answer;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert_eq!(
        (again.status, &again.head["idempotency-replayed"]),
        (201, &"true".parse().unwrap()),
        "{}",
        again.text
    );
}

/// The data of the messages of a watch, one after the other.
struct Watching(axum::body::BodyDataStream, String);

impl Watching {
    async fn begin(world: &World, token: &quarry_api_types::Secret, query: &str) -> Self {
        let request = Request::get(format!("/v1/watch?{query}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self(response.into_body().into_data_stream(), String::new())
    }

    async fn next(&mut self) -> Option<Value> {
        self.next_event().await.map(|(_, data)| data)
    }

    /// An event by its fields, and what its data says.
    async fn next_event(&mut self) -> Option<(Value, Value)> {
        use futures::StreamExt;
        loop {
            if let Some((message, rest)) = self.1.split_once("\n\n") {
                let fields = message.lines().filter_map(|line| line.split_once(": "));
                let fields = fields.map(|(name, value)| (name.to_owned(), json!(value)));
                let fields: serde_json::Map<String, Value> = fields.collect();
                self.1 = rest.to_owned();
                match fields.get("data").and_then(Value::as_str).map(serde_json::from_str) {
                    Some(data) => return Some((Value::Object(fields), data.unwrap())),
                    None => continue,
                }
            }
            self.1.push_str(std::str::from_utf8(&self.0.next().await?.unwrap()).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_is_there_and_each_change() {
    let world = with_volumes(1).await;
    let mut watching = Watching::begin(&world, &world.admin, "sorts=volumes,pools").await;
    let mut told = Vec::new();
    while let Some(message) = watching.next().await.filter(|message| message["kind"] != "synced") {
        told.push((message["kind"].clone(), message["sort"].clone(), message["key"].clone()));
    }
    let put = |sort: &str, key: &str| (json!("put"), json!(sort), json!(key));
    assert_eq!(told, [put("pools", "p"), put("volumes", "acme.thing"), put("volumes", "v0")]);
    world.make("/v1/volumes", json!({"name": "w", "pool": "p", "size_bytes": 4096})).await;
    let made = watching.next().await.unwrap();
    assert_eq!(
        (&made["kind"], &made["key"], &made["object"]["size_bytes"]),
        (&json!("put"), &json!("w"), &json!(4096))
    );
    send(&world, Method::DELETE, "/v1/volumes/w", &[], None).await;
    let gone = watching.next().await.unwrap();
    assert_eq!((&gone["kind"], &gone["key"], gone.get("object")), (&json!("deleted"), &json!("w"), None));
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_nothing_that_may_not_be_listed_and_ends_with_its_token() {
    let world = with_volumes(2).await;
    let token = world.token("tenant-user", "acme").await;
    for (query, status) in [("sorts=users", 403), ("sorts=events", 403), ("sorts=colours", 400), ("", 400)] {
        assert_eq!(world.get(&format!("/v1/watch?{query}"), &token).await.status, status, "{query}");
    }
    let mut watching = Watching::begin(&world, &token, "sorts=volumes").await;
    assert_eq!(watching.next().await.unwrap()["key"], "acme.thing");
    assert_eq!(watching.next().await.unwrap()["kind"], "synced");
    let id = world.get("/v1/session", &token).await.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(send(&world, Method::DELETE, &format!("/v1/tokens/{id}"), &[], None).await.status, 204);
    assert_eq!(watching.next().await.unwrap()["kind"], "ended");
    assert!(watching.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn no_user_takes_the_place_of_all_who_watch() {
    let world = with_volumes(0).await;
    let token = world.token("tenant-user", "acme").await;
    let mut all = Vec::new();
    for _ in 0..quarry_api::limits::WATCHES_OF_USER_MAX {
        all.push(Watching::begin(&world, &token, "sorts=volumes").await);
    }
    // Another token of the same user is no other user.
    let other = world.token("tenant-user", "acme").await;
    for token in [&token, &other] {
        let refused = world.get("/v1/watch?sorts=volumes", token).await;
        assert_eq!((refused.status, &refused.head[header::RETRY_AFTER]), (429, &"10".parse().unwrap()));
    }
    Watching::begin(&world, &world.admin, "sorts=volumes").await;
    all.pop();
    all.push(Watching::begin(&world, &other, "sorts=volumes").await);
}

#[tokio::test]
async fn a_watch_is_of_something_and_its_messages_are_as_the_document_says() {
    let world = with_volumes(0).await;
    let document: Value = serde_json::from_str(&quarry_api::openapi_json()).unwrap();
    let watch = &document["paths"]["/v1/watch"]["get"];
    let sorts = watch["parameters"].as_array().unwrap().iter().find(|one| one["name"] == "sorts").unwrap();
    let schema = jsonschema::validator_for(&sorts["schema"]).unwrap();
    for (sorts, is_one) in [
        ("volumes", true),
        ("host-groups,jobs,events", true),
        ("", false),
        ("volumes,", false),
        ("volumes, jobs", false),
        ("colours", false),
    ] {
        assert_eq!(schema.is_valid(&json!(sorts)), is_one, "{sorts}");
        let path = format!("/v1/watch?sorts={}", sorts.replace(' ', "%20"));
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", world.admin.reveal()))
            .body(Body::empty());
        let response = world.router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status() == 200, is_one, "{sorts}");
    }
    // The schema is that of an event by its fields, and says what its data is.
    let mut schema = watch["responses"]["200"]["content"]["text/event-stream"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let event = jsonschema::validator_for(&schema).unwrap();
    let data = document.pointer("/components/schemas/WatchEvent/properties/data").unwrap();
    let mut data = data["contentSchema"].clone();
    data["components"] = document["components"].clone();
    let data = jsonschema::validator_for(&data).unwrap();
    world.node.happen(EventSeverity::Warning, "p");
    let mut watching = Watching::begin(&world, &world.admin, "sorts=pools,events&since=0").await;
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "synced") {
        let (fields, message) = watching.next_event().await.unwrap();
        assert!(event.is_valid(&fields), "{fields}");
        assert!(data.is_valid(&message), "{message}");
        kinds.push(message["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["put", "happened", "synced"]);
}

#[tokio::test]
async fn events_and_the_audit_log_come_in_parts_as_lists_do() {
    let world = with_volumes(0).await;
    for _ in 0..5 {
        world.node.happen(EventSeverity::Warning, "p & q");
    }
    world.node.happen(EventSeverity::Info, "p");
    for (path, items, number) in [
        ("/v1/events?limit=2&object=p%20%26%20q", "events", "id"),
        ("/v1/audit?limit=2&kind=begun", "entries", "number"),
    ] {
        let (mut path, mut seen) = (path.to_owned(), Vec::new());
        loop {
            let part = world.get(&path, &world.admin).await;
            assert_eq!(part.status, 200, "{path}: {}", part.text);
            let json = part.json();
            let numbers: Vec<u64> =
                json[items].as_array().unwrap().iter().map(|item| item[number].as_u64().unwrap()).collect();
            assert!(numbers.len() <= 2, "{json}");
            seen.extend(numbers);
            let Some(link) = part.head.get(header::LINK) else {
                assert!(json.get("next").is_none(), "{json}");
                break;
            };
            assert_eq!(json["next"].as_u64(), seen.last().copied());
            let link = link.to_str().unwrap();
            path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        let whole = world.get(path.split('?').next().unwrap(), &world.admin).await.json();
        assert!(seen.is_sorted() && seen.len() > 4, "{seen:?}, of {whole}");
    }
    for path in ["/v1/events", "/v1/audit"] {
        for limit in ["0", "1001", "-1", "x"] {
            let refused = world.get(&format!("{path}?limit={limit}"), &world.admin).await;
            assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("invalid")), "{limit}");
        }
    }
}
