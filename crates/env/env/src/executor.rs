//! A single-threaded task executor that a driver turns: the real one between io_uring completions, the simulated one
//! between events of its seeded world.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

/// A task that is ready to run.
pub type Ready = async_task::Runnable;

/// Chooses which of `count` (> 0) ready tasks runs next; the real driver takes the oldest.
pub type PickNext = Box<dyn FnMut(usize) -> usize>;

/// Wakes the driver when another thread makes a task ready.
type WakeDriver = Box<dyn Fn() + Send + Sync>;

struct Queue {
    ready: Mutex<VecDeque<Ready>>,
    home: std::thread::ThreadId,
    wake_driver: WakeDriver,
}

impl Queue {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Ready>> {
        self.ready.lock().expect("no task panics while it queues another")
    }

    fn push(&self, task: Ready) {
        self.ready().push_back(task);
        if std::thread::current().id() != self.home {
            (self.wake_driver)();
        }
    }
}

/// Runs the tasks of one core. Tasks are not `Send`; their wakers are.
pub struct Executor {
    queue: Arc<Queue>,
    pick_next: Option<PickNext>,
}

impl Executor {
    /// An executor of the calling thread. `wake_driver` is called from other threads and must end the driver's wait.
    pub fn new(wake_driver: impl Fn() + Send + Sync + 'static) -> Self {
        let queue = Queue {
            ready: Mutex::default(),
            home: std::thread::current().id(),
            wake_driver: Box::new(wake_driver),
        };
        Self { queue: Arc::new(queue), pick_next: None }
    }

    /// Lets `pick_next` choose among the ready tasks instead of taking the oldest.
    #[must_use]
    pub fn with_pick_next(mut self, pick_next: PickNext) -> Self {
        self.pick_next = Some(pick_next);
        self
    }

    /// The handle by which tasks start tasks.
    pub fn spawner(&self) -> LocalSpawner {
        LocalSpawner { queue: self.queue.clone() }
    }

    /// Whether a task is ready.
    pub fn has_ready(&self) -> bool {
        !self.queue.ready().is_empty()
    }

    /// Runs at most `budget` ready tasks; returns how many ran.
    pub fn run(&mut self, budget: usize) -> usize {
        for ran in 0..budget {
            let task = {
                let mut ready = self.queue.ready();
                match &mut self.pick_next {
                    None => ready.pop_front(),
                    Some(_) if ready.is_empty() => None,
                    Some(pick) => {
                        let chosen = pick(ready.len());
                        ready.remove(chosen)
                    }
                }
            };
            let Some(task) = task else { return ran };
            task.run();
        }
        budget
    }

    /// Drops every ready task without running it: the process dies here. Tasks that wait are dropped with whatever
    /// holds their wakers.
    pub fn clear(&mut self) {
        let dropped: Vec<Ready> = self.queue.ready().drain(..).collect();
        drop(dropped);
    }
}

/// Starts tasks on one core.
#[derive(Clone)]
pub struct LocalSpawner {
    queue: Arc<Queue>,
}

impl LocalSpawner {
    /// Starts a task. Dropping the handle cancels it; [`JoinHandle::detach`] lets it run on its own.
    ///
    /// # Panics
    /// When called on another thread than the executor's.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        assert_eq!(std::thread::current().id(), self.queue.home, "tasks start on their own core");
        let queue = self.queue.clone();
        let (task, handle) = async_task::spawn_local(future, move |task| queue.push(task));
        task.schedule();
        JoinHandle(handle)
    }
}

/// A started task.
#[must_use = "dropping the handle cancels the task; detach it or wait for it"]
pub struct JoinHandle<T>(async_task::Task<T>);

impl<T> JoinHandle<T> {
    /// Lets the task run to its end with nobody waiting.
    pub fn detach(self) {
        self.0.detach();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Lets every task that is ready now run first.
pub async fn yield_now() {
    let yielded = Cell::new(false);
    std::future::poll_fn(|context| {
        if yielded.replace(true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
