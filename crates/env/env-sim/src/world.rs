//! The world: it runs tasks, moves the time, lets events happen, and ends processes.

use std::cell::RefCell;
use std::fmt::Write;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::agenda::Event;
use crate::config::Config;
use crate::dice::nanos;
use crate::disk::{CrashModel, Losses};
use crate::network::ConnectionId;
use crate::process::Process;
use crate::shared::Shared;

/// Why a world stopped before what was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stuck {
    /// No task is ready and no event is to come: whatever is waited for cannot happen.
    #[error("deadlock at {at:?}: no task is ready and no event is to come")]
    Deadlock {
        /// Virtual time.
        at: Duration,
    },
    /// It took too long in virtual time.
    #[error("not done after {limit:?} of virtual time, at {at:?}")]
    TimeLimit {
        /// Virtual time.
        at: Duration,
        /// What was allowed.
        limit: Duration,
    },
    /// Tasks wake each other without any event in between.
    #[error("tasks spin at {at:?}: {polls} polls without an event")]
    Spinning {
        /// Virtual time.
        at: Duration,
        /// How many.
        polls: u32,
    },
}

/// What one step did.
enum Step {
    Polled,
    Happened,
    /// The next event is later than allowed.
    Later,
    Nothing,
}

/// A deterministic world. Dropping it ends its processes.
pub struct World {
    pub(crate) shared: Rc<Shared>,
}

impl World {
    /// A world that plays the history of `seed`.
    pub fn new(seed: u64, config: Config) -> Self {
        Self { shared: Rc::new(Shared::new(seed, config)) }
    }

    /// Starts a process with this many cores (> 0), all of them on the calling thread.
    pub fn process(&self, cores: usize) -> Process {
        Process::start(&self.shared, cores)
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.shared.time()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// A number below `count` (0 when it is 0) from the world's chance, for drivers that replay with it.
    pub fn below(&self, count: u64) -> u64 {
        self.shared.dice.below(count)
    }

    /// Runs one ready task, or lets the next event happen. False when there is neither.
    pub fn step(&self) -> bool {
        !matches!(self.step_until(u64::MAX), Step::Nothing)
    }

    /// Runs until `done`, which is asked before each step.
    ///
    /// # Errors
    /// See [`Stuck`]; `limit` is virtual time from now.
    pub fn run_until(&self, mut done: impl FnMut() -> bool, limit: Duration) -> Result<(), Stuck> {
        let deadline = self.shared.now().saturating_add(nanos(limit));
        let mut polls = 0;
        while !done() {
            let at = self.now();
            match self.step_until(deadline) {
                Step::Polled => polls += 1,
                Step::Happened => polls = 0,
                Step::Later => {
                    self.shared.advance_to(deadline);
                    return Err(Stuck::TimeLimit { at: self.now(), limit });
                }
                Step::Nothing => return Err(Stuck::Deadlock { at }),
            }
            if self.shared.now() > deadline {
                return Err(Stuck::TimeLimit { at, limit });
            }
            if polls > self.shared.config.polls_without_event_max {
                return Err(Stuck::Spinning { at, polls });
            }
        }
        Ok(())
    }

    /// Lets this much virtual time pass.
    ///
    /// # Errors
    /// [`Stuck::Spinning`].
    pub fn run_for(&self, duration: Duration) -> Result<(), Stuck> {
        let end = self.shared.now().saturating_add(nanos(duration));
        match self.run_until(|| false, duration) {
            Err(spinning @ Stuck::Spinning { .. }) => Err(spinning),
            _ => {
                self.shared.advance_to(end);
                Ok(())
            }
        }
    }

    /// Runs `future` on a core of `process` to its end.
    ///
    /// # Errors
    /// As [`Self::run_until`]; also when the process dies on the way.
    pub fn block_on<T: 'static>(
        &self,
        process: &Process,
        core: usize,
        future: impl Future<Output = T> + 'static,
        limit: Duration,
    ) -> Result<T, Stuck> {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        process.spawn(core, async move { *place.borrow_mut() = Some(future.await) }).detach();
        self.run_until(|| result.borrow().is_some() || !process.is_alive(), limit)?;
        result.take().ok_or(Stuck::Deadlock { at: self.now() })
    }

    fn step_until(&self, deadline: u64) -> Step {
        let shared = &self.shared;
        shared.sweep_detached();
        if self.poll_one() {
            shared.advance_to(shared.now() + shared.dice.nanos(&shared.config.poll_cost));
            self.end_doomed();
            loop {
                let due = shared.agenda.borrow_mut().pop_until(shared.now());
                match due {
                    Some((_, event)) => self.happen(event),
                    None => return Step::Polled,
                }
            }
        }
        let next = shared.agenda.borrow_mut().pop_until(deadline);
        match next {
            Some((at, event)) => {
                shared.advance_to(at);
                self.happen(event);
                Step::Happened
            }
            None if shared.agenda.borrow_mut().next_at().is_some() => Step::Later,
            None => Step::Nothing,
        }
    }

    /// Runs one ready task of any core.
    fn poll_one(&self) -> bool {
        let shared = &self.shared;
        let core = {
            let processes = shared.processes.borrow();
            let ready = processes.iter().map(|process| process.ready_cores()).sum();
            if ready == 0 {
                return false;
            }
            let mut skipped = shared.dice.index(ready);
            processes.iter().find_map(|process| process.ready_core(&mut skipped))
        };
        core.is_some_and(|core| core.executor.borrow_mut().run(1) > 0)
    }

