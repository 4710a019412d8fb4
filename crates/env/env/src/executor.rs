//! A single-threaded task executor that a driver turns: the real one between io_uring completions, the simulated one
//! between events of its seeded world.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// A task that is ready to run.
pub type Ready = async_task::Runnable;

/// Chooses which of `count` (> 0) ready tasks runs next; the real driver takes the oldest.
pub type PickNext = Box<dyn FnMut(usize) -> usize>;

/// Wakes the driver when another thread makes a task ready.
type WakeDriver = Box<dyn Fn() + Send + Sync>;

/// The tasks that have not ended, in the order in which they started. Only for an executor that must be able to drop
/// tasks that wait: such a task is often held by nothing but a waker inside itself.
#[derive(Default)]
struct LiveTasks {
    started: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// Takes its task off the list when the task's future is dropped.
struct LiveEntry {
    queue: Arc<Queue>,
    key: u64,
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        let waker = self.queue.live().and_then(|mut live| live.wakers.remove(&self.key));
        drop(waker);
    }
}

struct Queue {
    ready: Mutex<VecDeque<Ready>>,
    live: Option<Mutex<LiveTasks>>,
    home: std::thread::ThreadId,
    wake_driver: WakeDriver,
}

impl Queue {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Ready>> {
        self.ready.lock().expect("no task panics while it queues another")
    }

    fn live(&self) -> Option<MutexGuard<'_, LiveTasks>> {
        let live = self.live.as_ref()?;
        Some(live.lock().expect("no task panics while it is put on the list"))
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
            live: None,
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

    /// Keeps a list of the tasks that have not ended, so that [`Self::clear`] drops those that wait as well. Costs two
    /// map operations a task.
    ///
    /// # Panics
    /// When a spawner exists already.
    #[must_use]
    pub fn with_live_tasks(mut self) -> Self {
        let queue = Arc::get_mut(&mut self.queue).expect("set up before the first spawner is given away");
        queue.live = Some(Mutex::default());
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

    /// Drops every ready task without running it: the process dies here. Tasks that wait are dropped as well, in the
    /// order in which they started, if [`Self::with_live_tasks`] keeps their list; else with whatever holds their wakers.
    pub fn clear(&mut self) {
        loop {
            let waiting =
                self.queue.live().map(|mut live| std::mem::take(&mut live.wakers)).unwrap_or_default();
            let listed = waiting.len();
            waiting.into_values().for_each(Waker::wake);
            let dropped: Vec<Ready> = self.queue.ready().drain(..).collect();
            if listed == 0 && dropped.is_empty() {
                return;
            }
            drop(dropped);
        }
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
        if self.queue.live.is_some() {
            return self.spawn_listed(future);
        }
        let queue = self.queue.clone();
        let (task, handle) = async_task::spawn_local(future, move |task| queue.push(task));
        task.schedule();
        JoinHandle(handle)
    }

    fn spawn_listed<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        let mut live = self.queue.live().expect("the caller has looked");
        let key = live.started;
        live.started += 1;
        let entry = LiveEntry { queue: self.queue.clone(), key };
        let listed = async move {
            let _entry = entry;
            future.await
        };
        let queue = self.queue.clone();
        let (task, handle) = async_task::spawn_local(listed, move |task| queue.push(task));
        live.wakers.insert(key, task.waker());
        drop(live);
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::completion;

    struct Witness(u32, Rc<RefCell<Vec<u32>>>);

    impl Drop for Witness {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn clear_drops_ready_and_waiting_tasks() {
        let dropped = Rc::new(RefCell::new(Vec::new()));
        let mut executor = Executor::new(|| {}).with_live_tasks();
        let spawner = executor.spawner();
        let mut completers = Vec::new();
        for number in 0..5 {
            let witness = Witness(number, dropped.clone());
            let (completer, completion) = completion::<()>();
            completers.push(completer);
            spawner
                .spawn(async move {
                    let _witness = witness;
                    completion.await;
                })
                .detach();
        }
        assert_eq!(executor.run(3), 3);
        completers.remove(1).complete(());
        executor.clear();
        assert!(!executor.has_ready());
        let mut dropped = dropped.borrow().clone();
        dropped.sort_unstable();
        assert_eq!(dropped, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_task_that_holds_its_own_waker_is_dropped() {
        let dropped = Rc::new(RefCell::new(Vec::new()));
        let mut executor = Executor::new(|| {}).with_live_tasks();
        let witness = Witness(7, dropped.clone());
        let waits = async move {
            let _witness = witness;
            let (completer, completion) = completion::<()>();
            drop(completer);
            completion.await;
        };
        executor.spawner().spawn(waits).detach();
        assert_eq!(executor.run(10), 1);
        executor.clear();
        assert_eq!(*dropped.borrow(), [7]);
    }

    #[test]
    fn an_ended_task_leaves_the_list() {
        let mut executor = Executor::new(|| {}).with_live_tasks();
        executor.spawner().spawn(async {}).detach();
        executor.run(1);
        assert!(executor.queue.live().is_some_and(|live| live.wakers.is_empty()));
    }
}
