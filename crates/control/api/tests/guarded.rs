//! Who may do what: every role against every operation of the OpenAPI document, nobody, and the other tenant.

mod memory_node;
mod world;

use axum::http::{Method, header};
use quarry_api_types::Secret;
use serde_json::{Value, json};
use world::{Operation, THING, World, operations};

/// What everybody with a token may: see who he is, end that, and look after his own password and tokens.
const OWN: [&str; 7] =
    ["show_session", "log_out", "set_password", "list_tokens", "create_token", "revoke_token", "health"];
/// What concerns users and their doings.
const ACCESS: [&str; 10] = [
    "list_users",
    "show_user",
    "create_user",
    "delete_user",
    "create_tenant",
    "change_tenant",
    "delete_tenant",
    "list_audit",
    "verify_audit",
    "log_in",
];
/// What a tenant's people may with what belongs to it.
const IN_TENANT: [&str; 52] = [
    "list_volumes",
    "create_volume",
    "show_volume",
    "show_placement",
    "show_volume_history",
    "show_volume_forecast",
    "change_volume",
    "delete_volume",
    "resize_volume",
    "rename_volume",
    "clone_volume",
    "roll_back_volume",
    "promote_volume",
    "rotate_volume_key",
    "list_changes",
    "list_snapshots",
    "create_snapshot",
    "show_snapshot",
    "change_snapshot",
    "delete_snapshot",
    "list_all_snapshots",
    "create_snapshot_set",
    "list_groups",
    "create_group",
    "show_group",
    "change_group",
    "delete_group",
    "list_group_snapshots",
    "create_group_snapshot",
    "delete_group_snapshot",
    "roll_back_group",
    "list_exports",
    "create_export",
    "show_exports",
    "delete_export",
    "list_hosts",
    "show_host",
    "list_host_groups",
    "show_host_group",
    "list_tenants",
    "show_volume_stats",
    "show_volume_policy",
    "attach_volume_policy",
    "detach_volume_policy",
    "show_group_policy",
    "attach_group_policy",
    "detach_group_policy",
    "list_policies",
    "create_policy",
    "show_policy",
    "change_policy",
    "delete_policy",
];

/// The table: whether a role may do an operation, written down a second time.
fn expected(role: &str, operation: &Operation) -> bool {
    let id = &operation.id[..];
    let of_users = ["list_users", "show_user", "create_user", "delete_user"].contains(&id);
    match role {
        _ if OWN.contains(&id) => true,
        "admin" => true,
        "auditor" => operation.method == Method::GET,
        "operator" => !ACCESS.contains(&id),
        "tenant-admin" => IN_TENANT.contains(&id) || id == "show_tenant" || of_users,
        _ => IN_TENANT.contains(&id) || id == "show_tenant",
    }
}

#[tokio::test]
async fn every_role_against_every_operation() {
    for operation in operations(THING).iter().filter(|operation| operation.id != "log_in") {
        for role in ["admin", "operator", "auditor", "tenant-admin", "tenant-user"] {
            let mut operation = operation.clone();
            // The names of tenants have no dot, and what a tenant makes volumes in was granted to it.
            operation.path = operation.path.replace("/tenants/acme.thing", "/tenants/acme");
            if let Some(pool) = operation.body.as_mut().and_then(|body| body.get_mut("pool")) {
                *pool = json!("p");
            }
            let world = World::with_tenants().await;
            let token = world.token(role, "acme").await;
            let answer = world.perform(&operation, Some(&token)).await;
            let is_refused = answer.text.contains("does not permit");
            assert_eq!(
                !is_refused,
                expected(role, &operation),
                "{role} {}: {} {}",
                operation.id,
                answer.status,
                answer.text
            );
            assert_ne!(answer.status, 401, "{role} {}", operation.id);
            assert!(!is_refused || answer.status == 403);
        }
    }
}

