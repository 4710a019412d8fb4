//! A place for a command while it is worked on, used again and again so that a command needs no memory of its own beside
//! what its volume takes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;
use quarry_env::View;

use crate::io::{Request, perform};
use crate::outcome::Outcome;

/// A future whose memory outlives it.
trait Reusable {
    fn begin(&mut self, request: Request, data: Option<View>);
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome>;
}

struct Place<F> {
    make: fn(Request, Option<View>) -> F,
    future: Pin<Box<Option<F>>>,
}

impl<F: Future<Output = Outcome>> Reusable for Place<F> {
    fn begin(&mut self, request: Request, data: Option<View>) {
        let future = (self.make)(request, data);
        self.future.set(Some(future));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let future = self.future.as_mut().as_pin_mut().expect("a command was begun");
        let polled = future.poll(context);
        if polled.is_ready() {
            self.future.set(None);
        }
        polled
    }
}

fn place<F: Future<Output = Outcome> + 'static>(make: fn(Request, Option<View>) -> F) -> Box<dyn Reusable> {
    Box::new(Place { make, future: Box::pin(None) })
}

/// A place for one command after the other.
#[derive(Default)]
pub struct Work {
    io: Option<Box<dyn Reusable>>,
    other: Option<LocalBoxFuture<'static, Outcome>>,
}

impl Work {
    /// Begins an I/O command with the data that it brings.
    pub fn begin_io(&mut self, request: Request, data: Option<View>) {
        self.io.get_or_insert_with(|| place(perform)).begin(request, data);
    }

    /// Begins what an admin command makes of itself.
    pub fn begin(&mut self, future: LocalBoxFuture<'static, Outcome>) {
        self.other = Some(future);
    }

    /// Goes on with the command that was begun.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let Some(other) = &mut self.other else {
            return self.io.as_mut().expect("a command was begun").poll(context);
        };
        let polled = other.as_mut().poll(context);
        if polled.is_ready() {
            self.other = None;
        }
        polled
    }
}
