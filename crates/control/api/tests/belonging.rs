//! What is whose, whoever asks: what a tenant's things may hold, what it was granted, and what its clones come from; and that nobody ends what
//! opens more than he has.

mod memory_node;
mod world;

use axum::http::Method;
use quarry_api_types::Secret;
use serde_json::{Value, json};
use world::World;

/// Whoever says it: a tenant would see, change or delete by its own thing what is not its own.
#[tokio::test]
async fn what_is_a_tenants_holds_nothing_of_others() {
    let world = World::with_tenants().await;
    for name in ["globex.v", "plain"] {
        world.make("/v1/volumes", json!({"name": name, "pool": "p", "size_bytes": 1 << 20})).await;
    }
    for name in ["acme.own", "gold"] {
        world.make("/v1/policies", json!({"name": name, "settings": {}})).await;
    }
    let host = json!({"name": "web", "initiators": ["iqn.2001-04.com.example:web"]});
    world.make("/v1/hosts", host).await;
    world.make("/v1/groups", json!({"name": "all", "volumes": ["globex.v", "plain"]})).await;
    let ask = async |method: Method, path: &str, body: Value| {
        world.ask(method, path, Some(&world.admin), Some(&body)).await
    };
    for (method, path, body) in [
        (Method::POST, "/v1/groups", json!({"name": "acme.g", "volumes": ["globex.v"]})),
        (Method::POST, "/v1/groups", json!({"name": "acme.g", "volumes": ["plain"]})),
        (Method::PATCH, "/v1/groups/acme.thing", json!({"add": ["globex.v"]})),
        (Method::PATCH, "/v1/groups/all", json!({"name": "acme.all"})),
        (Method::POST, "/v1/host-groups", json!({"name": "acme.farm", "hosts": ["web"]})),
        (Method::PATCH, "/v1/host-groups/acme.thing", json!({"add": ["web"]})),
        (Method::PUT, "/v1/volumes/globex.v/policy", json!({"policy": "acme.own"})),
        (Method::PUT, "/v1/volumes/plain/policy", json!({"policy": "acme.own"})),
        (Method::PUT, "/v1/groups/all/policy", json!({"policy": "acme.own"})),
        (Method::POST, "/v1/volumes/acme.thing/rename", json!({"name": "globex.thing"})),
        (
            Method::POST,
            "/v1/volumes",
            json!({"name": "globex.w", "pool": "p", "size_bytes": 4096, "policy": "acme.own"}),
        ),
    ] {
        let answer = ask(method, path, body.clone()).await;
        assert_eq!(answer.status, 409, "{path} {body}: {}", answer.text);
        assert!(answer.text.contains("is of tenant 'acme'"), "{path} {body}: {}", answer.text);
    }
    for (part, stated) in [
        (
            "policy",
            json!({"volumes": [{"name": "plain", "pool": "p", "size_bytes": 1 << 20, "policy": "acme.own"}]}),
        ),
        ("volumes", json!({"groups": [{"name": "acme.g", "volumes": ["plain"]}]})),
        ("policy", json!({"groups": [{"name": "all", "volumes": ["plain"], "policy": "acme.own"}]})),
        ("hosts", json!({"host_groups": [{"name": "acme.farm", "hosts": ["web"]}]})),
        (
            "volumes",
            json!({"tenants": [{"name": "new", "pools": []}], "groups": [{"name": "new.g", "volumes": ["plain"]}]}),
        ),
    ] {
        let plan = ask(Method::POST, "/v1/state/plan", stated.clone()).await.json();
        assert!(plan["problems"].to_string().contains("is of tenant"), "{part} {stated}: {plan}");
        assert_eq!(ask(Method::POST, "/v1/state", stated.clone()).await.status, 409, "{stated}");
    }
    assert!(!world.get("/v1/tenants", &world.admin).await.text.contains("\"new\""), "nothing is begun");
    // What is the node's holds anything, and a tenant is not told of it.
    assert_eq!(ask(Method::PUT, "/v1/volumes/globex.v/policy", json!({"policy": "gold"})).await.status, 200);
    let globex = world.token("tenant-admin", "globex").await;
    let shown = world.get("/v1/volumes/globex.v", &globex).await.json();
    assert!(shown["group"].is_null(), "{shown}");
    let shown = world.get("/v1/volumes/globex.v/policy", &globex).await.json();
    assert_eq!(shown["policy"], "gold", "what is attached to its own volume");
}

