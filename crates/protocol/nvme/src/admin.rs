//! The admin queue of a controller: fabrics commands on it, Identify, log pages, features, events, keep-alive.

mod features;
mod identify;
mod logs;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use quarry_env::{BufferPool, Clock, View};
use quarry_target::Volumes;

use crate::connect::Connect;
use crate::controller::{Controller, Kind};
use crate::events::{Event, Events};
use crate::feature::Kept;
use crate::limits::{DEADLINE_TICKS, DISCOVERY_IDLE_TIME_MAX, NAMESPACES_MAX};
use crate::log::LogRequest;
use crate::namespaces::{Namespaces, differences};
use crate::outcome::Outcome;
use crate::property::Transition;
use crate::reservation::{Noticed, Notification, Notifications};
use crate::subsystem::AdminMember;
use crate::transfer::Transfer;
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::{admin, fabrics};

/// What the core that runs the queue lends to it.
pub struct Surroundings {
    /// Time.
    pub clock: Rc<dyn Clock>,
    /// Memory for what is returned.
    pub buffers: BufferPool,
    /// The volumes of the core.
    pub volumes: Rc<dyn Volumes>,
    /// The address at which the host has connected.
    pub portal: Option<SocketAddr>,
    /// Largest data in the capsule of an I/O command.
    pub capsule_bytes: u32,
}

struct State {
    namespaces: Namespaces,
    /// What has changed since the host last asked; one more than the log page holds stands for more.
    changed: BTreeSet<u32>,
    /// How often the ANA groups have changed.
    ana_changes: u64,
    kept: Kept,
    notifications: Notifications,
    keep_alive_ms: u32,
    /// When the host was last heard of.
    heard: Duration,
}

/// The admin queue of a controller, on one core.
pub struct AdminQueue {
    member: AdminMember,
    surroundings: Surroundings,
    events: Events,
    state: RefCell<State>,
}

/// The first multiple of `tick` that is not before `at`. The deadlines of many quiet hosts fall together so, and wake the core once.
fn next_tick(at: Duration, tick: Duration) -> Duration {
    let tick_ns = tick.as_nanos().max(1);
    Duration::from_nanos((at.as_nanos().div_ceil(tick_ns) * tick_ns) as u64)
}

impl AdminQueue {
    /// The queue that `connect` has opened.
    pub fn new(member: AdminMember, connect: &Connect, surroundings: Surroundings) -> Rc<Self> {
        let (controller, volumes) = (member.controller().clone(), surroundings.volumes.clone());
        let state = State {
            namespaces: Namespaces::new(member.subsystem().clone(), controller, volumes),
            changed: BTreeSet::new(),
            ana_changes: 1,
            kept: Kept::default(),
            notifications: Notifications::default(),
            keep_alive_ms: connect.keep_alive_ms,
            heard: surroundings.clock.now(),
        };
        Rc::new(Self { member, surroundings, events: Events::default(), state: RefCell::new(state) })
    }

    /// The controller.
    pub fn controller(&self) -> &Arc<Controller> {
        self.member.controller()
    }

    fn kind(&self) -> Kind {
        self.controller().kind()
    }

    /// Until when the host must be heard of, unless it may be silent for ever.
    pub fn deadline(&self) -> Option<Duration> {
        let state = self.state.borrow();
        let silence = match (state.keep_alive_ms, self.kind()) {
            (0, Kind::Io) => return None,
            (0, Kind::Discovery) => DISCOVERY_IDLE_TIME_MAX,
            (milliseconds, _) => Duration::from_millis(milliseconds.into()),
        };
        Some(next_tick(state.heard + silence, silence / DEADLINE_TICKS))
    }

