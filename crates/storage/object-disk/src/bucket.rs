//! Requests to a bucket, sent again while its server is away or busy.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::address::BucketAddress;
use crate::lease::ClaimError;
use crate::limits::{
    CLAIM_TIME_MAX, CONNECT_TIME_MAX, OUTAGE_TIME_MAX, REQUEST_TIME_MAX, REQUESTS_IN_FLIGHT_MAX, RETRY_PAUSE,
    RETRY_PAUSE_MAX,
};

/// What was asked of a bucket since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BucketStats {
    /// Requests that read, sent again ones included.
    pub gets: u64,
    /// Requests that wrote.
    pub puts: u64,
    /// Requests that deleted.
    pub deletes: u64,
    /// Of all these, those that failed: no answer, or an error that may pass.
    pub failed_attempts: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

#[derive(Default)]
struct Counters {
    gets: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    failed_attempts: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

/// What became of a request that changes something.
pub(crate) struct Outcome {
    pub result: io::Result<()>,
    /// Whether an attempt was sent and not answered well: it may still be carried out.
    pub in_doubt: bool,
}

/// How often a request is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// Until it is answered well, or [`OUTAGE_TIME_MAX`] is over.
    UntilAnswered,
    /// Once, for [`CLAIM_TIME_MAX`], and ahead of all others: a claim, without which those are not sent.
    Once,
}

/// A place in a bucket.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    name: String,
    prefix: Path,
    in_flight: Semaphore,
    counters: Counters,
}