#[tokio::test]
async fn without_a_token_there_is_nothing_but_401() {
    let world = World::with_tenants().await;
    let (most, last) = world.admin.reveal().split_at(world.admin.reveal().len() - 1);
    let wrong = Secret::new(format!("{most}{}", if last == "0" { "1" } else { "0" }));
    let ended = world.make("/v1/tokens", json!({"role": "admin"})).await;
    let ended_text = Secret::new(ended["text"].as_str().unwrap());
    let path = format!("/v1/tokens/{}", ended["id"].as_str().unwrap());
    assert_eq!(world.ask(Method::DELETE, &path, Some(&world.admin), None).await.status, 204);
    let others = ["/metrics", "/v1/openapi.json", "/v1/none", "/"].map(|path| Operation {
        id: path.to_owned(),
        method: Method::GET,
        path: path.to_owned(),
        body: None,
    });
    let all: Vec<_> = operations(THING).into_iter().chain(others).collect();
    let before = contents(&world).await;
    for operation in &all {
        for token in
            [None, Some(&wrong), Some(&ended_text), Some(&Secret::new("")), Some(&Secret::new("qt_0_0"))]
        {
            let answer = world.perform(operation, token).await;
            if operation.id == "health" && token.is_none() {
                assert_eq!(answer.status, 200);
                continue;
            }
            assert_eq!(answer.status, 401, "{}: {}", operation.id, answer.text);
            assert_eq!(answer.head[header::WWW_AUTHENTICATE], "Bearer");
            assert_eq!(answer.head[header::CONTENT_TYPE], "application/problem+json");
        }
    }
    assert_eq!(contents(&world).await, before);
}

/// What another tenant can ask without naming anything: what he gets has nothing of acme in it.
const NAMELESS: [&str; 17] = [
    "list_policies",
    "list_volumes",
    "list_all_snapshots",
    "list_groups",
    "list_exports",
    "list_hosts",
    "list_host_groups",
    "list_tenants",
    "list_users",
    "show_session",
    "log_out",
    "list_tokens",
    "create_token",
    "health",
    "log_in",
    "list_devices",
    "list_pools",
];

#[tokio::test]
async fn with_another_tenants_token_nothing_of_a_tenant_is_seen_changed_or_told_from_nothing() {
    let absent = operations("acme.nought");
    for (operation, absent) in operations(THING).iter().zip(&absent) {
        for role in ["tenant-admin", "tenant-user"] {
            let world = World::with_tenants().await;
            let token = world.token(role, "globex").await;
            let before = contents(&world).await;
            let answer = world.perform(operation, Some(&token)).await;
            let id = &operation.id[..];
            if NAMELESS.contains(&id) {
                assert!(!answer.text.contains("acme") || id == "log_in", "{id}: {}", answer.text);
            } else {
                assert!(matches!(answer.status, 403 | 404), "{role} {id}: {} {}", answer.status, answer.text);
            }
            let other = World::with_tenants().await;
            let token = other.token(role, "globex").await;
            let of_nothing = other.perform(absent, Some(&token)).await;
            if !NAMELESS.contains(&id) {
                assert_eq!(answer.status, of_nothing.status, "{role} {id}");
                assert_eq!(answer.text.replace(THING, "acme.nought"), of_nothing.text, "{role} {id}");
            }
            assert_eq!(contents(&world).await, before, "{role} {id}");
        }
    }
}

/// serde takes a list for a struct, its items for the members in their order: a name in it would not be looked at.
#[tokio::test]
async fn a_body_that_is_a_list_is_refused_whatever_is_in_it() {
    let world = World::with_tenants().await;
    let globex = world.token("tenant-admin", "globex").await;
    let before = contents(&world).await;
    for operation in operations(THING).iter().filter(|operation| operation.body.is_some()) {
        let members = operation.body.as_ref().unwrap().as_object().unwrap();
        for name in ["globex.thing", THING] {
            let mut operation = operation.clone();
            operation.path = operation.path.replace(THING, name);
            operation.body = Some(members.values().cloned().collect());
            let answer = world.perform(&operation, Some(&globex)).await;
            assert_eq!(answer.status, 400, "{}: {}", operation.id, answer.text);
        }
    }
    let volume = json!([THING, "p", 1 << 20]);
    assert_eq!(world.ask(Method::POST, "/v1/volumes", Some(&world.admin), Some(&volume)).await.status, 400);
    assert_eq!(contents(&world).await, before);
}

