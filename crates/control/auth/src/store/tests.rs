//! Users, tokens and tenants over their whole lives, on a real file.

use std::os::unix::fs::PermissionsExt;

use quarry_api_types::{ChangeTenant, CreateTenant, CreateUser, Login, PoolShare};

use super::*;
use crate::Unproven;

const NOW: u64 = 1_795_167_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(NOW + seconds * 1000)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn user(text: &str, role: Role, tenant: Option<&str>) -> CreateUser {
    let password = Secret::new("horse-battery");
    CreateUser { name: name(text), role, tenant: tenant.map(name), password }
}

fn login(text: &str, password: &str) -> Login {
    Login { user: name(text), password: Secret::new(password) }
}

fn tenant(text: &str) -> CreateTenant {
    CreateTenant {
        name: name(text),
        pools: vec![name("fast")],
        policies: vec![name("gold")],
        shares: vec![],
        capacity_bytes: Some(1 << 30),
        volumes: None,
        qos: None,
    }
}

#[test]
fn the_first_token_opens_everything_once_and_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = AccessStore::open(directory.path()).unwrap().store;
    let text = store.first_token(at(0)).unwrap().unwrap();
    assert_eq!(store.first_token(at(1)).unwrap(), None);
    assert!(matches!(AccessStore::open(directory.path()), Err(AccessError::InUse { .. })));
    drop(store);
    let path = directory.path().join(FILE_NAME);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = text.reveal().rsplit('_').next().unwrap();
    let kept = std::fs::read(&path).unwrap();
    assert!(
        !kept.windows(secret.len()).any(|part| part == secret.as_bytes()),
        "the token itself is not kept"
    );
    let store = AccessStore::open(directory.path()).unwrap().store;
    let admin = store.authenticate(text.reveal(), at(2)).unwrap();
    assert_eq!((admin.user.as_str(), admin.role, admin.expires), ("admin", Role::Admin, None));
    assert!(matches!(store.log_in(&login("admin", ""), at(0), at(9)), Err(AccessError::WrongPassword)));
    store.revoke_token(&admin.token).unwrap();
    assert_eq!(store.authenticate(text.reveal(), at(2)), Err(Unproven::Unknown));
    assert_eq!(store.first_token(at(3)).unwrap(), None, "a user is there; revoked is revoked");
    let again = store.new_admin_token(at(3)).unwrap();
    assert!(store.authenticate(again.reveal(), at(4)).is_ok());
}

#[test]
fn a_login_lives_for_its_time_and_ends_with_the_password_or_the_user() {
    let store = AccessStore::in_memory().unwrap();
    store.create_user(user("ann", Role::Operator, None), at(0)).unwrap();
    assert!(matches!(
        store.create_user(user("ann", Role::Admin, None), at(0)),
        Err(AccessError::Taken { .. })
    ));
    assert!(matches!(store.log_in(&login("ann", "horse"), at(0), at(9)), Err(AccessError::WrongPassword)));
    assert!(matches!(store.log_in(&login("bob", "horse"), at(0), at(9)), Err(AccessError::WrongPassword)));
    let first = store.log_in(&login("ann", "horse-battery"), at(0), at(60)).unwrap();
    let kept = store.create_token(&name("ann"), (Role::Auditor, None), "scrapes", at(0), None).unwrap();
    let who = store.authenticate(first.text.reveal(), at(59)).unwrap();
    assert_eq!((who.role, who.expires), (Role::Operator, Some(at(60))));
    assert_eq!(store.authenticate(first.text.reveal(), at(60)), Err(Unproven::Expired));
    let wrong = format!("{}0", &first.text.reveal()[..first.text.reveal().len() - 1]);
    let wrong = if wrong == first.text.reveal() { format!("{}1", &wrong[..wrong.len() - 1]) } else { wrong };
    assert_eq!(store.authenticate(&wrong, at(1)), Err(Unproven::Unknown));
    store.set_password(&name("ann"), &Secret::new("battery-horse")).unwrap();
    assert_eq!(store.authenticate(first.text.reveal(), at(1)), Err(Unproven::Unknown));
    assert_eq!(store.authenticate(kept.text.reveal(), at(1)).unwrap().role, Role::Auditor);
    assert!(store.log_in(&login("ann", "horse-battery"), at(1), at(9)).is_err());
    store.log_in(&login("ann", "battery-horse"), at(1), at(9)).unwrap();
    store.delete_user(&name("ann")).unwrap();
    assert_eq!(store.authenticate(kept.text.reveal(), at(2)), Err(Unproven::Unknown));
    assert!(store.tokens().is_empty() && store.users().is_empty());
}

