//! The way of a request past the guard.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{RequestExt, Router};
use quarry_api_types::ProblemCode;
use quarry_auth::Principal;
use quarry_node_api::{ErrorKind, Node, NodeError};
use serde_json::Value;
use tokio::sync::MutexGuard;
use tower::ServiceExt;

use super::operations::{self, Operation};
use super::trail::{Asked, Outcome};
use super::{Guard, Peer, tenancy, tenant_settings};
use crate::conventions::{
    Entered, Intended, Known, Lists, Objects, Repeats, Selection, Tag, is_known, is_wanted,
};
use crate::limits::{BODY_TIMEOUT, REQUEST_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::problem::{ApiError, body_too_large, body_too_slow};
use crate::watches::Watches;

const REQUEST_ID: &str = "x-request-id";

/// What the middleware works with.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) guard: Arc<Guard>,
    pub(crate) node: Arc<dyn Node>,
    /// The handlers, without this in front of them.
    pub(crate) routes: Router,
    pub(crate) lists: Arc<Lists>,
    pub(crate) intended: Arc<Intended>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) watches: Watches,
}

/// Lets a request pass, or answers it.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let id = gate.guard.request_id(given_id(&request));
    let began = tokio::time::Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let operation = matched.and_then(|path| operations::find(request.method(), path.as_str()));
    let mut response = gate.answer(request, next, &id).await.unwrap_or_else(IntoResponse::into_response);
    let name = operation.map_or("unknown", |operation| operation.id);
    gate.guard.answered.count(name, response.status(), began.elapsed());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // Answers are about one asker at one moment, and some have secrets in them.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The id that the client has chosen, when it is a short word.
fn given_id(request: &Request) -> Option<String> {
    let is_word = |text: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_word).map(str::to_owned)
}

impl Gate {
    async fn answer(&self, mut request: Request, next: Next, id: &str) -> Result<Response, ApiError> {
        let peer = request.extensions().get::<Peer>().copied();
        let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let operation = matched.as_deref().and_then(|path| operations::find(request.method(), path));
        let name = operation.map_or_else(
            || format!("{} {}", request.method(), request.uri().path()),
            |operation| operation.id.to_owned(),
        );
        // What is refused is told with what it was about, as far as the path says it, whoever asks.
        let path = path_parts(&mut request).await;
        let (request_id, object) = (id.to_owned(), about(operation, &path, None).1);
        let mut asked = Asked { principal: None, peer, request: request_id, operation: name, object };
        if let Some(error) = in_clear(peer) {
            return self.refuse(&asked, error).await;
        }
        asked.principal = self.identify(request.headers(), operation, &asked).await?;
        request.extensions_mut().insert(Arc::clone(&self.guard));
        let Some(operation) = operation else {
            return match matched {
                // What is not in the table is not let, whether the router has it or not.
                Some(path) => Ok(operations::not_allowed(&request, &path)),
                None => Ok(next.run(request).await),
            };
        };
        let (mut request, bytes) = match operation.is_read() {
            true => (request, Bytes::new()),
            false => match read_body(request).await {
                Ok(read) => read,
                Err(error) => return self.refuse(&asked, error).await,
            },
        };
        let body: Option<Value> = serde_json::from_slice(&bytes).ok();
        if body.as_ref().is_some_and(|body| !body.is_object()) {
            return self.refuse(&asked, no_object()).await;
        }
        let names;
        (names, asked.object) = about(Some(operation), &path, body.as_ref());
        if let Some(principal) = &asked.principal {
            let allowed = self.guard.allow(&self.node, principal, operation, &names, body.as_ref()).await;
            let allowed = allowed.and_then(|()| tenant_settings::check(principal, body.as_ref()));
            if let Err(error) = allowed {
                return self.refuse(&asked, error).await;
            }
            request.extensions_mut().insert(principal.clone());
        }
        request.extensions_mut().insert(asked.clone());
        if operation.is_read() {
            return self.read(operation, asked.principal.as_ref(), request, next).await;
        }
        // Who logs in has not proved anything yet: the handler tells how it went.
        let (Some(principal), true) = (asked.principal.clone(), operation.permission.is_some()) else {
            return Ok(next.run(request).await);
        };
        if let Err(error) = self.guard.listen(&asked).await {
            self.guard.count_refusal();
            return Err(error);
        }
        let parts = (request.method(), request.uri(), request.headers());
        let known = match self.repeats.look(&principal.user, parts, &bytes) {
            Ok(known) => known,
            Err(error) => return self.refuse(&asked, error).await,
        };
        match known {
            Known::Nothing => self.change(operation, (asked, principal), (names, body), request, next).await,
            Known::Answer(answer) => Ok(*answer),
            Known::First(begun) => {
                let gate = self.clone();
                // What came of it is remembered above all when the client has hung up meanwhile.
                let remembered = tokio::spawn(async move {
                    let response =
                        gate.change(operation, (asked, principal), (names, body), request, next).await;
                    let (parts, body) = response.unwrap_or_else(IntoResponse::into_response).into_parts();
                    let body = whole(body).await?;
                    begun.end(parts.status, &parts.headers, &body);
                    Ok(Response::from_parts(parts, body.into()))
                });
                remembered.await.unwrap_or_else(|failure| Err(broken(&failure)))
            }
        }
    }