#[tokio::test]
async fn an_export_of_another_tenant_is_not_there_by_its_id_either() {
    let world = World::with_tenants().await;
    let exports = world.get("/v1/exports", &world.admin).await.json();
    let path = format!("/v1/exports/{}", exports[0]["id"].as_str().unwrap());
    let globex = world.token("tenant-admin", "globex").await;
    let acme = world.token("tenant-user", "acme").await;
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(world.ask(method.clone(), &path, Some(&globex), None).await.status, 404, "{method}");
    }
    assert_eq!(world.get(&path, &acme).await.status, 200);
    assert_eq!(world.ask(Method::DELETE, &path, Some(&acme), None).await.status, 204);
}

/// All that there is, as the admin sees it; what logging and tokens change is left out.
async fn contents(world: &World) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "pools",
        "volumes",
        "snapshots",
        "groups",
        "policies",
        "hosts",
        "host-groups",
        "exports",
        "users",
        "tenants",
    ] {
        let answer = world.get(&format!("/v1/{path}"), &world.admin).await;
        assert_eq!(answer.status, 200, "{path}");
        all.push(answer.json());
    }
    all
}

#[tokio::test]
async fn a_tenant_sees_and_names_its_own_and_uses_the_pools_that_it_was_granted() {
    let world = World::with_tenants().await;
    world.make("/v1/volumes", json!({"name": "plain", "pool": "p", "size_bytes": 4096})).await;
    let acme = world.token("tenant-user", "acme").await;
    let volumes = world.get("/v1/volumes", &acme).await.json();
    assert_eq!(volumes.as_array().unwrap().len(), 1);
    assert_eq!(volumes[0]["name"], THING);
    assert_eq!(world.get("/v1/volumes", &world.admin).await.json().as_array().unwrap().len(), 2);
    let head = world.ask(Method::HEAD, "/v1/volumes", Some(&acme), None).await;
    let length = head.head.get(header::CONTENT_LENGTH).map(|length| length.to_str().unwrap());
    assert!(head.status == 200 && head.text.is_empty(), "{head:?}");
    let own = world.get("/v1/volumes", &acme).await.text.len().to_string();
    assert_eq!(length, Some(&*own), "the length of what others have is not told");
    let create = async |name: &str, pool: &str| {
        let body = json!({"name": name, "pool": pool, "size_bytes": 4096});
        world.ask(Method::POST, "/v1/volumes", Some(&acme), Some(&body)).await
    };
    assert_eq!(create("acme.new", "p").await.status, 201);
    assert_eq!(create("acme.other", "q").await.status, 404);
    let refused = create("new", "p").await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("begins with 'acme.'"), "{}", refused.text);
    let change = json!({"pools": []});
    assert_eq!(
        world.ask(Method::PATCH, "/v1/tenants/acme", Some(&world.admin), Some(&change)).await.status,
        200
    );
    assert_eq!(create("acme.more", "p").await.status, 404);
    let shown = world.get("/v1/tenants", &acme).await.json();
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["used_volumes"]), (1, &json!(2)));
}