#[test]
fn tokens_that_have_ended_are_forgotten_when_another_one_is_made() {
    let store = AccessStore::in_memory().unwrap();
    store.create_user(user("ann", Role::Admin, None), at(0)).unwrap();
    let short = store.create_token(&name("ann"), (Role::Admin, None), "", at(0), Some(at(5))).unwrap();
    store.create_token(&name("ann"), (Role::Admin, None), "", at(4), None).unwrap();
    assert_eq!(store.tokens().len(), 2);
    store.create_token(&name("ann"), (Role::Admin, None), "", at(5), None).unwrap();
    assert!(store.token(&short.token.id).is_err());
}

#[test]
fn a_tenant_has_bounds_and_users_and_ends_without_them() {
    let store = AccessStore::in_memory().unwrap();
    let of_tenant = || user("acme.ann", Role::TenantAdmin, Some("acme"));
    assert!(matches!(
        store.create_user(of_tenant(), at(0)),
        Err(AccessError::NotFound { sort: "tenant", .. })
    ));
    store.create_user(user("globex.bob", Role::Operator, None), at(0)).unwrap();
    assert!(matches!(store.create_tenant(tenant("globex"), at(0)), Err(AccessError::HasUsers { .. })));
    store.create_tenant(tenant("acme"), at(0)).unwrap();
    assert!(matches!(store.create_tenant(tenant("acme"), at(0)), Err(AccessError::Taken { .. })));
    store.create_user(of_tenant(), at(0)).unwrap();
    let spy = user("acme.root", Role::Operator, None);
    assert!(matches!(store.create_user(spy, at(0)), Err(AccessError::NameOfTenant { .. })));
    let admin = store.log_in(&login("acme.ann", "horse-battery"), at(0), at(9)).unwrap();
    assert_eq!(store.authenticate(admin.text.reveal(), at(1)).unwrap().tenant, Some(name("acme")));
    let change = ChangeTenant { capacity_bytes: Some(0), volumes: Some(3), ..ChangeTenant::default() };
    let changed = store.change_tenant(&name("acme"), change).unwrap();
    assert_eq!((changed.capacity_bytes, changed.volumes, changed.pools), (None, Some(3), vec![name("fast")]));
    let shares = vec![PoolShare { pool: name("fast"), capacity_bytes: 9 }];
    let change = ChangeTenant { shares: Some(shares.clone()), ..ChangeTenant::default() };
    assert_eq!(store.change_tenant(&name("acme"), change).unwrap().shares, shares);
    let change = ChangeTenant { volumes: Some(4), ..ChangeTenant::default() };
    assert_eq!(store.change_tenant(&name("acme"), change).unwrap().shares, shares, "what is not named stays");
    let unbound = CreateTenant {
        capacity_bytes: Some(0),
        volumes: Some(0),
        qos: Some(Default::default()),
        ..tenant("free")
    };
    let unbound = store.create_tenant(unbound, at(0)).unwrap();
    assert_eq!((unbound.capacity_bytes, unbound.volumes, unbound.qos()), (None, None, None));
    store.delete_tenant(&name("free")).unwrap();
    assert!(matches!(store.delete_tenant(&name("acme")), Err(AccessError::HasUsers { .. })));
    store.delete_user(&name("acme.ann")).unwrap();
    store.create_user(user("root", Role::Admin, None), at(0)).unwrap();
    let confined = (Role::TenantUser, Some(&name("acme")));
    store.create_token(&name("root"), confined, "", at(0), None).unwrap();
    store.delete_tenant(&name("acme")).unwrap();
    assert!(store.tokens().is_empty(), "what was confined to it opens nothing any more");
    assert!(store.tenants().is_empty());
}

#[test]
fn a_damaged_store_is_moved_aside_and_a_newer_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let store = AccessStore::open(directory.path()).unwrap().store;
    let text = store.first_token(at(0)).unwrap().unwrap();
    let transaction = store.database.begin_write().unwrap();
    transaction.open_table(USERS).unwrap().insert("admin", &b"{\"version\":1}"[..]).unwrap();
    transaction.commit().unwrap();
    drop(store);
    let Opened { store, damaged } = AccessStore::open(directory.path()).unwrap();
    assert_eq!(damaged, Some(directory.path().join(DAMAGED_NAME)));
    assert_eq!(store.authenticate(text.reveal(), at(1)), Err(Unproven::Unknown), "it fails closed");
    assert!(store.first_token(at(1)).unwrap().is_some());
    let transaction = store.database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(META_VERSION, 2).unwrap();
    transaction.commit().unwrap();
    drop(store);
    assert!(matches!(AccessStore::open(directory.path()), Err(AccessError::Newer { found: 2, .. })));
    std::fs::write(&path, b"no database at all").unwrap();
    assert!(AccessStore::open(directory.path()).unwrap().damaged.is_some());
}
