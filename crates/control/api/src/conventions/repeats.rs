//! Changes that are sent again, because their answer was lost: the header `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header). The answer of the first is given again, and nothing is done twice.
//!
//! What has failed inside the node, or could not be done then, is forgotten: it is meant to be tried again. All of it is forgotten
//! when the node ends, after a day, and when there is too much of it, the oldest first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use quarry_api_types::{Name, ProblemCode};
use tokio::time::Instant;

use crate::limits::{IDEMPOTENCY_KEY_BYTES_MAX, REPEATS_BYTES_MAX, REPEATS_MAX};
use crate::problem::ApiError;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Whose key it is, and the key.
type Key = (Name, String);

/// Answers to changes that had a key.
#[derive(Default)]
pub(crate) struct Repeats(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    answers: HashMap<Key, Entry>,
    /// The oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

struct Entry {
    fingerprint: blake3::Hash,
    began: Instant,
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    head: HeaderMap,
    body: Bytes,
}

/// What is known of a change with a key.
pub(crate) enum Known {
    /// It had none.
    Nothing,
    /// It is the first; what came of it is to be told.
    First(Begun),
    /// This came of it.
    Answer(Box<Response>),
}

/// A change whose answer will be remembered, or forgotten when this is dropped.
pub(crate) struct Begun {
    repeats: Arc<Repeats>,
    key: Option<Key>,
}

impl Repeats {
    /// Looks whether a change was sent before.
    pub(crate) fn look(
        self: &Arc<Self>,
        user: &Name,
        (method, uri, head): (&Method, &Uri, &HeaderMap),
        body: &[u8],
    ) -> Result<Known, ApiError> {
        let Some(key) = head.get(KEY) else { return Ok(Known::Nothing) };
        let key = key.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
        let Some(key) = key else {
            let detail = format!("the header {KEY} is no text of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
            let next_step = "Send a new UUID for each change, and the same one when it is sent again.";
            return Err(ApiError::new(ProblemCode::Invalid, StatusCode::BAD_REQUEST, detail, next_step));
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(method.as_str().as_bytes()).update(b" ").update(uri.to_string().as_bytes());
        hasher.update(b"\n").update(body);
        let fingerprint = hasher.finalize();
        let key: Key = (user.clone(), key.to_owned());
        let mut remembered = self.0.lock().expect("nobody panics with this lock");
        remembered.forget_old();
        match remembered.answers.get(&key) {
            None => {
                remembered.begin(key.clone(), fingerprint);
                Ok(Known::First(Begun { repeats: Arc::clone(self), key: Some(key) }))
            }
            Some(entry) if entry.fingerprint != fingerprint => Err(ApiError::new(
                ProblemCode::Invalid,
                StatusCode::UNPROCESSABLE_ENTITY,
                "the idempotency key was used for another change",
                "Send a new key with each change.",
            )),
            Some(Entry { answer: None, .. }) => Err(ApiError::new(
                ProblemCode::Conflict,
                StatusCode::CONFLICT,
                "the change with this idempotency key is under way",
                "Send it again in a moment.",
            )
            .with_retry_after(1)),
            Some(Entry { answer: Some(answer), .. }) => Ok(Known::Answer(Box::new(answer.again()))),
        }
    }
}

impl Begun {
    /// Remembers what came of the change, if sending it again should give the same.
    pub(crate) fn end(mut self, status: StatusCode, head: &HeaderMap, body: &Bytes) {
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return;
        }
        let Some(key) = self.key.take() else { return };
        let kept = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
        let head =
            kept.into_iter().filter_map(|name| Some((name.clone(), head.get(&name)?.clone()))).collect();
        let mut remembered = self.repeats.0.lock().expect("nobody panics with this lock");
        remembered.end(&key, Answer { status, head, body: body.clone() });
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.repeats.0.lock().expect("nobody panics with this lock").forget(&key);
        }
    }
}

impl Answer {
    fn again(&self) -> Response {
        let mut response = Response::new(self.body.clone().into());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.head.clone();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

impl Remembered {
    fn begin(&mut self, key: Key, fingerprint: blake3::Hash) {
        self.answers.insert(key.clone(), Entry { fingerprint, began: Instant::now(), answer: None });
        self.order.push_back(key);
    }

    fn end(&mut self, key: &Key, answer: Answer) {
        let Some(entry) = self.answers.get_mut(key) else { return };
        self.bytes += answer.body.len();
        entry.answer = Some(answer);
        while self.answers.len() > REPEATS_MAX || self.bytes > REPEATS_BYTES_MAX {
            let Some(oldest) = self.order.front().cloned() else { return };
            self.forget(&oldest);
        }
    }

    fn forget_old(&mut self) {
        while let Some(oldest) = self.order.front().cloned()
            && self.answers.get(&oldest).is_none_or(|entry| entry.began.elapsed() > REMEMBERED_FOR)
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, key: &Key) {
        let entry = self.answers.remove(key);
        self.bytes -= entry.and_then(|entry| entry.answer).map_or(0, |answer| answer.body.len());
        self.order.retain(|other| other != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client(Arc<Repeats>);

    impl Client {
        fn send(&self, user: &str, key: &str, body: &str) -> Result<Known, ApiError> {
            let head = HeaderMap::from_iter([(KEY, key.parse().unwrap())]);
            let uri = "/v1/volumes".parse().unwrap();
            self.0.look(&user.parse().unwrap(), (&Method::POST, &uri, &head), body.as_bytes())
        }

        fn first(&self, user: &str, key: &str, body: &str) -> Begun {
            match self.send(user, key, body) {
                Ok(Known::First(begun)) => begun,
                _ => panic!("it was sent before"),
            }
        }
    }

    fn client() -> Client {
        Client(Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_again_to_who_had_it_for_a_day() {
        let client = client();
        let begun = client.first("ann", "k", "a");
        assert_eq!(client.send("ann", "k", "a").err().unwrap().status(), 409);
        let head = HeaderMap::from_iter([(header::LOCATION, "/v1/volumes/v".parse().unwrap())]);
        begun.end(StatusCode::CREATED, &head, &Bytes::from_static(b"{}"));
        let Ok(Known::Answer(again)) = client.send("ann", "k", "a") else { panic!("it is not known") };
        assert_eq!(
            (again.status(), &again.headers()[REPLAYED]),
            (StatusCode::CREATED, &"true".parse().unwrap())
        );
        assert_eq!(again.headers()[header::LOCATION], "/v1/volumes/v");
        assert_eq!(client.send("ann", "k", "b").err().unwrap().status(), 422);
        client.first("bob", "k", "a");
        tokio::time::advance(REMEMBERED_FOR + Duration::from_secs(1)).await;
        client.first("ann", "k", "a");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_tried_again_is_forgotten() {
        let client = client();
        drop(client.first("ann", "k", "a"));
        client.first("ann", "k", "a").end(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new(), &Bytes::new());
        client.first("ann", "k", "a").end(StatusCode::CONFLICT, &HeaderMap::new(), &Bytes::new());
        assert!(matches!(client.send("ann", "k", "a"), Ok(Known::Answer(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_bounds() {
        let client = client();
        for number in 0..=REPEATS_MAX {
            client.first("ann", &number.to_string(), "a").end(
                StatusCode::OK,
                &HeaderMap::new(),
                &Bytes::new(),
            );
        }
        assert_eq!(client.0.0.lock().unwrap().answers.len(), REPEATS_MAX);
        let large = Bytes::from(vec![0; REPEATS_BYTES_MAX]);
        client.first("ann", "large", "a").end(StatusCode::OK, &HeaderMap::new(), &large);
        client.first("ann", "more", "a").end(StatusCode::OK, &HeaderMap::new(), &Bytes::from_static(b"x"));
        let remembered = client.0.0.lock().unwrap();
        assert_eq!((remembered.answers.len(), remembered.order.len(), remembered.bytes), (1, 1, 1));
    }

    #[test]
    fn keys_have_a_length() {
        for key in [String::new(), "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)] {
            assert_eq!(client().send("ann", &key, "a").err().unwrap().status(), 400);
        }
    }
}
