//! The policies against Cedar, and against what they are meant to say.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};

use super::*;

const SCHEMA: &str = include_str!("../roles.cedarschema");
const POLICIES: &str = include_str!("../roles.cedar");

#[test]
fn the_policies_are_valid_by_their_schema() {
    let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    assert_eq!(warnings.count(), 0);
    let found = Validator::new(schema).validate(&POLICIES.parse().unwrap(), ValidationMode::Strict);
    assert!(found.validation_passed_without_warnings(), "{found}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it compares with a file of the repository")]
fn what_is_permitted_is_what_cedar_answers() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let policies: PolicySet = POLICIES.parse().unwrap();
    let permitted = questions().filter(|&question| decide(&schema, &policies, question));
    let answers: String = permitted
        .map(|(role, permission, relation)| format!("{role} {} {}\n", permission.as_str(), relation.as_str()))
        .collect();
    if std::env::var_os("UPDATE_ROLES").is_some_and(|value| value == "1") {
        std::fs::write("src/roles.permitted", &answers).unwrap();
    }
    assert!(
        answers == PERMITTED,
        "roles.permitted is not what Cedar answers. When the change is meant, run twice: UPDATE_ROLES=1 cargo test -p quarry-auth"
    );
    assert_eq!(Policies::new().permitted.len(), answers.lines().count(), "every line is understood");
}

fn questions() -> impl Iterator<Item = Question> {
    Role::ALL.iter().flat_map(|&role| {
        let of_role =
            move |&permission| Relation::ALL.into_iter().map(move |relation| (role, permission, relation));
        Permission::ALL.iter().flat_map(of_role)
    })
}

fn decide(schema: &Schema, policies: &PolicySet, (role, permission, relation): Question) -> bool {
    let resource = match relation {
        Relation::Node => uid("Node", "node"),
        Relation::OwnTenant => uid("Tenant", "own"),
        Relation::OtherTenant => uid("Tenant", "other"),
    };
    let own = RestrictedExpression::new_entity_uid(uid("Tenant", "own"));
    let attributes = match role.is_of_tenant() {
        true => HashMap::from([("tenant".to_owned(), own)]),
        false => HashMap::new(),
    };
    let (role, user) = (uid("Role", role.as_str()), uid("User", "asker"));
    let asker = Entity::new(user.clone(), attributes, HashSet::from([role.clone()])).unwrap();
    let role = Entity::new_no_attrs(role, HashSet::new());
    let actions = schema.action_entities().unwrap();
    let entities =
        Entities::from_entities([asker, role].into_iter().chain(actions.iter().cloned()), None).unwrap();
    let action = uid("Action", permission.as_str());
    let request = Request::new(user, action, resource, Context::empty(), Some(schema)).unwrap();
    Authorizer::new().is_authorized(&request, policies, &entities).decision() == Decision::Allow
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.parse().unwrap(), EntityId::new(id))
}

fn permitted(role: Role, relation: Relation) -> Vec<&'static str> {
    let policies = Policies::new();
    let may = |permission: &&Permission| policies.permitted.contains(&(role, **permission, relation));
    Permission::ALL.iter().filter(may).map(|permission| permission.as_str()).collect()
}

#[test]
fn what_each_role_may_do_is_written_here_again() {
    let all: Vec<_> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
    let only = |wanted: &dyn Fn(&str) -> bool| -> Vec<_> {
        all.iter().copied().filter(|text| wanted(text)).collect()
    };
    let of_access =
        ["read-users", "change-users", "read-tokens", "change-tokens", "change-tenants", "read-audit"];
    let used = ["volumes", "snapshots", "groups", "policies", "exports"]
        .map(|sort| [format!("read-{sort}"), format!("change-{sort}")]);
    let is_used = |text: &str| {
        used.as_flattened().iter().any(|known| known == text)
            || ["read-hosts", "read-tenants", "use-session"].contains(&text)
    };
    let is_managed = |text: &str| is_used(text) || (text.ends_with("-users") || text.ends_with("-tokens"));
    for relation in Relation::ALL {
        assert_eq!(permitted(Role::Admin, relation), all);
        assert_eq!(permitted(Role::Operator, relation), only(&|text| !of_access.contains(&text)));
        let is_look = |text: &str| text.starts_with("read-") || text == "use-session";
        assert_eq!(permitted(Role::Auditor, relation), only(&is_look));
    }
    assert_eq!(permitted(Role::TenantAdmin, Relation::OwnTenant), only(&is_managed));
    assert_eq!(permitted(Role::TenantUser, Relation::OwnTenant), only(&is_used));
    for relation in [Relation::Node, Relation::OtherTenant] {
        assert_eq!(permitted(Role::TenantAdmin, relation), ["use-session"]);
        assert_eq!(permitted(Role::TenantUser, relation), ["use-session"]);
    }
}
