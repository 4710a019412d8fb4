//! From paths to handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use quarry_api_types::ProblemCode;
use quarry_node_api::Node;

use crate::conventions::{Intended, Lists};
use crate::guard::{self, Gate, Guard};
use crate::limits::REQUEST_BYTES_MAX;
use crate::problem::{ApiError, method_not_allowed};
use crate::watches::Watches;
use crate::{document, routes};

/// The whole API over `node`, with `guard` in front of it.
pub fn router(node: Arc<dyn Node>, guard: Arc<Guard>) -> Router {
    let (routes, document) = document::documented_routes().split_for_parts();
    let lists = Arc::new(Lists::of(&document));
    let intended = Arc::new(Intended::of(&document));
    let document = Arc::new(document::to_text(&document));
    let serve_document = move || {
        let document = Arc::clone(&document);
        async move { ([(header::CONTENT_TYPE, "application/json")], document.as_str().to_owned()) }
    };
    let routes = routes
        .route("/v1/openapi.json", get(serve_document))
        .route("/metrics", get(routes::node::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::clone(&node));
    let gate = Gate {
        guard,
        node,
        routes: routes.clone(),
        lists,
        intended,
        repeats: Arc::default(),
        objects: Arc::default(),
        watches: Watches::default(),
    };
    routes.layer(axum::middleware::from_fn_with_state(gate, guard::pass))
}

async fn unknown_route(uri: Uri) -> impl IntoResponse {
    ApiError::new(
        ProblemCode::UnknownRoute,
        StatusCode::NOT_FOUND,
        format!("there is no '{}' in this API", uri.path()),
        "See /v1/openapi.json for what there is; client and node may be of different versions.",
    )
}

async fn not_allowed(method: Method, uri: Uri) -> impl IntoResponse {
    method_not_allowed(&method, &uri)
}