    /// Who asks; `None` only where anybody may.
    async fn identify(
        &self,
        headers: &HeaderMap,
        operation: Option<&Operation>,
        asked: &Asked,
    ) -> Result<Option<Principal>, ApiError> {
        let guard = &self.guard;
        let is_open = operation.is_some_and(|operation| {
            operation.permission.is_none() || (operation.id == "metrics" && guard.metrics_are_open)
        });
        let stranger = match guard.who(headers, asked.peer) {
            Ok(Some(principal)) => return Ok(Some(principal)),
            Ok(None) if is_open => return Ok(None),
            Ok(None) => guard.stranger("the request has no token", asked.peer),
            Err(stranger) => stranger,
        };
        guard.count_refusal();
        if stranger.is_told {
            guard.refused(asked, &stranger.error).await;
        }
        Err(stranger.error)
    }

    /// Counts and tells that somebody was not let; of a flood, that there is one.
    pub(crate) async fn refuse<T>(&self, asked: &Asked, error: ApiError) -> Result<T, ApiError> {
        let guard = &self.guard;
        guard.count_refusal();
        let is_told = match asked.principal {
            Some(_) => guard.listen(asked).await.is_ok(),
            None => guard.stranger(error.detail(), asked.peer).is_told,
        };
        if is_told {
            guard.refused(asked, &error).await;
            guard.spend(asked, error.status());
        }
        Err(error)
    }