#[tokio::test]
async fn a_clone_of_what_is_not_its_own_tells_a_tenant_nothing_of_it_and_takes_nothing() {
    let world = World::with_tenants().await;
    world.make("/v1/volumes", json!({"name": "tmpl", "pool": "p", "size_bytes": 1 << 20})).await;
    world.make("/v1/volumes/tmpl/snapshots", json!({"name": "base"})).await;
    for clone in ["acme.vm", "globex.vm"] {
        world.make("/v1/volumes/tmpl/clone", json!({"name": clone, "snapshot": "base"})).await;
    }
    let (acme, user) = (world.token("tenant-admin", "acme").await, world.token("tenant-user", "acme").await);
    for token in [&acme, &user] {
        let refused = world.ask(Method::POST, "/v1/volumes/acme.vm/promote", Some(token), None).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        for path in ["/v1/volumes/acme.vm", "/v1/volumes", "/v1/volumes?origin=tmpl*"] {
            let shown = world.get(path, token).await;
            assert!(shown.status == 200 && !shown.text.contains("tmpl"), "{path}: {}", shown.text);
        }
        assert!(!refused.text.contains("tmpl"), "{}", refused.text);
    }
    world.make("/v1/volumes/acme.vm/clone", json!({"name": "acme.copy"})).await;
    let own = world.get("/v1/volumes/acme.copy", &user).await.json();
    assert_eq!(own["origin"]["volume"].as_str().or(own["origin"].as_str()), Some("acme.vm"), "{own}");
    let promoted = world.ask(Method::POST, "/v1/volumes/acme.copy/promote", Some(&user), None).await;
    assert_eq!(promoted.status, 200, "{}", promoted.text);
    let promoted = world.ask(Method::POST, "/v1/volumes/globex.vm/promote", Some(&world.admin), None).await;
    assert_eq!(promoted.status, 200, "{}", promoted.text);
}

#[tokio::test]
async fn what_is_granted_stays_and_where_nothing_is_granted_any_more_nothing_grows() {
    let world = World::with_tenants().await;
    world.make("/v1/policies", json!({"name": "gold", "settings": {}})).await;
    world.make("/v1/pools", json!({"name": "q", "devices": ["/dev/sdd"]})).await;
    let tenant = async |body: Value| {
        world.ask(Method::PATCH, "/v1/tenants/acme", Some(&world.admin), Some(&body)).await.status
    };
    let share = json!([{"pool": "q", "capacity_bytes": 4096}]);
    assert_eq!(tenant(json!({"pools": ["p"], "shares": share, "policies": ["gold"]})).await, 200);
    let delete = async |path: &str| world.ask(Method::DELETE, path, Some(&world.admin), None).await;
    for path in ["/v1/policies/gold", "/v1/pools/q"] {
        let refused = delete(path).await;
        assert!(
            refused.status == 409 && refused.text.contains("granted to tenant 'acme'"),
            "{}",
            refused.text
        );
    }
    let acme = world.token("tenant-user", "acme").await;
    let grow = async |path: &str, body: Value| world.ask(Method::POST, path, Some(&acme), Some(&body)).await;
    assert_eq!(grow("/v1/volumes/acme.thing/resize", json!({"size_bytes": 2u64 << 30})).await.status, 200);
    assert_eq!(tenant(json!({"pools": [], "shares": [], "policies": []})).await, 200);
    for (path, body) in [
        ("/v1/volumes/acme.thing/resize", json!({"size_bytes": 3u64 << 30})),
        ("/v1/volumes/acme.thing/clone", json!({"name": "acme.copy"})),
    ] {
        let refused = grow(path, body).await;
        assert!(refused.status == 403 && refused.text.contains("not granted"), "{}", refused.text);
    }
    assert_eq!(delete("/v1/policies/gold").await.status, 204);
    assert_eq!(delete("/v1/pools/q").await.status, 204);
}

#[tokio::test]
async fn a_token_ends_none_that_opens_more_and_the_last_admin_stays() {
    let world = World::new();
    let delete = async |path: &str, token: &Secret| world.ask(Method::DELETE, path, Some(token), None).await;
    let tokens = world.get("/v1/tokens", &world.admin).await.json();
    let first = tokens[0]["id"].as_str().expect("the first token").to_owned();
    let made = world.make("/v1/tokens", json!({"role": "auditor"})).await;
    let auditor = Secret::new(made["text"].as_str().unwrap());
    let refused = delete(&format!("/v1/tokens/{first}"), &auditor).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert_eq!(delete(&format!("/v1/tokens/{}", made["id"].as_str().unwrap()), &auditor).await.status, 204);
    let refused = delete("/v1/users/admin", &world.admin).await;
    assert!(refused.status == 409 && refused.text.contains("the last admin"), "{}", refused.text);
    world.make("/v1/users", json!({"name": "eve", "role": "admin", "password": "correct-horse"})).await;
    assert_eq!(delete("/v1/users/eve", &world.admin).await.status, 204, "there is another one");
}
