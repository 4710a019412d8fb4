//! Settings of volumes that who runs the node says, and no tenant: what a volume gets of the node's performance, because a tenant that promised
//! itself something would take it from others; its protection and its tier, because each way of keeping volumes takes a reserve from the
//! pool, and more copies more of it than a tenant's bounds count.

use axum::http::StatusCode;
use quarry_api_types::ProblemCode;
use quarry_auth::Principal;
use serde_json::Value;

use crate::problem::ApiError;

/// The members of a request, or of what a policy says in it, and what they say of the tenant's volumes.
const MEMBERS: [(&str, &str); 3] = [
    ("qos", "what its volumes get of the node's performance"),
    ("protection", "how its volumes are protected"),
    ("tier", "in which tier its volumes lie"),
];
/// Where a policy's settings are.
const SETTINGS: [&str; 2] = ["settings", "overrides"];

/// Fails when somebody of a tenant says one of them.
pub(super) fn check(principal: &Principal, body: Option<&Value>) -> Result<(), ApiError> {
    let (Some(tenant), Some(body)) = (&principal.tenant, body) else { return Ok(()) };
    // A document states things in lists.
    let members = body.as_object().into_iter().flat_map(|members| members.values());
    let stated = members.filter_map(Value::as_array).flatten();
    let things = std::iter::once(body).chain(stated);
    let mut said =
        things.flat_map(|one| std::iter::once(one).chain(SETTINGS.iter().filter_map(|part| one.get(part))));
    let is_said = |one: &Value, member: &str| one.get(member).is_some_and(|value| !value.is_null());
    let found = said.find_map(|one| MEMBERS.iter().find(|(member, _)| is_said(one, member)));
    match found {
        None => Ok(()),
        Some((member, what)) => Err(ApiError::new(
            ProblemCode::Forbidden,
            StatusCode::FORBIDDEN,
            format!("tenant '{tenant}' does not say {what}"),
            &format!("Ask whoever runs the node for it; send the request without '{member}'."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use quarry_api_types::Role;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tenant_asks_for_nothing_wherever_it_says_so() {
        let principal = |tenant: Option<&str>| Principal {
            user: "u".parse().unwrap(),
            role: Role::TenantAdmin,
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            token: String::new(),
            expires: None,
        };
        let asked = [
            json!({"qos": {"iops_min": 5}}),
            json!({"qos": {}}),
            json!({"settings": {"qos": {"weight": 1000}}}),
            json!({"overrides": {"qos": {}}}),
            json!({"volumes": [{"name": "acme.v", "qos": {}}]}),
            json!({"policies": [{"settings": {"qos": {}}}]}),
            json!({"name": "acme.v", "protection": "copies:4"}),
            json!({"tier": "pool"}),
            json!({"volumes": [{"name": "acme.v", "overrides": {"protection": "ec:8+3"}}]}),
        ];
        for body in &asked {
            let error = check(&principal(Some("acme")), Some(body)).unwrap_err();
            assert_eq!(error.status(), StatusCode::FORBIDDEN, "{body}");
            assert!(check(&principal(None), Some(body)).is_ok());
        }
        for body in [json!({"qos": null, "name": "acme.v"}), json!({"settings": {"history_s": 5}})] {
            assert!(check(&principal(Some("acme")), Some(&body)).is_ok(), "{body}");
        }
        assert!(check(&principal(Some("acme")), None).is_ok());
    }
}
