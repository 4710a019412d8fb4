//! Processes: cores with an executor each, all on the thread of the world.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{BufferPool, Env, Executor, JoinHandle};

use crate::clock::{SimClock, SimRandom};
use crate::disk::SimDisks;
use crate::network::SimNetwork;
use crate::shared::Shared;

/// A process and its cores.
pub(crate) struct ProcessState {
    pub(crate) id: u32,
    alive: Cell<bool>,
    cores: RefCell<Vec<Rc<Core>>>,
}

/// One core of a process.
pub(crate) struct Core {
    pub(crate) executor: RefCell<Executor>,
    env: Env,
}

impl ProcessState {
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    /// The core at this place among those that have a ready task, counted from `skipped`, which goes down by them.
    pub(crate) fn ready_core(&self, skipped: &mut usize) -> Option<Rc<Core>> {
        for core in self.cores.borrow().iter().filter(|core| core.has_ready()) {
            if *skipped == 0 {
                return Some(core.clone());
            }
            *skipped -= 1;
        }
        None
    }

    pub(crate) fn ready_cores(&self) -> usize {
        self.cores.borrow().iter().filter(|core| core.has_ready()).count()
    }

    /// Whether one of its tasks is running now.
    pub(crate) fn is_running(&self) -> bool {
        self.cores.borrow().iter().any(|core| core.executor.try_borrow_mut().is_err())
    }

    /// Ends every task, in the order of cores and of their start. What destructors start is dropped too.
    pub(crate) fn drop_tasks(&self) {
        self.alive.set(false);
        let cores = std::mem::take(&mut *self.cores.borrow_mut());
        loop {
            for core in &cores {
                core.executor.borrow_mut().clear();
            }
            if !cores.iter().any(|core| core.has_ready()) {
                return;
            }
        }
    }
}

impl Core {
    fn has_ready(&self) -> bool {
        self.executor.borrow().has_ready()
    }
}

/// A simulated process. Clones name the same process; it lives until it is killed, the power fails, or the world ends.
#[derive(Clone)]
pub struct Process {
    pub(crate) state: Rc<ProcessState>,
}

impl Process {
    /// Starts a process with this many cores (> 0).
    pub(crate) fn start(shared: &Rc<Shared>, cores: usize) -> Self {
        assert!(cores > 0, "a process has at least one core");
        let id = shared.processes_started.get();
        shared.processes_started.set(id + 1);
        let state = Rc::new(ProcessState { id, alive: Cell::new(true), cores: RefCell::default() });
        let origin = Duration::from_nanos(shared.dice.below(3_600_000_000_000));
        let made = (0..cores).map(|_| {
            let dice = shared.dice.clone();
            let executor = Executor::new(|| {})
                .with_live_tasks()
                .with_pick_next(Box::new(move |ready| dice.index(ready)));
            let env = Env {
                clock: Rc::new(SimClock { shared: shared.clone(), origin }),
                random: Rc::new(SimRandom(shared.dice.clone())),
                disks: Rc::new(SimDisks { shared: shared.clone(), process: state.clone() }),
                network: Rc::new(SimNetwork { shared: shared.clone(), process: state.clone() }),
                spawner: executor.spawner(),
                buffers: BufferPool::default(),
            };
            Rc::new(Core { executor: RefCell::new(executor), env })
        });
        *state.cores.borrow_mut() = made.collect();
        shared.processes.borrow_mut().push(state.clone());
        Self { state }
    }

    /// What one core may touch of the world.
    ///
    /// # Panics
    /// When the process is dead or has no such core.
    pub fn env(&self, core: usize) -> Env {
        let cores = self.state.cores.borrow();
        let found =
            cores.get(core).unwrap_or_else(|| panic!("process {} has no core {core} now", self.state.id));
        found.env.clone()
    }

    /// Starts a task on a core.
    ///
    /// # Panics
    /// As [`Self::env`].
    pub fn spawn<T: 'static>(&self, core: usize, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.env(core).spawner.spawn(future)
    }

    /// Whether it lives.
    pub fn is_alive(&self) -> bool {
        self.state.is_alive()
    }

    /// Its number, as the trace names it.
    pub fn id(&self) -> u32 {
        self.state.id
    }
}
