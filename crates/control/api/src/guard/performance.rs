//! What a tenant gets of the node's performance is said by who runs the node: a tenant that promised itself something would take it
//! from others, and one that took its bounds away would be bounded by nothing.

use axum::http::StatusCode;
use quarry_api_types::ProblemCode;
use quarry_auth::Principal;
use serde_json::Value;

use crate::problem::ApiError;

/// The member of a request, or of what a policy says in it, that asks for quality of service.
const MEMBER: &str = "qos";
/// Where a policy's settings are.
const SETTINGS: [&str; 2] = ["settings", "overrides"];

/// Fails when somebody of a tenant asks for quality of service.
pub(super) fn check(principal: &Principal, body: Option<&Value>) -> Result<(), ApiError> {
    let (Some(tenant), Some(body)) = (&principal.tenant, body) else { return Ok(()) };
    let is_asked = |value: &Value| value.get(MEMBER).is_some_and(|qos| !qos.is_null());
    let in_settings = SETTINGS.iter().filter_map(|member| body.get(member)).any(is_asked);
    // A document states things in lists.
    let in_lists = body.as_object().into_iter().flat_map(|members| members.values());
    let in_lists = in_lists
        .filter_map(Value::as_array)
        .flatten()
        .any(|one| is_asked(one) || SETTINGS.iter().filter_map(|member| one.get(member)).any(is_asked));
    match is_asked(body) || in_settings || in_lists {
        false => Ok(()),
        true => Err(ApiError::new(
            ProblemCode::Forbidden,
            StatusCode::FORBIDDEN,
            format!("tenant '{tenant}' does not say what its volumes get of the node's performance"),
            "Ask whoever runs the node for it; send the request without 'qos'.",
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
