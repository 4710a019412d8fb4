//! The way into a core from other threads.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::channel::oneshot;
use quarry_env::Env;

use crate::wake::Waker;

/// Most jobs that may wait for a core that does not come to them.
const JOBS_MAX: usize = 65_536;

/// Why a task could not be started on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpawnError {
    /// The core has ended, or it ended before the task did.
    #[error("the core has ended")]
    Ended,
    /// Too many jobs wait for the core.
    #[error("{JOBS_MAX} jobs wait for the core already")]
    Full,
}

type Job = Box<dyn FnOnce(&Env) + Send>;

struct Inbox {
    jobs: VecDeque<Job>,
    open: bool,
}

/// What a core and its remotes share.
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    pub(crate) waker: Arc<Waker>,
}

impl Shared {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self { inbox: Mutex::new(Inbox { jobs: VecDeque::new(), open: true }), waker }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no code panics while it holds the inbox")
    }

    /// Whether a job waits.
    pub(crate) fn has_jobs(&self) -> bool {
        !self.inbox().jobs.is_empty()
    }

    /// Runs every job that waits.
    pub(crate) fn run_jobs(&self, env: &Env) {
        let jobs = std::mem::take(&mut self.inbox().jobs);
        jobs.into_iter().for_each(|job| job(env));
    }

    /// Refuses jobs from now on and drops those that wait.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut inbox = self.inbox();
            inbox.open = false;
            std::mem::take(&mut inbox.jobs)
        };
        drop(dropped);
    }
}

/// Starts tasks on a core from any thread. Cheap to clone.
#[derive(Clone)]
pub struct CoreRemote(pub(crate) Arc<Shared>);

impl CoreRemote {
    /// Starts a task on the core. `task` is called there; its future need not be `Send`.
    pub fn spawn<F, Fut>(&self, task: F) -> Result<(), SpawnError>
    where
        F: FnOnce(Env) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.queue(Box::new(move |env| env.spawner.spawn(task(env.clone())).detach()))
    }

    /// Runs a task on the core and brings its result back, to any kind of task or thread. When the returned future is
    /// dropped, the task goes on.
    pub fn call<T, F, Fut>(
        &self,
        task: F,
    ) -> impl Future<Output = Result<T, SpawnError>> + Send + use<T, F, Fut>
    where
        T: Send + 'static,
        F: FnOnce(Env) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let queued = self.spawn(move |env| {
            let future = task(env);
            async move {
                // Nobody receives when the caller has been dropped.
                let _ = sender.send(future.await);
            }
        });
        async move {
            queued?;
            receiver.await.map_err(|_| SpawnError::Ended)
        }
    }

    fn queue(&self, job: Job) -> Result<(), SpawnError> {
        {
            let mut inbox = self.0.inbox();
            if !inbox.open {
                return Err(SpawnError::Ended);
            }
            if inbox.jobs.len() >= JOBS_MAX {
                return Err(SpawnError::Full);
            }
            inbox.jobs.push_back(job);
        }
        self.0.waker.wake();
        Ok(())
    }
}