#[tokio::test]
async fn a_tenant_attaches_policies_of_the_node_that_it_was_granted() {
    let world = World::with_tenants().await;
    for (name, rate) in [("gold", 5000), ("secret", 9)] {
        world.make("/v1/policies", json!({"name": name, "settings": {"qos": {"iops_max": rate}}})).await;
    }
    world.make("/v1/volumes", json!({"name": "plain", "pool": "p", "size_bytes": 4096})).await;
    let put = async |path: &str, token: &Secret, body: Value| {
        world.ask(Method::PUT, path, Some(token), Some(&body)).await
    };
    let own = format!("/v1/volumes/{THING}/policy");
    let gold = json!({"policy": "gold"});
    assert_eq!(put("/v1/volumes/plain/policy", &world.admin, gold.clone()).await.status, 200);
    let acme = world.token("tenant-user", "acme").await;
    let admin = world.token("tenant-admin", "acme").await;
    for name in ["gold", "secret", "globex.t"] {
        assert_eq!(put(&own, &acme, json!({"policy": name})).await.status, 404, "{name} was not granted");
        assert_eq!(world.get(&format!("/v1/policies/{name}"), &acme).await.status, 404);
    }
    let grant = async |policies: Value| {
        let body = json!({"policies": policies});
        world.ask(Method::PATCH, "/v1/tenants/acme", Some(&world.admin), Some(&body)).await.status
    };
    assert_eq!(grant(json!(["gone"])).await, 404);
    assert_eq!(grant(json!(["globex.t"])).await, 409, "what belongs to another tenant is not for this one");
    assert_eq!(grant(json!(["gold"])).await, 200);
    assert_eq!(put(&own, &acme, gold.clone()).await.status, 200);
    assert_eq!(put(&own, &acme, json!({"policy": "secret"})).await.status, 404);
    let body = json!({"name": "acme.fresh", "pool": "p", "size_bytes": 4096, "policy": "gold"});
    assert_eq!(world.ask(Method::POST, "/v1/volumes", Some(&acme), Some(&body)).await.status, 201);
    // What others have under it is not told.
    let shown = world.get("/v1/policies/gold", &acme).await;
    assert!(!shown.text.contains("plain") && shown.text.contains(THING), "{}", shown.text);
    assert_eq!(shown.json()["settings"]["qos"]["iops_max"], 5000);
    assert!(world.get("/v1/policies/gold", &world.admin).await.text.contains("plain"));
    let listed = world.get("/v1/policies", &acme).await;
    let listed_policies = listed.json();
    let names: Vec<&str> =
        listed_policies.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["gold"]);
    assert!(!listed.text.contains("plain"), "{}", listed.text);
    // It is the node's all the same.
    assert_eq!(put("/v1/policies/gold", &admin, json!({"settings": {}})).await.status, 404);
    let deleted = world.ask(Method::DELETE, "/v1/policies/gold", Some(&admin), None).await;
    assert_eq!(deleted.status, 404);
    // What is attached stays when it is no longer granted.
    assert_eq!(grant(json!([])).await, 200);
    assert_eq!(world.get("/v1/policies/gold", &acme).await.status, 404);
    assert_eq!(world.get(&own, &acme).await.json()["policy"], "gold");
}

#[tokio::test]
async fn the_answer_to_a_change_tells_a_tenant_nothing_of_others_either() {
    let world = World::with_tenants().await;
    for name in ["acme.mine", "plain"] {
        world.make("/v1/volumes", json!({"name": name, "pool": "p", "size_bytes": 4096})).await;
    }
    world.make("/v1/groups", json!({"name": "everything", "volumes": ["acme.mine", "plain"]})).await;
    let (acme, path) = (world.token("tenant-user", "acme").await, "/v1/volumes/acme.mine");
    for token in [&acme, &world.admin] {
        let change = json!({"durability": "always"});
        let changed = world.ask(Method::PATCH, path, Some(token), Some(&change)).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(changed.text.contains("everything"), token == &world.admin, "{}", changed.text);
    }
}

