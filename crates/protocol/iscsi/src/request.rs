//! Requests that are worked on, and what that work is.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;
use quarry_scsi::{Course, Lun, Reply, Unit};
use quarry_target::Drain;

use quarry_iscsi_wire::pdu::{Header, flags};

/// What is known of a request until it is answered.
pub(crate) struct Request {
    /// Initiator task tag.
    pub(crate) task_tag: u32,
    /// The unit that it is for.
    pub(crate) lun: Lun,
    /// The unit itself, if it reached one.
    pub(crate) unit: Option<Rc<Unit>>,
    /// What stops it on its way, if it has one.
    pub(crate) course: Option<Rc<Course>>,
    /// Whether it takes no place in the window.
    pub(crate) immediate: bool,
    /// The initiator expects data.
    pub(crate) reads: bool,
    /// The initiator has data.
    pub(crate) writes: bool,
    /// How much data the initiator speaks of.
    pub(crate) expected_bytes: u32,
    /// How much data the command wants of the initiator.
    pub(crate) wanted_bytes: u32,
    /// What it holds of the session's memory until its answer is sent.
    pub(crate) held_bytes: u64,
    /// It is not to be answered any more.
    pub(crate) aborted: bool,
    /// Who waits for its end, whether it is given up or goes on.
    pub(crate) drains: Vec<Drain>,
}

impl Request {
    /// The request of a header.
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            task_tag: header.task_tag(),
            lun: Lun(header.lun()),
            unit: None,
            course: None,
            immediate: header.is_immediate(),
            reads: header.has(flags::READ),
            writes: header.has(flags::WRITE),
            expected_bytes: header.transfer_tag(),
            wanted_bytes: 0,
            held_bytes: 0,
            aborted: false,
            drains: Vec::new(),
        }
    }

    /// Gives it up: it ends without an answer, and `drain` with it.
    pub(crate) fn abort(&mut self, drain: &Drain) {
        self.aborted = true;
        self.interrupt(drain);
    }

    /// Has it end before its next step, with an answer, and `drain` with it.
    pub(crate) fn interrupt(&mut self, drain: &Drain) {
        if let Some(course) = &self.course {
            course.stop();
        }
        self.drains.push(drain.clone());
    }

    /// Whether it was sent to `unit`.
    pub(crate) fn is_for(&self, unit: &Rc<Unit>) -> bool {
        self.unit.as_ref().is_some_and(|one| Rc::ptr_eq(one, unit))
    }

    /// Whether it works on `unit`, although it was sent to another.
    pub(crate) fn concerns(&self, unit: &Rc<Unit>) -> bool {
        self.course.as_ref().is_some_and(|course| course.concerns(unit))
    }
}

/// Work on a request.
pub(crate) enum Work {
    /// A SCSI command.
    Command(LocalBoxFuture<'static, Reply>),
    /// Task management, whose outcome is a response code.
    Management(LocalBoxFuture<'static, u8>),
}

/// What came of it.
pub(crate) enum Done {
    Command(Reply),
    Management(u8),
}

impl Future for Work {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Done> {
        match &mut *self {
            Self::Command(future) => future.as_mut().poll(context).map(Done::Command),
            Self::Management(future) => future.as_mut().poll(context).map(Done::Management),
        }
    }
}