impl Bucket {
    /// As an address says, with what the environment says about who asks (`AWS_ACCESS_KEY_ID` and the like).
    pub fn open(address: &BucketAddress) -> io::Result<Self> {
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let client =
            ClientOptions::new().with_connect_timeout(CONNECT_TIME_MAX).with_timeout(REQUEST_TIME_MAX);
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&address.bucket)
            .with_region(&address.region)
            .with_retry(retry)
            .with_client_options(client.with_allow_http(true));
        if let Some(endpoint) = &address.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(io::Error::other)?;
        Ok(Self::new(Arc::new(store), address))
    }

    pub(crate) fn new(store: Arc<dyn ObjectStore>, address: &BucketAddress) -> Self {
        Self {
            store,
            name: address.place(),
            prefix: Path::from(address.prefix.as_str()),
            in_flight: Semaphore::new(REQUESTS_IN_FLIGHT_MAX),
            counters: Counters::default(),
        }
    }

    pub fn stats(&self) -> BucketStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BucketStats {
            gets: count(&self.counters.gets),
            puts: count(&self.counters.puts),
            deletes: count(&self.counters.deletes),
            failed_attempts: count(&self.counters.failed_attempts),
            read_bytes: count(&self.counters.read_bytes),
            written_bytes: count(&self.counters.written_bytes),
        }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    /// Bytes of an object; `None` when there is no such object.
    pub async fn get(&self, name: &str, range: Range<u64>, sent: Sent) -> io::Result<Option<Bytes>> {
        let path = &self.path(name);
        let wanted = &range;
        let attempt = move || async move {
            self.counters.gets.fetch_add(1, Ordering::Relaxed);
            self.store.get_range(path, wanted.clone()).await
        };
        match self.persist(sent, attempt).await.0 {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => {
                self.counters.read_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(Some(bytes))
            }
            Ok(bytes) => {
                let what = format!(
                    "object {path} of {} is too short: {} bytes in {range:?}",
                    self.name,
                    bytes.len()
                );
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
            }
            Err(object_store::Error::NotFound { source, .. }) if !is_about_bucket(&*source) => Ok(None),
            Err(error) => Err(self.error("read", name, error)),
        }
    }

    /// Writes an object. `check` is asked before each attempt whether it may be sent.
    pub async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        sent: Sent,
        check: impl Fn() -> Result<(), ClaimError> + Sync,
    ) -> Outcome {
        let (path, payload, check) = (&self.path(name), &bytes, &check);
        let attempt = move || async move {
            check().map_err(|error| refused(path, error))?;
            self.counters.puts.fetch_add(1, Ordering::Relaxed);
            self.store.put(path, PutPayload::from_bytes(payload.clone())).await
        };
        let (result, in_doubt) = self.persist(sent, attempt).await;
        if result.is_ok() {
            self.counters.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Outcome { result: result.map(drop).map_err(|error| self.error("written", name, error)), in_doubt }
    }

    /// Deletes an object; one that is not there is no error.
    pub async fn delete(&self, name: &str, check: impl Fn() -> Result<(), ClaimError> + Sync) -> Outcome {
        let (path, check) = (&self.path(name), &check);
        let attempt = move || async move {
            check().map_err(|error| refused(path, error))?;
            self.counters.deletes.fetch_add(1, Ordering::Relaxed);
            match self.store.delete(path).await {
                Err(object_store::Error::NotFound { source, .. }) if !is_about_bucket(&*source) => Ok(()),
                other => other,
            }
        };
        let (result, in_doubt) = self.persist(Sent::UntilAnswered, attempt).await;
        Outcome { result: result.map_err(|error| self.error("deleted", name, error)), in_doubt }
    }

    /// Sends a request as often as `sent` says, as long as the error may pass. Says whether any attempt was not answered well.
    async fn persist<T, F: Future<Output = object_store::Result<T>> + Send>(
        &self,
        sent: Sent,
        mut attempt: impl FnMut() -> F + Send,
    ) -> (object_store::Result<T>, bool) {
        let (_permit, patience, time_max) = match sent {
            Sent::Once => (None, Duration::ZERO, CLAIM_TIME_MAX),
            Sent::UntilAnswered => (self.in_flight.acquire().await.ok(), OUTAGE_TIME_MAX, REQUEST_TIME_MAX),
        };
        let (began, mut pause, mut in_doubt) = (Instant::now(), RETRY_PAUSE, false);
        loop {
            let answer = timeout(time_max, attempt()).await;
            match answer.unwrap_or_else(|overdue| Err(no_answer(overdue.into()))) {
                Err(error) if may_pass(&error) => {
                    in_doubt |= may_be_carried_out(&error);
                    self.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
                    if began.elapsed() + pause > patience {
                        return (Err(error), in_doubt);
                    }
                    tracing::debug!(bucket = %self.name, %error, "a request to a bucket failed and is sent again");
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                result => return (result, in_doubt),
            }
        }
    }

    fn error(&self, what: &str, name: &str, error: object_store::Error) -> io::Error {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let hint = match &error {
            PermissionDenied { .. } | Unauthenticated { .. } => {
                "; give quarryd AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a user that may read, write and delete there"
            }
            NotFound { .. } => "; make the bucket first",
            _ => "",
        };
        let kind = if may_pass(&error) { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        io::Error::new(kind, format!("object {name} of {} could not be {what}{hint}: {error}", self.name))
    }
}

/// Whether a request that failed may have reached the server, and may be carried out by it all the same. Not where no connection was made, and
/// not where the server is too busy for it ("503 Slow Down", Amazon S3 API Reference, "Error responses").
fn may_be_carried_out(error: &object_store::Error) -> bool {
    if matches!(error, object_store::Error::Generic { store: OVERDUE | REFUSED, .. }) {
        return false;
    }
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let was_refused = |cause: &(dyn std::error::Error + 'static)| {
        let http = cause.downcast_ref::<HttpError>();
        http.is_some_and(|error| error.kind() == HttpErrorKind::Connect)
            || cause.to_string().contains("status code: 503")
    };
    !causes.into_iter().any(was_refused)
}

/// Whether the same request may succeed later.
fn may_pass(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { store, .. } if *store != REFUSED) && !is_cut_short(error)
}

/// Whether the object ends before what was asked for: it was damaged, and asking again changes nothing ("416 Range Not Satisfiable", RFC 9110
/// section 15.5.17; a shorter range is noticed by the library).
fn is_cut_short(error: &object_store::Error) -> bool {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    causes
        .map(ToString::to_string)
        .any(|text| text.contains("416 Range Not Satisfiable") || text.contains("but object was only"))
}

/// The "stores" of errors that are our own: a request that is not sent as long as the claim is overdue, one that is never sent because the
/// claim is lost, and one that was not answered.
const OVERDUE: &str = "an overdue claim";
const REFUSED: &str = "a lost claim";
const MUTE: &str = "no answer";

fn refused(path: &Path, error: ClaimError) -> object_store::Error {
    let store = if error == ClaimError::Lost { REFUSED } else { OVERDUE };
    if store == REFUSED {
        tracing::error!(%path, %error, "nothing is written to a bucket any more");
    }
    object_store::Error::Generic { store, source: Box::new(error) }
}

fn no_answer(error: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: MUTE, source: Box::new(error) }
}

/// Whether it is the bucket that is missing: an error, where a missing object is none.
fn is_about_bucket(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.to_string().contains("NoSuchBucket"))
}
