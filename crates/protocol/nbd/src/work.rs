//! What the volume does for requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;
use quarry_volume::{Extent, Result, Views};

use crate::wire::RequestHeader;

/// A request that was admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub(crate) header: RequestHeader,
    /// Bytes that it holds until its reply has been sent.
    pub(crate) held_bytes: u64,
}

/// What the volume does for a request.
pub(crate) enum Work<'v> {
    Read(LocalBoxFuture<'v, Result<Views>>),
    Change(LocalBoxFuture<'v, Result<()>>),
    Status(LocalBoxFuture<'v, Result<Vec<Extent>>>),
}

/// What came of it.
pub(crate) enum Outcome {
    Read(Views),
    Changed,
    Status(Vec<Extent>),
}

impl Future for Work<'_> {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Work::Read(future) => Pin::new(future).poll(context).map_ok(Outcome::Read),
            Work::Change(future) => Pin::new(future).poll(context).map_ok(|()| Outcome::Changed),
            Work::Status(future) => Pin::new(future).poll(context).map_ok(Outcome::Status),
        }
    }
}
