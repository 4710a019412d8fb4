//! The OpenAPI document.

use std::sync::Arc;

use quarry_api_types::{Problem, Watched};
use quarry_node_api::Node;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, Required, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::conventions::Lists;
use crate::routes::{
    audit, changes, clones, devices, events, exports, forecasts, groups, host_groups, hosts, jobs, keyring,
    members, migrations, node, observe, policies, pools, session, snapshots, state, tenants, tiers, tokens,
    users, volumes, watch,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quarry node API",
        version = "1",
        description = "Pools, thin volumes, their snapshots, their exports and the hosts that use them on one node. Errors are RFC 9457 problem documents; \
                       decide by `code`, show `detail` and `next_step`. Changes take two more headers, as HTTP has them: `If-Match`, the tag \
                       with which the object that the path names was read (412 if it was changed since), and `Idempotency-Key`, a new text \
                       of 1 to 255 bytes for each change, with which it can be sent again and is made once.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "http://127.0.0.1:7480", description = "A node on this machine")),
    components(schemas(Problem, Watched)),
    modifiers(&Tokens),
    security(("token" = [])),
)]
struct Document;

/// How a request proves who it comes from.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token: of `POST /v1/login` or `POST /v1/tokens`, or the one that the node made at its first start."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// Every route that the document describes.
pub(crate) fn documented_routes() -> OpenApiRouter<Arc<dyn Node>> {
    let mut routes = listed_routes();
    let document = routes.get_openapi_mut();
    Lists::of(document).document(document);
    conventions(document);
    crate::schemas::complete(document);
    crate::links::add(document);
    routes
}

/// Adds what all operations that change nothing take and answer.
fn conventions(document: &mut utoipa::openapi::OpenApi) {
    for path in document.paths.paths.values_mut() {
        for read in path.get.iter_mut() {
            let known = "Tags of answers that the client has: if one of them is still right, 304 says so.";
            describe(read, "If-None-Match", known);
            let unchanged =
                ResponseBuilder::new().description("The client has it: see `If-None-Match`.").build();
            read.responses.responses.insert("304".to_owned(), unchanged.into());
        }
    }
}

fn describe(operation: &mut Operation, header: &str, description: &str) {
    let parameter = ParameterBuilder::new()
        .name(header)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(parameter.into());
}

fn listed_routes() -> OpenApiRouter<Arc<dyn Node>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(devices::list_devices))
        .routes(routes!(devices::scan_devices))
        .routes(routes!(pools::list_pools, pools::create_pool))
        .routes(routes!(pools::show_pool, pools::change_pool, pools::delete_pool))
        .routes(routes!(pools::start_scrub, pools::stop_scrub))
        .routes(routes!(tiers::show_tiers, tiers::place_pool))
        .routes(routes!(forecasts::show_pool_history))
        .routes(routes!(forecasts::show_volume_history))
        .routes(routes!(forecasts::show_device_history))
        .routes(routes!(forecasts::show_pool_forecast))
        .routes(routes!(forecasts::show_volume_forecast))
        .routes(routes!(tiers::set_device_tier))
        .routes(routes!(tiers::show_placement))
        .routes(routes!(members::add_device))
        .routes(routes!(members::remove_device))
        .routes(routes!(members::drain_device, members::keep_device))
        .routes(routes!(members::replace_device))
        .routes(routes!(members::grow_device))
        .routes(routes!(members::return_device))
        .routes(routes!(volumes::list_volumes, volumes::create_volume))
        .routes(routes!(volumes::show_volume, volumes::change_volume, volumes::delete_volume))
        .routes(routes!(volumes::resize_volume))
        .routes(routes!(volumes::rename_volume))
        .routes(routes!(migrations::adopt_volume))
        .routes(routes!(migrations::release_volume))
        .routes(routes!(migrations::migrate_volume, migrations::cancel_migration))
        .routes(routes!(clones::clone_volume))
        .routes(routes!(clones::roll_back_volume))
        .routes(routes!(clones::promote_volume))
        .routes(routes!(volumes::rotate_volume_key))
        .routes(routes!(changes::list_changes))
        .routes(routes!(snapshots::list_snapshots, snapshots::create_snapshot))
        .routes(routes!(snapshots::show_snapshot, snapshots::change_snapshot, snapshots::delete_snapshot))
        .routes(routes!(snapshots::list_all_snapshots))
        .routes(routes!(snapshots::create_snapshot_set))
        .routes(routes!(groups::list_groups, groups::create_group))
        .routes(routes!(groups::show_group, groups::change_group, groups::delete_group))
        .routes(routes!(groups::list_group_snapshots, groups::create_group_snapshot))
        .routes(routes!(groups::delete_group_snapshot))
        .routes(routes!(groups::roll_back_group))
        .routes(routes!(policies::list_policies, policies::create_policy))
        .routes(routes!(policies::show_policy, policies::change_policy, policies::delete_policy))
        .routes(routes!(
            policies::show_volume_policy,
            policies::attach_volume_policy,
            policies::detach_volume_policy
        ))
        .routes(routes!(
            policies::show_group_policy,
            policies::attach_group_policy,
            policies::detach_group_policy
        ))
        .routes(routes!(exports::list_exports, exports::create_export))
        .routes(routes!(exports::show_exports, exports::delete_export))
        .routes(routes!(hosts::list_hosts, hosts::create_host))
        .routes(routes!(hosts::show_host, hosts::change_host, hosts::delete_host))
        .routes(routes!(host_groups::list_host_groups, host_groups::create_host_group))
        .routes(routes!(
            host_groups::show_host_group,
            host_groups::change_host_group,
            host_groups::delete_host_group
        ))
        .routes(routes!(state::show_state, state::apply_state))
        .routes(routes!(state::plan_state))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::show_job))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(keyring::show_keyring))
        .routes(routes!(keyring::unlock_keyring))
        .routes(routes!(events::list_events))
        .routes(routes!(watch::watch))
        .routes(routes!(observe::show_volume_stats))
        .routes(routes!(observe::show_stats))
        .routes(routes!(observe::list_slow_requests))
        .routes(routes!(observe::show_log))
        .routes(routes!(observe::show_configuration))
        .routes(routes!(node::status))
        .routes(routes!(node::health))
        .routes(routes!(session::log_in))
        .routes(routes!(session::show_session, session::log_out))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::show_user, users::delete_user))
        .routes(routes!(users::set_password))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(tenants::list_tenants, tenants::create_tenant))
        .routes(routes!(tenants::show_tenant, tenants::change_tenant, tenants::delete_tenant))
        .routes(routes!(audit::list_audit))
        .routes(routes!(audit::verify_audit))
}

pub(crate) fn to_text(document: &utoipa::openapi::OpenApi) -> String {
    let mut text = document.to_pretty_json().expect("a document made of texts and numbers is JSON");
    text.push('\n');
    text
}

/// The OpenAPI 3.1 document, as it is served and checked in.
pub fn openapi_json() -> String {
    to_text(&documented_routes().into_openapi())
}