    /// Runs what changes nothing.
    async fn read(
        &self,
        operation: &Operation,
        principal: Option<&Principal>,
        mut request: Request,
        next: Next,
    ) -> Result<Response, ApiError> {
        let (uri, known) = (request.uri().clone(), request.headers().get(header::IF_NONE_MATCH).cloned());
        let selection = self.lists.selection(operation.id, &uri)?;
        // What is said of an answer is the same as if it were sent (RFC 9110 section 9.3.2); the router does not send it.
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        if operation.id == "watch" {
            request.extensions_mut().insert(self.clone());
        }
        let response = next.run(request).await;
        let mut response = self.shown(operation, principal, (selection, &uri), response).await?;
        let tag = response.headers().get(header::ETAG).and_then(Tag::given);
        if known.zip(tag).is_some_and(|(known, tag)| is_known(&known, &tag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        Ok(response)
    }

    /// What an operation that changes nothing says of `path`, to somebody who may ask.
    pub(crate) async fn look(
        &self,
        operation: &Operation,
        principal: &Principal,
        path: &str,
    ) -> Result<Response, ApiError> {
        let mut request = Request::get(path).body(Body::empty()).map_err(|error| broken(&error))?;
        request.extensions_mut().insert(Arc::clone(&self.guard));
        request.extensions_mut().insert(principal.clone());
        let uri = request.uri().clone();
        let response = self.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        self.shown(operation, Some(principal), (None, &uri), response).await
    }

    /// Leaves to a tenant only what belongs to it, and of a list what is wanted of it; gives it a tag.
    async fn shown(
        &self,
        operation: &Operation,
        principal: Option<&Principal>,
        (selection, uri): (Option<Selection>, &Uri),
        response: Response,
    ) -> Result<Response, ApiError> {
        let (mut parts, body) = response.into_parts();
        let is_json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        if parts.status != StatusCode::OK || !is_json {
            return Ok(Response::from_parts(parts, body));
        }
        let mut body = whole(body).await?;
        let tenant = principal.and_then(|principal| principal.tenant.as_ref());
        let confined = tenant.filter(|_| operation.lists.is_some() || !operation.own_members.is_empty());
        let selection = selection.filter(|selection| confined.is_some() || !selection.is_all());
        if confined.is_some() || selection.is_some() {
            let mut shown: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
            if let Some(tenant) = confined {
                shown = self.guard.confine(operation, tenant, shown);
            }
            if let (Some(selection), Value::Array(items)) = (selection, &mut shown) {
                *items = selection.apply(std::mem::take(items), uri, &mut parts.headers);
            }
            body = shown.to_string().into();
        }
        let tag = Tag::of(&self.intended, operation.id, &body);
        parts.headers.insert(header::ETAG, tag.header());
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        // It may be kept, if it is asked each time whether it is still so.
        parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Ok(Response::from_parts(parts, body.into()))
    }

    /// The answer to a change, without what is not for its asker to see.
    async fn confined(
        &self,
        operation: &Operation,
        principal: &Principal,
        response: Response,
    ) -> Result<Response, ApiError> {
        let Some(tenant) = principal.tenant.as_ref().filter(|_| !operation.own_members.is_empty()) else {
            return Ok(response);
        };
        let (mut parts, body) = response.into_parts();
        let body = whole(body).await?;
        // A problem names no members.
        let Ok(said) = serde_json::from_slice(&body) else {
            return Ok(Response::from_parts(parts, body.into()));
        };
        let body = self.guard.confine(operation, tenant, said).to_string();
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        Ok(Response::from_parts(parts, body.into()))
    }

    /// Waits until a change of an object may begin, and looks whether the object is as the change wants it.
    async fn enter(
        &self,
        operation: &Operation,
        principal: &Principal,
        names: &tenancy::Named,
        (path, wanted): (&str, Option<&HeaderValue>),
    ) -> Result<Entered, ApiError> {
        let Some((show, path)) = operations::shown(operation, path) else {
            return match wanted {
                None => Ok(self.objects.enter(operation.path, false).await),
                Some(_) => Err(changed_since("there is nothing whose tag could be compared")),
            };
        };
        let entered = self.objects.enter(path, wanted.is_some()).await;
        let Some(wanted) = wanted else { return Ok(entered) };
        self.guard.allow(&self.node, principal, show, names, None).await?;
        let response = self.look(show, principal, path).await?;
        let tag = response.headers().get(header::ETAG).and_then(Tag::given);
        match tag {
            Some(tag) if is_wanted(wanted, &tag) => Ok(entered),
            Some(_) => Err(changed_since("it is not as it was read: its tag is another one")),
            None => Err(changed_since("it cannot be shown, so it has no tag")),
        }
    }

    /// Whether a change is for its asker to make, by what there is. What it answers with is to be held until the change has ended.
    async fn check_change(
        &self,
        operation: &Operation,
        principal: &Principal,
        names: &tenancy::Named,
        body: Option<&Value>,
    ) -> Result<Option<MutexGuard<'_, ()>>, ApiError> {
        let path = names.first().map_or("", |(_, name)| name);
        self.guard.check_belonging(&self.node, principal, operation, path, body).await?;
        match operation.growth {
            Some(growth) => self.guard.check_growth(&self.node, principal, growth, names, body).await,
            None => Ok(None),
        }
    }

    /// Runs a change to its end, even when nobody waits for it any more, with an entry before and one behind.
    async fn change(
        &self,
        operation: &'static Operation,
        (asked, principal): (Asked, Principal),
        (names, body): (tenancy::Named, Option<Value>),
        request: Request,
        next: Next,
    ) -> Result<Response, ApiError> {
        let gate = self.clone();
        let changed = tokio::spawn(async move {
            let guard = &gate.guard;
            let (path, wanted) =
                (request.uri().path().to_owned(), request.headers().get(header::IF_MATCH).cloned());
            let entered = gate.enter(operation, &principal, &names, (&path, wanted.as_ref())).await;
            let _entered = match entered {
                Ok(entered) => entered,
                Err(error) => return gate.refuse(&asked, error).await,
            };
            guard.begun(&asked).await?;
            let held = gate.check_change(operation, &principal, &names, body.as_ref()).await;
            let (response, _held) = match held {
                Ok(held) => (gate.confined(operation, &principal, next.run(request).await).await, held),
                Err(error) => (Err(error), None),
            };
            let status = response.as_ref().map_or_else(ApiError::status, Response::status);
            let outcome = response.as_ref().ok().and_then(|response| response.extensions().get::<Outcome>());
            let outcome = outcome.map(|Outcome(text)| text.clone());
            guard.ended(&asked, status, outcome).await;
            guard.spend(&asked, status);
            response
        });
        changed.await.unwrap_or_else(|failure| {
            let error = NodeError::new(ErrorKind::Internal, "the node failed in the middle of the request");
            Err(error.with_cause(failure.to_string()).into())
        })
    }
}

/// Why a request that everybody on its way can read is not listened to. On the machine itself nobody else is on its way.
fn in_clear(peer: Option<Peer>) -> Option<ApiError> {
    let peer = peer.filter(|peer| !peer.is_encrypted && !peer.address.ip().to_canonical().is_loopback())?;
    Some(ApiError::new(
        ProblemCode::Forbidden,
        StatusCode::FORBIDDEN,
        format!("a request from {} must be encrypted", peer.address.ip().to_canonical()),
        "Use https:// with the same port; a token that went over the network in clear should be revoked.",
    ))
}

/// The whole body, so that the guard and the handler see the same.
async fn read_body(request: Request) -> Result<(Request, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, REQUEST_BYTES_MAX));
    let bytes: Bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(body_too_large()),
        Err(_) => return Err(body_too_slow()),
    };
    Ok((Request::from_parts(parts, bytes.clone().into()), bytes))
}

