//! Starting and ending cores.

use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use quarry_env::Env;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::driver::Driver;
use crate::remote::{CoreRemote, Shared};
use crate::wake::Waker;

/// How a core works.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Whether the thread stays on one CPU; for nodes of more than one core.
    pub pin: bool,
    /// Submissions that one system call takes; more are submitted in portions.
    pub submission_entries: u32,
    /// Completions that the kernel stores without extra cost.
    pub completion_entries: u32,
    /// Slabs of I/O memory (2 MiB each) that are registered with the kernel; more work unregistered.
    pub registered_slabs_max: u16,
    /// Whether completions of many small requests are gathered for some microseconds.
    pub batching: bool,
    /// How long to wait for the lock of a disk that another process holds.
    pub lock_wait: Duration,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            pin: false,
            submission_entries: 512,
            completion_entries: 4096,
            registered_slabs_max: 1024,
            batching: true,
            lock_wait: Duration::from_secs(30),
        }
    }
}

/// One thread with a ring and an executor of its own.
pub struct Core;

impl Core {
    /// Starts a thread that runs `main` and everything it spawns; the core ends with `main`. Tasks that are left then
    /// are dropped. With [`CoreConfig::pin`] the thread stays on the `core_index`-th CPU that the process may use.
    ///
    /// # Errors
    /// When the thread or its ring cannot be made.
    pub fn start<T, F, Fut>(
        name: &str,
        core_index: usize,
        config: &CoreConfig,
        main: F,
    ) -> io::Result<CoreHandle<T>>
    where
        T: Send + 'static,
        F: FnOnce(Env) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let shared = Arc::new(Shared::new(Arc::new(Waker::new()?)));
        let remote = CoreRemote(shared.clone());
        let config = config.clone();
        let (started, starting) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if config.pin {
                pin_to(core_index);
            }
            let driver = Driver::new(&config, shared);
            let (mut driver, outcome) = match driver {
                Ok(driver) => (Some(driver), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // The starter waits for exactly this message.
            let _ = started.send(outcome);
            match &mut driver {
                Some(driver) => driver.run(main),
                None => Err(io::Error::other("the core did not start")),
            }
        })?;
        starting.recv().map_err(|_| io::Error::other("the core's thread ended before it started"))??;
        Ok(CoreHandle { remote, thread })
    }
}

/// Runs `main` and everything it spawns on the calling thread, until `main` ends.
///
/// # Errors
/// When the ring cannot be made, or the kernel refuses to work with it.
pub fn run_on_this_thread<T, F, Fut>(config: &CoreConfig, main: F) -> io::Result<T>
where
    T: 'static,
    F: FnOnce(Env) -> Fut,
    Fut: Future<Output = T> + 'static,
{
    let shared = Arc::new(Shared::new(Arc::new(Waker::new()?)));
    Driver::new(config, shared)?.run(main)
}

/// A running core.
#[must_use = "a core whose handle is dropped runs on unobserved"]
pub struct CoreHandle<T> {
    remote: CoreRemote,
    thread: JoinHandle<io::Result<T>>,
}

impl<T> CoreHandle<T> {
    /// The way to start tasks on the core.
    pub fn remote(&self) -> CoreRemote {
        self.remote.clone()
    }

    /// Waits for the core's end and returns what its `main` returned.
    ///
    /// # Errors
    /// When the kernel refused to work with the ring.
    ///
    /// # Panics
    /// When a task of the core panicked, with the same message.
    pub fn join(self) -> io::Result<T> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Keeps the calling thread on one of the CPUs that it may use. Best effort: a core works wherever it runs.
fn pin_to(core_index: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cpus.is_empty() {
        return;
    }
    let mut one = CpuSet::new();
    one.set(cpus[core_index % cpus.len()]);
    let _ = sched_setaffinity(None, &one);
}
