//! The I/O queue of a controller: the commands of the NVM command set.

mod compare;
mod copy;
mod dataset;
mod fused;
mod perform;
mod request;
mod reservation;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;

use quarry_env::BufferPool;
use quarry_target::{Notice, Volumes};

use crate::controller::IoMember;
use crate::namespaces::Namespaces;
use crate::reservation::{Draining, Noticed};
use crate::subsystem::Subsystem;
use crate::transfer::Transfer;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::{fabrics, io};
use quarry_nvme_wire::{Command, Fuse};

use fused::{Fused, Half};
use request::Means;

pub(crate) use perform::perform;
pub use request::Request;

/// A command that can be begun.
pub struct Admitted {
    /// The data that it moves.
    pub transfer: Transfer,
    /// What it asks for.
    pub request: Request,
}

/// The first half of a fused operation, as long as the second one has not come.
enum Waiting {
    /// It has been admitted.
    Half(Rc<Fused>, Request),
    /// It was refused.
    Refused,
}

/// An I/O queue, on one core.
pub struct IoQueue {
    member: IoMember,
    namespaces: Namespaces,
    waiting: Option<Waiting>,
    means: Rc<Means>,
    /// Those who wait for the end of commands of this queue.
    draining: Vec<Draining>,
}

impl IoQueue {
    /// The queue of `member`, which uses the volumes of this core.
    pub fn new(
        subsystem: &Subsystem,
        member: IoMember,
        volumes: Rc<dyn Volumes>,
        buffers: BufferPool,
    ) -> Self {
        let controller = member.controller().clone();
        let namespaces = Namespaces::new(subsystem.clone(), controller, volumes);
        let means = Rc::new(Means { buffers, subsystem: subsystem.clone() });
        Self { member, namespaces, waiting: None, means, draining: Vec::new() }
    }

    /// Its place in its controller.
    pub fn member(&self) -> &IoMember {
        &self.member
    }

    /// Looks again at what the host sees whenever somebody has changed it; never ready.
    pub fn poll_changes(&mut self, context: &mut Context<'_>) {
        while Pin::new(self.namespaces.changed()).poll(context).is_ready() {
            self.namespaces.refresh();
        }
        let noticed = self.namespaces.mailbox().take(context);
        for Noticed { volume, notice, .. } in noticed {
            // Notifications are the business of the admin queue.
            let (Notice::Abort(drain) | Notice::Settle(drain)) = notice else { continue };
            if let Some(activity) = self.namespaces.activity(volume) {
                let commands = activity.so_far();
                self.draining.push(Draining { commands, _drain: drain });
            }
        }
        self.draining.retain(|draining| draining.commands.strong_count() > 0);
    }

    /// Says whether a command can be begun, and which data it moves.
    pub fn admit(&mut self, command: &Command) -> Result<Admitted, Status> {
        let fuse = command.fuse();
        if fuse != Some(Fuse::Second) {
            self.abandon_first();
        }
        match fuse {
            Some(Fuse::Alone) => self.admit_one(command),
            Some(Fuse::First) => self.admit_first(command),
            Some(Fuse::Second) => self.admit_second(command),
            None => Err(Status::INVALID_FIELD),
        }
    }

    fn admit_one(&mut self, command: &Command) -> Result<Admitted, Status> {
        if command.is_fabrics() {
            return match command.fabrics_type() {
                fabrics::DISCONNECT if command.dword(10) & 0xFFFF == 0 => {
                    Ok(Admitted { transfer: Transfer::None, request: Request::nothing() })
                }
                fabrics::CONNECT => Err(Status::COMMAND_SEQUENCE),
                _ => Err(Status::INVALID_OPCODE),
            };
        }
        self.namespaces.refresh();
        let cached = self.member.controller().has_write_cache();
        let decoded = Request::decode(command, &mut self.namespaces, cached)?;
        if !decoded.request.is_allowed() {
            return Err(Status::RESERVATION_CONFLICT);
        }
        Ok(Admitted { transfer: decoded.transfer, request: decoded.request.with_means(&self.means) })
    }

    /// A first half that nothing followed.
    fn abandon_first(&mut self) {
        if let Some(Waiting::Half(fused, _)) = self.waiting.take() {
            fused.fail(Half::First, Status::ABORTED_MISSING_FUSED);
        }
    }

    fn admit_first(&mut self, command: &Command) -> Result<Admitted, Status> {
        let admitted = match command.opcode() {
            io::COMPARE => self.admit_one(command).and_then(|admitted| {
                let fits = admitted.request.fits_exchange();
                if fits { Ok(admitted) } else { Err(Status::ATOMIC_UNIT_EXCEEDED) }
            }),
            _ => Err(Status::INVALID_FIELD),
        };
        match admitted {
            Ok(Admitted { transfer, request }) => {
                let fused = Rc::<Fused>::default();
                let first = request.clone_as_half(&fused, Half::First);
                self.waiting = Some(Waiting::Half(fused, request));
                Ok(Admitted { transfer, request: first })
            }
            Err(status) => {
                self.waiting = Some(Waiting::Refused);
                Err(status)
            }
        }
    }

    fn admit_second(&mut self, command: &Command) -> Result<Admitted, Status> {
        let (fused, first) = match self.waiting.take() {
            Some(Waiting::Half(fused, first)) => (fused, first),
            Some(Waiting::Refused) => return Err(Status::ABORTED_FAILED_FUSED),
            None => return Err(Status::ABORTED_MISSING_FUSED),
        };
        let admitted = match command.opcode() {
            io::WRITE => self.admit_one(command),
            _ => Err(Status::INVALID_FIELD),
        };
        match admitted {
            Ok(Admitted { transfer, request }) => {
                if !request.is_for_range_of(&first) {
                    // That is wrong with both of them, and the first one is answered first as ever.
                    fused.fail(Half::First, Status::INVALID_FIELD);
                    fused.fail(Half::Second, Status::INVALID_FIELD);
                }
                Ok(Admitted { transfer, request: request.clone_as_half(&fused, Half::Second) })
            }
            Err(status) => {
                fused.fail(Half::First, Status::ABORTED_FAILED_FUSED);
                Err(status)
            }
        }
    }

    /// Ends what would wait for ever: no further command comes.
    pub fn close(&mut self) {
        self.abandon_first();
    }
}
