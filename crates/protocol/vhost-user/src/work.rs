//! What the volume does for requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;
use quarry_volume::{Result, Views};

/// What the volume does for a request.
pub(crate) enum Work<'v> {
    Read(LocalBoxFuture<'v, Result<Views>>),
    Change(LocalBoxFuture<'v, Result<()>>),
}

/// What came of it.
pub(crate) enum Outcome {
    Read(Views),
    Changed,
}

impl Future for Work<'_> {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Work::Read(future) => Pin::new(future).poll(context).map_ok(Outcome::Read),
            Work::Change(future) => Pin::new(future).poll(context).map_ok(|()| Outcome::Changed),
        }
    }
}