    fn happen(&self, event: Event) {
        let shared = &self.shared;
        match event {
            Event::Timer(completer) => {
                shared.trace.fold(&[48, shared.now()]);
                completer.complete(());
            }
            Event::Operation { disk, key, step } => {
                if let Some(ended) = shared.advance(disk, key, step) {
                    ended.tell();
                }
            }
            Event::Forget { disk, loss } => shared.disks.borrow_mut().get(disk).medium.forget(loss),
            Event::DiskGoesOn(disk) => self.release_disk(disk),
            Event::DiskReturns(disk) => self.restore_disk(disk, shared.dice.below(2) == 0),
            Event::Deliver { connection, to } => shared.deliver(connection, to),
            Event::Service { connection, side } => shared.service(connection, side),
            Event::Accept(listener) => shared.accept(listener),
        }
    }

    /// Kills a process, as SIGKILL does: its tasks never run again, its sockets close, and its I/O goes on without it.
    /// A process that is killed by its own task dies when that task has stopped running.
    pub fn kill(&self, process: &Process) {
        if process.state.is_running() {
            self.shared.doomed.borrow_mut().push(process.state.id);
        } else {
            self.end_process(process.state.id);
        }
    }

    fn end_doomed(&self) {
        while let Some(process) = self.shared.doomed.borrow_mut().pop() {
            self.end_process(process);
        }
    }

    fn end_process(&self, id: u32) {
        let shared = &self.shared;
        let found = {
            let mut processes = shared.processes.borrow_mut();
            let place = processes.iter().position(|process| process.id == id);
            place.map(|place| processes.remove(place))
        };
        let Some(process) = found else { return };
        shared.trace.fold(&[64, u64::from(id), shared.now()]);
        shared.trace.line(shared.now(), || format!("p{id} is killed"));
        process.drop_tasks();
        drop(shared.orphan_operations(id));
        shared.disks.borrow_mut().disks.iter_mut().for_each(|disk| disk.close_handle(id, true));
        shared.abandon_sockets(id);
    }

    /// The power fails: every process dies, and each disk keeps, loses or tears what no completed flush covers. The
    /// disks can be opened by new processes at once.
    ///
    /// # Panics
    /// When a task calls it.
    pub fn power_fail(&self) -> Losses {
        let shared = &self.shared;
        shared.trace.line(shared.now(), || "the power fails");
        let processes = std::mem::take(&mut *shared.processes.borrow_mut());
        for process in &processes {
            process.drop_tasks();
        }
        let mut given_up = Vec::new();
        let mut losses = Losses::default();
        {
            let mut disks = shared.disks.borrow_mut();
            for disk in disks.ids() {
                let state = disks.get(disk);
                given_up.extend(shared.cut_operations(state));
                let model =
                    CrashModel { atomic_bytes: state.spec.atomic_bytes, sector_tear: state.spec.sector_tear };
                losses += state.medium.power_fail(model, &shared.dice);
                state.lock = None;
            }
        }
        drop(given_up);
        for process in &processes {
            shared.abandon_sockets(process.id);
        }
        let planned = shared.agenda.borrow_mut().take();
        for (at, event) in planned {
            if let Event::DiskReturns(_) = event {
                shared.schedule_at(at, event);
            }
        }
        shared.trace.fold(&[65, losses.kept, losses.lost, losses.torn, shared.now()]);
        losses
    }

    /// The connections that are open now.
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.shared.connections()
    }

    /// Cuts a connection: what is in transit is lost, and both ends see a reset.
    pub fn cut(&self, connection: ConnectionId) {
        self.shared.cut(connection);
    }

    /// Lets nothing arrive any more on a connection, or lets it arrive again.
    pub fn set_frozen(&self, connection: ConnectionId, frozen: bool) {
        self.shared.set_frozen(connection, frozen);
    }

    /// Sets the wall clock this many nanoseconds off.
    pub fn set_wall_offset(&self, offset_nanos: i64) {
        self.shared.wall_offset.set(offset_nanos);
    }

    /// A hash over every event so far: equal for equal histories.
    pub fn trace_hash(&self) -> u64 {
        self.shared.trace.hash()
    }

    /// How many events the trace hash covers.
    pub fn trace_events(&self) -> u64 {
        self.shared.trace.events()
    }

    /// The last lines of the trace, as many as [`Config::trace_lines_max`].
    pub fn trace_lines(&self) -> Vec<String> {
        self.shared.trace.lines()
    }

    /// What to print when a check fails: the seed, the faults, and the last lines of the trace.
    pub fn report(&self) -> String {
        let mut report =
            format!("seed {} at {:?}, trace hash {:016x}\n", self.seed(), self.now(), self.trace_hash());
        for fault in &self.shared.faults.borrow().injected {
            let _ = writeln!(report, "fault {fault}");
        }
        for line in self.trace_lines() {
            let _ = writeln!(report, "{line}");
        }
        report
    }
}

impl Drop for World {
    /// Ends the processes. When a panic ends the world, what led to it goes to standard error.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        let processes = std::mem::take(&mut *self.shared.processes.borrow_mut());
        for process in &processes {
            process.drop_tasks();
        }
        let planned = self.shared.agenda.borrow_mut().take();
        drop(planned);
    }
}
