//! What every part of a world reaches: time, chance, the agenda and the state of disks and network.
//!
//! Each part has its own cell, borrowed for as long as one change takes. Nothing that may run code of a process (a task,
//! a destructor, a value that a completion brings) is dropped or called under a borrow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Completion, completion};

use crate::agenda::{Agenda, Event};
use crate::config::Config;
use crate::dice::Dice;
use crate::disk::DiskSet;
use crate::fault::{FaultRecord, Faults};
use crate::network::NetworkState;
use crate::process::ProcessState;
use crate::trace::Trace;

/// The inside of a world.
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) config: Config,
    now: Cell<u64>,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) agenda: RefCell<Agenda>,
    pub(crate) disks: RefCell<DiskSet>,
    pub(crate) network: RefCell<NetworkState>,
    pub(crate) faults: RefCell<Faults>,
    /// Processes that live, in the order of their birth.
    pub(crate) processes: RefCell<Vec<Rc<ProcessState>>>,
    pub(crate) processes_started: Cell<u32>,
    /// Processes that were killed by a task and die as soon as it has stopped running.
    pub(crate) doomed: RefCell<Vec<u32>>,
    /// How far the wall clock is from where it should be, in nanoseconds.
    pub(crate) wall_offset: Cell<i64>,
}

impl Shared {
    pub(crate) fn new(seed: u64, config: Config) -> Self {
        Self {
            seed,
            trace: Trace::new(config.trace_lines_max),
            config,
            now: Cell::new(0),
            dice: Dice::new(seed),
            agenda: RefCell::default(),
            disks: RefCell::default(),
            network: RefCell::default(),
            faults: RefCell::default(),
            processes: RefCell::default(),
            processes_started: Cell::new(0),
            doomed: RefCell::default(),
            wall_offset: Cell::new(0),
        }
    }

    /// Nanoseconds since the world began.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.now.get())
    }

    /// Time goes forwards only.
    pub(crate) fn advance_to(&self, at: u64) {
        self.now.set(self.now.get().max(at));
    }

    pub(crate) fn schedule(&self, delay: u64, event: Event) {
        self.schedule_at(self.now.get().saturating_add(delay), event);
    }

    pub(crate) fn schedule_at(&self, at: u64, event: Event) {
        let tie = self.dice.next_u32();
        self.agenda.borrow_mut().add(at, tie, event);
    }

    /// Completes after this many nanoseconds, to the nanosecond.
    pub(crate) fn sleep(&self, delay: u64) -> Completion<()> {
        let (completer, completion) = completion();
        self.schedule(delay, Event::Timer(completer));
        completion
    }

    pub(crate) fn log_fault(&self, record: FaultRecord) {
        self.trace.line(self.now(), || format!("fault: {record}"));
        self.faults.borrow_mut().injected.push(record);
    }
}
