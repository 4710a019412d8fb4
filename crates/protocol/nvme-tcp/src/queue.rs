//! A queue of either kind, as a session drives it.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use quarry_env::View;
use quarry_nvme::{AdminQueue, Controller, IoQueue, Request, Transfer, Work};
use quarry_nvme_wire::constants::fabrics;
use quarry_nvme_wire::{Command, DataPointer, Status};
use quarry_target::{Counters, Stop};

use crate::limits::{ADMIN_CAPSULE_BYTES_MAX, IO_CAPSULE_BYTES_MAX};

/// The queue of a session.
pub(crate) enum Queue {
    Admin(Rc<AdminQueue>),
    Io(Box<IoQueue>),
}

/// A command that was admitted but not begun.
pub(crate) enum Prepared {
    Admin(Rc<AdminQueue>),
    Io(Request),
}

impl Prepared {
    /// Bytes that it needs while it is carried out, beside the data that it moves.
    pub(crate) fn working_bytes(&self) -> u64 {
        match self {
            // Pages are small, and the queue is short.
            Prepared::Admin(_) => 0,
            Prepared::Io(request) => request.working_bytes(),
        }
    }

    /// Begins it with the data that it brings.
    pub(crate) fn begin(self, work: &mut Work, command: Command, data: Option<View>) {
        match self {
            Prepared::Admin(queue) => work.begin(queue.perform(command, data)),
            Prepared::Io(request) => work.begin_io(request, data),
        }
    }
}

impl Queue {
    pub(crate) fn controller(&self) -> &Arc<Controller> {
        match self {
            Queue::Admin(queue) => queue.controller(),
            Queue::Io(queue) => queue.member().controller(),
        }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        match self {
            Queue::Admin(_) => 0,
            Queue::Io(queue) => queue.member().queue(),
        }
    }

    /// The signal to take no further command, beside that of the session.
    pub(crate) fn stop(&self) -> Option<&Stop> {
        match self {
            Queue::Admin(_) => None,
            Queue::Io(queue) => Some(queue.member().stop()),
        }
    }

    /// Most data in the capsule of a command.
    pub(crate) fn capsule_bytes_max(&self) -> u32 {
        match self {
            Queue::Admin(_) => ADMIN_CAPSULE_BYTES_MAX,
            Queue::Io(_) => IO_CAPSULE_BYTES_MAX,
        }
    }

    /// Until when the host must be heard of.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self {
            Queue::Admin(queue) => queue.deadline(),
            Queue::Io(_) => None,
        }
    }

    pub(crate) fn poll_changes(&mut self, context: &mut Context<'_>) {
        match self {
            Queue::Admin(queue) => queue.poll_changes(context),
            Queue::Io(queue) => queue.poll_changes(context),
        }
    }

    /// Says whether a command can be begun that brings `capsule_bytes` of data with it.
    pub(crate) fn admit(
        &mut self,
        command: &Command,
        capsule_bytes: usize,
    ) -> Result<(Transfer, Prepared), Status> {
        let (transfer, prepared) = match self {
            Queue::Admin(queue) => (queue.admit(command)?, Prepared::Admin(queue.clone())),
            Queue::Io(queue) => {
                let admitted = queue.admit(command)?;
                (admitted.transfer, Prepared::Io(admitted.request))
            }
        };
        let pointer = command.data_pointer();
        transfer.check(pointer)?;
        match (transfer, pointer) {
            (Transfer::FromHost(_), Ok(DataPointer::Capsule { length }))
                if length as usize != capsule_bytes =>
            {
                Err(Status::SGL_LENGTH)
            }
            _ => Ok((transfer, prepared)),
        }
    }

    /// Whether the host says goodbye to this queue.
    pub(crate) fn is_disconnect(&self, command: &Command) -> bool {
        let disconnect = command.is_fabrics() && command.fabrics_type() == fabrics::DISCONNECT;
        disconnect && matches!(self, Queue::Io(_))
    }

    /// Counts a command that is about to be carried out.
    pub(crate) fn count(&self, prepared: &Prepared, session: &Counters) {
        match (self, prepared) {
            (Queue::Io(queue), Prepared::Io(request)) => {
                request.count(queue.member().counters());
                request.count(session);
            }
            _ => session.other(),
        }
    }

    /// Counts and notes a command that has failed.
    pub(crate) fn note_failure(&self, command: &Command, status: Status, session: &Counters) {
        if let Queue::Io(queue) = self {
            queue.member().counters().error();
        }
        session.error();
        self.controller().note_error(self.number(), command, status);
    }

    /// Ends what would wait for ever: no further command comes.
    pub(crate) fn close(&mut self) {
        match self {
            Queue::Admin(queue) => queue.close(),
            Queue::Io(queue) => queue.close(),
        }
    }
}
