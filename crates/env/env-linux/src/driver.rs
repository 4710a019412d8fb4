//! The loop of a core: run tasks, hand their operations to the kernel, sleep, deliver.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use io_uring::cqueue;
use quarry_env::{BufferPool, Env, Executor};

use crate::clock::{SystemClock, monotonic};
use crate::core::CoreConfig;
use crate::disks::SystemDisks;
use crate::network::SystemNetwork;
use crate::random::SystemRandom;
use crate::remote::Shared;
use crate::ring::{Ring, Wait};
use crate::setup::QueueSizes;
use crate::timer::Timers;
use crate::wait_policy::WaitPolicy;

/// Most tasks that run before the kernel is looked at again.
const TASKS_PER_TURN: usize = 512;

/// The longest sleep; behind it the core looks at its timers and sleeps on.
const LONG_SLEEP: Duration = Duration::from_secs(3600);

/// Everything that one core owns.
pub(crate) struct Driver {
    env: Env,
    executor: Executor,
    ring: Rc<Ring>,
    timers: Rc<Timers>,
    clock: Rc<SystemClock>,
    shared: Arc<Shared>,
    policy: Option<WaitPolicy>,
    completions: Vec<cqueue::Entry>,
}

impl Driver {
    /// A driver of the calling thread.
    pub(crate) fn new(config: &CoreConfig, shared: Arc<Shared>) -> io::Result<Self> {
        let sizes =
            QueueSizes { submission: config.submission_entries, completion: config.completion_entries };
        let ring = Rc::new(Ring::new(sizes, config.registered_slabs_max, shared.waker.fd())?);
        let timers = Rc::new(Timers::default());
        let executor = {
            let waker = shared.waker.clone();
            Executor::new(move || waker.wake()).with_live_tasks()
        };
        let spawner = executor.spawner();
        let clock = Rc::new(SystemClock::new(timers.clone()));
        let env = Env {
            random: Rc::new(SystemRandom::default()),
            disks: Rc::new(SystemDisks::new(ring.clone(), spawner.clone(), config.lock_wait)),
            network: Rc::new(SystemNetwork::new(ring.clone())),
            buffers: registered_buffers(&ring),
            clock: clock.clone(),
            spawner,
        };
        let policy = config.batching.then(WaitPolicy::default);
        Ok(Self { env, executor, ring, timers, clock, shared, policy, completions: Vec::new() })
    }

    /// Runs `main` and the tasks that it starts, until `main` ends.
    pub(crate) fn run<T, Fut>(&mut self, main: impl FnOnce(Env) -> Fut) -> io::Result<T>
    where
        T: 'static,
        Fut: Future<Output = T> + 'static,
    {
        let mut main = pin!(self.env.spawner.spawn(main(self.env.clone())));
        let mut ignored = Context::from_waker(std::task::Waker::noop());
        loop {
            self.timers.fire(self.clock.begin_turn());
            self.shared.run_jobs(&self.env);
            self.executor.run(TASKS_PER_TURN);
            if let Poll::Ready(value) = main.as_mut().poll(&mut ignored) {
                return Ok(value);
            }
            self.turn()?;
        }
    }

    /// Submits, sleeps when there is nothing to run, and delivers completions.
    fn turn(&mut self) -> io::Result<()> {
        let wait = self.wait();
        let entered = self.ring.enter(wait);
        self.shared.waker.awake();
        entered?;
        let reaped = self.ring.reap(&mut self.completions);
        if let Some(policy) = &mut self.policy {
            policy.observe(reaped.operations, reaped.bytes);
        }
        Ok(())
    }

    fn wait(&self) -> Wait {
        if self.executor.has_ready() {
            return Wait::No;
        }
        self.shared.waker.announce_sleep();
        if self.executor.has_ready() || self.shared.has_jobs() {
            return Wait::No;
        }
        let until = |deadline: Duration| deadline.saturating_sub(monotonic()).min(LONG_SLEEP);
        let timeout = self.timers.next().map(until);
        let batch = self.policy.as_ref().and_then(|policy| policy.decide(self.ring.prompt_in_flight()));
        match batch {
            Some(batch) if timeout.is_none_or(|timeout| timeout > batch.wait()) => {
                // Without any time-out, the kernel would return empty-handed at the end of the batch's time.
                Wait::Until { timeout: timeout.or(Some(LONG_SLEEP)), batch: Some(batch) }
            }
            _ => Wait::Until { timeout, batch: None },
        }
    }
}

impl Drop for Driver {
    /// Also after a panic: tasks go first, then the operations that they have left behind, then memory.
    fn drop(&mut self) {
        self.shared.close();
        self.executor.clear();
        self.ring.drain();
        self.env.buffers.clear_register();
    }
}

fn registered_buffers(ring: &Rc<Ring>) -> BufferPool {
    let pool = BufferPool::default();
    let ring = ring.clone();
    pool.set_register(Box::new(move |start, bytes| {
        advise_huge_page(start, bytes);
        // SAFETY: the pool keeps its slabs until its last buffer is gone. An operation names registered memory only
        // through a buffer, so the ring never uses a slab that is gone, and the kernel's own hold on the pages of a
        // dead one ends with the ring.
        unsafe { ring.register_slab(start, bytes) }
    }));
    pool
}

/// Asks for a huge page behind a slab: fewer misses of the address cache while data is copied through it, and one range
/// instead of hundreds for the kernel to keep. A kernel that has none to give is no error.
fn advise_huge_page(start: *mut u8, bytes: usize) {
    // SAFETY: the range is a live allocation of the pool, and the advice does not change its content.
    let _ = unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
}