#[tokio::test]
async fn a_tenant_exports_over_fabrics_to_its_own_hosts_only() {
    let world = World::with_tenants().await;
    let acme = world.token("tenant-admin", "acme").await;
    let export = async |body: Value| world.ask(Method::POST, "/v1/exports", Some(&acme), Some(&body)).await;
    for protocol in ["iscsi", "nvme-tcp"] {
        let refused = export(json!({"volume": THING, "protocol": protocol})).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        let refused = export(json!({"volume": THING, "protocol": protocol, "host": null})).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
    }
    let refused = export(json!({"volume": THING, "protocol": "nbd"})).await;
    assert!(
        refused.status == 403 && refused.text.contains("anybody who reaches the port"),
        "{}",
        refused.text
    );
    let operator = world.token("operator", "").await;
    let body = json!({"volume": THING, "protocol": "nbd"});
    let answer = world.ask(Method::POST, "/v1/exports", Some(&operator), Some(&body)).await;
    assert_eq!(answer.status, 409, "it is there already, which an operator is told: {}", answer.text);
    assert_eq!(export(json!({"volume": THING, "protocol": "iscsi", "host": "globex.h"})).await.status, 404);
    assert_eq!(export(json!({"volume": THING, "protocol": "iscsi", "host": THING})).await.status, 201);
}

#[tokio::test]
async fn a_tenant_grows_up_to_its_bounds_whoever_asks() {
    let world = World::with_tenants().await;
    let change = json!({"capacity_bytes": 3_u64 << 30, "volumes": 3});
    assert_eq!(
        world.ask(Method::PATCH, "/v1/tenants/acme", Some(&world.admin), Some(&change)).await.status,
        200
    );
    let acme = world.token("tenant-user", "acme").await;
    let post = async |token: &Secret, path: &str, body: Value| {
        world.ask(Method::POST, path, Some(token), Some(&body)).await.status
    };
    let volume = |name: &str, gib: u64| json!({"name": name, "pool": "p", "size_bytes": gib << 30});
    assert_eq!(post(&acme, "/v1/volumes", volume("acme.b", 3)).await, 409);
    assert_eq!(post(&world.admin, "/v1/volumes", volume("acme.b", 3)).await, 409);
    assert_eq!(post(&acme, "/v1/volumes", volume("acme.b", 1)).await, 201);
    assert_eq!(post(&acme, "/v1/volumes/acme.b/resize", json!({"size_bytes": 3_u64 << 30})).await, 409);
    assert_eq!(
        post(&acme, "/v1/volumes/acme.thing/clone", json!({"name": "acme.c", "snapshot": "monday"})).await,
        201
    );
    assert_eq!(post(&acme, "/v1/volumes/acme.b/clone", json!({"name": "acme.d"})).await, 409);
    assert_eq!(post(&world.admin, "/v1/volumes", volume("plain", 9)).await, 201, "others are not concerned");
    assert_eq!(post(&world.admin, "/v1/volumes/plain/rename", json!({"name": "acme.plain"})).await, 409);
    assert_eq!(post(&acme, "/v1/volumes/acme.b/rename", json!({"name": "acme.bb"})).await, 200);
    let change = json!({"capacity_bytes": 0});
    assert_eq!(
        world.ask(Method::PATCH, "/v1/tenants/acme", Some(&world.admin), Some(&change)).await.status,
        200
    );
    assert_eq!(post(&acme, "/v1/volumes/acme.bb/resize", json!({"size_bytes": 9_u64 << 30})).await, 200);
    assert_eq!(post(&acme, "/v1/volumes", volume("acme.e", 1)).await, 409, "three are three");
}