    /// Says whether a command can be begun, and which data it moves.
    pub fn admit(&self, command: &Command) -> Result<Transfer, Status> {
        self.state.borrow_mut().heard = self.surroundings.clock.now();
        if command.is_fabrics() {
            return self.admit_fabrics(command);
        }
        if !self.controller().is_enabled() {
            return Err(Status::COMMAND_SEQUENCE);
        }
        match command.opcode() {
            admin::IDENTIFY => Ok(Transfer::ToHost(crate::identify::IDENTIFY_BYTES as u32)),
            admin::GET_LOG_PAGE => {
                LogRequest::decode(command).map(|request| Transfer::ToHost(request.length))
            }
            admin::SET_FEATURES => features::set_transfer(command),
            admin::GET_FEATURES => features::get_transfer(command),
            admin::ABORT | admin::ASYNC_EVENT_REQUEST | admin::KEEP_ALIVE => Ok(Transfer::None),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    fn admit_fabrics(&self, command: &Command) -> Result<Transfer, Status> {
        match command.fabrics_type() {
            fabrics::PROPERTY_GET | fabrics::PROPERTY_SET => Ok(Transfer::None),
            fabrics::CONNECT => Err(Status::COMMAND_SEQUENCE),
            fabrics::DISCONNECT => Err(Status::QUEUE_TYPE),
            // No host has to prove who it is yet; see `Subsystem::connect`.
            fabrics::AUTHENTICATION_SEND | fabrics::AUTHENTICATION_RECEIVE => Err(Status::INVALID_OPCODE),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    /// Carries out a command that was admitted, with the data that it brings.
    pub fn perform(
        self: &Rc<Self>,
        command: Command,
        data: Option<View>,
    ) -> LocalBoxFuture<'static, Outcome> {
        let queue = self.clone();
        async move {
            let outcome = queue.dispatch(&command, data.as_deref().unwrap_or_default()).await;
            outcome.unwrap_or_else(Outcome::from)
        }
        .boxed_local()
    }

    async fn dispatch(&self, command: &Command, data: &[u8]) -> Result<Outcome, Status> {
        if command.is_fabrics() {
            return self.property(command).await;
        }
        match command.opcode() {
            admin::IDENTIFY => self.identify(command).await,
            admin::GET_LOG_PAGE => self.log_page(command),
            admin::SET_FEATURES => self.set_feature(command, data),
            admin::GET_FEATURES => self.get_feature(command),
            admin::ASYNC_EVENT_REQUEST => Ok(self.events.request(command.id())?.await),
            admin::ABORT => Ok(self.abort(command)),
            admin::KEEP_ALIVE => Ok(Outcome::done()),
            opcode => unreachable!("opcode {opcode:#x} was not admitted"),
        }
    }

    /// Ends a request for an event; anything else is too far on its way, and the host is told so.
    fn abort(&self, command: &Command) -> Outcome {
        let (queue, id) = (command.dword(10) as u16, (command.dword(10) >> 16) as u16);
        let aborted = queue == 0 && self.events.abort(id);
        Outcome::result(u64::from(!aborted))
    }

    async fn property(&self, command: &Command) -> Result<Outcome, Status> {
        let wide = match command.bytes()[40] & 7 {
            0 => false,
            1 => true,
            _ => return Err(Status::INVALID_FIELD),
        };
        let at = command.dword(11);
        if command.fabrics_type() == fabrics::PROPERTY_GET {
            return self.controller().property(at, wide).map(Outcome::result);
        }
        match self.controller().set_property(at, wide, command.double_dword(12))? {
            Transition::None | Transition::Enable => Ok(Outcome::done()),
            Transition::Reset => {
                self.reset();
                Ok(Outcome::done())
            }
            Transition::Shutdown(life) => {
                // What the I/O queues have begun ends before it is flushed.
                self.controller().drained().await;
                let flushed = self.flush_all().await;
                self.controller().end_shutdown(life, flushed.is_ok());
                Ok(flushed.err().unwrap_or_else(Outcome::done))
            }
        }
    }

    fn reset(&self) {
        self.events.reset();
        let mut state = self.state.borrow_mut();
        state.kept = Kept::default();
        state.notifications = Notifications::default();
        state.changed.clear();
    }

    /// What the host has written is to survive power loss once the controller says that it is down.
    /// The failure is what the host is told.
    async fn flush_all(&self) -> Result<(), Outcome> {
        let volumes = self.state.borrow().namespaces.all_volumes()?;
        for volume in volumes {
            volume.flush().await?;
        }
        Ok(())
    }

    /// Looks again at what the host sees whenever somebody has changed it; never ready.
    pub fn poll_changes(&self, context: &mut Context<'_>) {
        let mut state = self.state.borrow_mut();
        while Pin::new(state.namespaces.changed()).poll(context).is_ready() {
            let Some(before) = state.namespaces.refresh() else { continue };
            let after = state.namespaces.list();
            let (changed, moved) = differences(&before, after);
            let (saw, sees) = (!before.is_empty(), !after.is_empty());
            if self.kind() == Kind::Discovery {
                if saw != sees {
                    self.events.raise(Event::DiscoveryChanged);
                }
                continue;
            }
            if changed.is_empty() {
                continue;
            }
            state.ana_changes += 1;
            let room = NAMESPACES_MAX + 1 - state.changed.len();
            state.changed.extend(changed.into_iter().take(room));
            self.events.raise(Event::NamespacesChanged);
            if moved {
                self.events.raise(Event::AnaChanged);
            }
        }
        let noticed = state.namespaces.mailbox().take(context);
        for Noticed { namespace, notice, .. } in noticed {
            // Commands under way are the business of the I/O queues.
            let Some(notification) = Notification::of(&notice) else { continue };
            if state.notifications.push(notification, namespace) {
                self.events.raise(Event::Reservation);
            }
        }
    }

    /// Ends what would wait for ever: no further command comes.
    pub fn close(&self) {
        self.events.close();
    }
}
