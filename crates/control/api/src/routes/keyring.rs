//! `/v1/keyring`.

use axum::Json;
use axum::extract::State;
use quarry_api_types::{Keyring, UnlockKeyring};

use crate::call::{NodeState, complete};
use crate::extract::Body;
use crate::problem::{ApiError, Problems};

/// Show whether the node can open encrypted volumes.
#[utoipa::path(
    get,
    path = "/v1/keyring",
    tag = "keyring",
    responses((status = 200, description = "The keyring.", body = Keyring), Problems)
)]
pub(crate) async fn show_keyring(State(node): NodeState) -> Result<Json<Keyring>, ApiError> {
    complete(async move { node.show_keyring().await }).await.map(Json)
}

/// Open the keyring of a node that was started without its passphrase, and with it the encrypted volumes.
#[utoipa::path(
    post,
    path = "/v1/keyring/unlock",
    tag = "keyring",
    request_body = UnlockKeyring,
    responses((status = 200, description = "The keyring as it is now.", body = Keyring), Problems)
)]
pub(crate) async fn unlock_keyring(
    State(node): NodeState,
    Body(request): Body<UnlockKeyring>,
) -> Result<Json<Keyring>, ApiError> {
    request.check()?;
    complete(async move { node.unlock_keyring(request).await }).await.map(Json)
}