/// The whole body of an answer that is in memory.
pub(crate) async fn whole(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, usize::MAX).await.map_err(|error| broken(&error))
}

pub(crate) fn broken(error: &dyn std::error::Error) -> ApiError {
    let message = "the node's answer cannot be sent";
    NodeError::new(ErrorKind::Internal, message).with_cause(error.to_string()).into()
}

fn changed_since(why: &str) -> ApiError {
    ApiError::new(
        ProblemCode::Changed,
        StatusCode::PRECONDITION_FAILED,
        format!("nothing was changed: {why}"),
        "Read it again, look at what is different, and send the change with its new tag.",
    )
}

/// A list would be taken for the members of a request in their order, and the guard looks for names by their members.
fn no_object() -> ApiError {
    let detail = "the body is JSON, but no object";
    let next_step = "Correct the body; /v1/openapi.json describes it.";
    ApiError::new(ProblemCode::Invalid, StatusCode::BAD_REQUEST, detail, next_step)
}

/// The parts of the path by their names. Those that are no UTF-8 are left out, and the handler refuses them.
async fn path_parts(request: &mut Request) -> BTreeMap<String, String> {
    let Ok(parts) = request.extract_parts::<RawPathParams>().await else { return BTreeMap::new() };
    parts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The names in a request, and what it is about in the words of the audit log.
fn about(
    operation: Option<&Operation>,
    path: &BTreeMap<String, String>,
    body: Option<&Value>,
) -> (tenancy::Named, String) {
    let names = operation.map(|operation| tenancy::names(operation, path, body)).unwrap_or_default();
    let object = names.iter().map(|(_, name)| name.as_str()).chain(inner(path)).collect::<Vec<_>>().join(" ");
    (names, object)
}

/// What a path names inside what else it names.
fn inner(path: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    path.iter()
        .filter(|(part, _)| matches!(part.as_str(), "snapshot" | "device" | "id"))
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_another_machine_must_speak_tls() {
        let peer =
            |address: &str, is_encrypted| Some(Peer { address: address.parse().unwrap(), is_encrypted });
        for (address, is_encrypted, is_let) in [
            ("127.0.0.1:1", false, true),
            ("127.8.0.1:1", false, true),
            ("[::1]:1", false, true),
            ("[::ffff:127.0.0.1]:1", false, true),
            ("10.0.0.1:1", false, false),
            ("[::ffff:10.0.0.1]:1", false, false),
            ("[fd00::1]:1", false, false),
            ("10.0.0.1:1", true, true),
        ] {
            assert_eq!(in_clear(peer(address, is_encrypted)).is_none(), is_let, "{address}");
        }
        let told = in_clear(peer("10.0.0.1:1", false)).unwrap();
        assert_eq!(told.status(), StatusCode::FORBIDDEN);
        assert!(told.detail().contains("10.0.0.1 must be encrypted"));
    }
}