#[tokio::test]
async fn a_tenant_has_its_share_of_each_pool() {
    let world = World::with_tenants().await;
    let shares = |bytes: u64| json!({"shares": [{"pool": "p", "capacity_bytes": bytes}]});
    let set = async |body: Value| {
        world.ask(Method::PATCH, "/v1/tenants/acme", Some(&world.admin), Some(&body)).await
    };
    assert_eq!(set(json!({"shares": [{"pool": "gone", "capacity_bytes": 1}]})).await.status, 404);
    let answer = set(shares(3 << 30)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let used = answer.json()["shares"][0]["used_bytes"].as_u64().unwrap();
    let left = (3 << 30) - used;
    let acme = world.token("tenant-user", "acme").await;
    let post = async |path: &str, body: Value| world.ask(Method::POST, path, Some(&acme), Some(&body)).await;
    let volume = |name: &str, bytes: u64| json!({"name": name, "pool": "p", "size_bytes": bytes});
    let refused = post("/v1/volumes", volume("acme.b", left + (1 << 20))).await;
    assert!(refused.status == 409 && refused.text.contains("in pool 'p'"), "{}", refused.text);
    assert_eq!(post("/v1/volumes", volume("acme.b", left)).await.status, 201);
    assert_eq!(post("/v1/volumes/acme.b/clone", json!({"name": "acme.c"})).await.status, 409);
    assert_eq!(post("/v1/volumes/acme.b/resize", json!({"size_bytes": left + (1 << 20)})).await.status, 409);
    // Another pool is not concerned, and what comes from there counts.
    world.make("/v1/pools", json!({"name": "q", "devices": ["/dev/q"]})).await;
    let pools = json!({"pools": ["p", "q"]});
    assert_eq!(set(pools).await.status, 200);
    let other = json!({"name": "acme.q", "pool": "q", "size_bytes": 1 << 30});
    assert_eq!(post("/v1/volumes", other).await.status, 201);
    let to_p = json!({"to_pool": "p"});
    let path = "/v1/volumes/acme.q/migration";
    let refused = world.ask(Method::POST, path, Some(&world.admin), Some(&to_p)).await;
    assert!(refused.status == 409 && refused.text.contains("in pool 'p'"), "{}", refused.text);
    assert_eq!(set(json!({"shares": []})).await.json()["shares"], json!([]));
    assert_eq!(post("/v1/volumes/acme.b/resize", json!({"size_bytes": left + (1 << 20)})).await.status, 200);
}

/// Tenants of a document are made by who may change tenants, before the rest of it; nothing is made where anything is wrong.
#[tokio::test]
async fn documents_state_tenants() {
    let world = World::with_tenants().await;
    let operator = world.token("operator", "").await;
    let names = async || {
        let tenants = world.get("/v1/tenants", &world.admin).await.json();
        let all = tenants.as_array().expect("a list").clone();
        all.iter().map(|one| one["name"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let ask = async |path: &str, token: &Secret, body: &Value| {
        world.ask(Method::POST, path, Some(token), Some(body)).await
    };
    let before = names().await;
    let pool = world.get("/v1/pools", &world.admin).await.json()[0]["name"].clone();
    let stated = json!({"tenants": [{"name": "initech", "pools": [pool], "volumes": 3}]});
    assert_eq!(ask("/v1/state", &operator, &stated).await.status, 403);
    assert_eq!(ask("/v1/state/plan", &operator, &stated).await.status, 403);
    let wrong = json!({"tenants": [{"name": "initech", "pools": ["gone"]}]});
    assert_eq!(ask("/v1/state", &world.admin, &wrong).await.status, 409);
    assert_eq!(names().await, before);
    let plan = ask("/v1/state/plan", &world.admin, &stated).await.json();
    assert_eq!(plan["changes"][0]["place"]["kind"], "tenant", "{plan}");
    assert_eq!(ask("/v1/state", &world.admin, &stated).await.status, 202);
    assert_eq!(names().await.len(), before.len() + 1);
    let plan = ask("/v1/state/plan", &world.admin, &stated).await.json();
    assert_eq!(plan["changes"].as_array().map(Vec::len), Some(0), "twice changes nothing: {plan}");
    let shown = world.get("/v1/state", &world.admin).await.json();
    assert_eq!(shown["tenants"].as_array().map(Vec::len), Some(before.len() + 1));
}

#[tokio::test]
async fn nobody_gives_more_than_he_has() {
    let world = World::with_tenants().await;
    let tokens = async |token: &Secret, body: Value| {
        world.ask(Method::POST, "/v1/tokens", Some(token), Some(&body)).await.status
    };
    let (acme, user) = (world.token("tenant-admin", "acme").await, world.token("tenant-user", "acme").await);
    let operator = world.token("operator", "").await;
    assert_eq!(tokens(&acme, json!({"role": "tenant-user"})).await, 201);
    assert_eq!(tokens(&acme, json!({"role": "tenant-admin", "tenant": "acme"})).await, 201);
    assert_eq!(tokens(&user, json!({})).await, 201);
    assert_eq!(tokens(&operator, json!({"life_s": 60})).await, 201);
    for (token, body) in [
        (&acme, json!({"role": "admin"})),
        (&acme, json!({"role": "auditor"})),
        (&acme, json!({"role": "tenant-user", "tenant": "globex"})),
        (&acme, json!({"tenant": "globex"})),
        (&user, json!({"role": "tenant-admin"})),
        (&operator, json!({"role": "admin"})),
        (&operator, json!({"role": "auditor"})),
        (&world.admin, json!({"role": "tenant-user"})),
    ] {
        assert_eq!(tokens(token, body.clone()).await, 403, "{body}");
    }
    let users = async |token: &Secret, body: Value| {
        world.ask(Method::POST, "/v1/users", Some(token), Some(&body)).await.status
    };
    let named = |name: &str, role: &str| json!({"name": name, "role": role, "password": "correct-horse"});
    let in_acme =
        json!({"name": "acme.bob", "role": "tenant-user", "tenant": "acme", "password": "correct-horse"});
    assert_eq!(users(&acme, named("acme.root", "admin")).await, 409, "a name of the tenant");
    assert_eq!(users(&acme, named("root", "admin")).await, 403);
    assert_eq!(users(&user, in_acme.clone()).await, 403);
    assert_eq!(users(&acme, in_acme).await, 201);
    let password = json!({"password": "another-horse"});
    let set = async |token: &Secret, name: &str| {
        let path = format!("/v1/users/{name}/password");
        world.ask(Method::PUT, &path, Some(token), Some(&password)).await.status
    };
    assert_eq!(set(&acme, "acme.bob").await, 204);
    assert_eq!(set(&acme, "admin").await, 403, "the maker of its token, whose password it does not know");
    assert_eq!(set(&world.token("tenant-admin", "globex").await, "acme.bob").await, 404);
}

#[tokio::test]
async fn logging_in_gives_a_token_and_guessing_locks_the_name_for_a_while() {
    let world = World::new();
    world.make("/v1/users", json!({"name": "ann", "role": "operator", "password": "correct-horse"})).await;
    let login = async |password: &str| {
        let body = json!({"user": "ann", "password": password});
        world.ask(Method::POST, "/v1/login", None, Some(&body)).await
    };
    let token = Secret::new(login("correct-horse").await.json()["text"].as_str().unwrap());
    let session = world.get("/v1/session", &token).await.json();
    assert_eq!((&session["user"], &session["role"]), (&json!("ann"), &json!("operator")));
    for _ in 0..5 {
        assert_eq!(login("wrong-horse").await.status, 401);
    }
    let locked = login("correct-horse").await;
    assert_eq!((locked.status, &locked.head[header::RETRY_AFTER]), (429, &"30".parse().unwrap()));
    assert_eq!(login("correct-horse").await.status, 429);
    assert_eq!(world.get("/v1/pools", &token).await.status, 200, "who is in stays in");
    assert_eq!(world.ask(Method::DELETE, "/v1/session", Some(&token), None).await.status, 204);
    assert_eq!(world.get("/v1/pools", &token).await.status, 401);
    let names = ["log_in", "create_user", "log_out"];
    let entries = world.get("/v1/audit", &world.admin).await.json();
    let of_login: Vec<_> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["operation"] == "log_in")
        .collect();
    assert!(names.iter().all(|name| entries.to_string().contains(name)));
    let statuses: Vec<_> = of_login.iter().map(|entry| entry["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 401, 401, 401, 401, 401, 429], "what comes while it is locked is told once");
}
