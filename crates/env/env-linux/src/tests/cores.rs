use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use quarry_env::{completion, yield_now};

use super::run;
use crate::{Core, CoreConfig, SpawnError};

#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_not_early() {
    run(|env| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = env.clock.now();
        let sleeps = [30u64, 10, 20, 10, 0].into_iter().enumerate().map(|(index, delay_ms)| {
            let (env, order) = (env.clone(), order.clone());
            async move {
                env.clock.sleep(Duration::from_millis(delay_ms)).await;
                assert!(env.clock.now() - start >= Duration::from_millis(delay_ms));
                order.borrow_mut().push(index);
            }
        });
        join_all(sleeps.map(|sleep| env.spawner.spawn(sleep)).collect::<Vec<_>>()).await;
        assert_eq!(*order.borrow(), [4, 1, 3, 2, 0]);
        assert!(env.clock.now() - start < Duration::from_millis(500));
    });
}

#[test]
fn clocks_agree_with_the_system() {
    run(|env| async move {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert!(env.clock.wall() >= wall && env.clock.wall() - wall < Duration::from_secs(5));
    });
}

/// Every call from a foreign thread is answered, whether the core sleeps or works.
#[test]
fn remote_calls_wake_the_core_and_none_is_lost() {
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let core = Core::start("remote", 0, &CoreConfig::default(), |_| async move {
        let _ = stopped.recv().await;
    })
    .expect("a core");
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let remote = core.remote();
            std::thread::spawn(move || {
                for index in 0..2000 {
                    let call = remote.call(move |env| async move {
                        if index % 3 == 0 {
                            yield_now().await;
                        }
                        if index % 500 == 0 {
                            env.clock.sleep(Duration::from_millis(1)).await;
                        }
                        thread * index
                    });
                    assert_eq!(futures::executor::block_on(call), Ok(thread * index));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("all calls are answered"));
    drop(stop);
    let remote = core.remote();
    core.join().expect("a core");
    assert_eq!(remote.spawn(|_| async {}), Err(SpawnError::Ended));
    assert_eq!(futures::executor::block_on(remote.call(|_| async { 1 })), Err(SpawnError::Ended));
}

/// Two cores play ping-pong; each sleeps while the other works.
#[test]
fn channels_carry_messages_between_cores() {
    const ROUNDS: u64 = 20_000;
    let (there, receive_there) = async_channel::bounded(1);
    let (back, receive_back) = async_channel::bounded(1);
    let answering = Core::start("answer", 1, &CoreConfig::default(), |_| async move {
        while let Ok(number) = receive_there.recv().await {
            back.send(number + 1).await.expect("the other core waits");
        }
    })
    .expect("a core");
    let start = Instant::now();
    run(|_| async move {
        for round in 0..ROUNDS {
            there.send(round).await.expect("the other core waits");
            assert_eq!(receive_back.recv().await, Ok(round + 1));
        }
    });
    answering.join().expect("a core");
    println!("{:?} a round trip", start.elapsed() / ROUNDS as u32);
}

/// Counts how often it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn tasks_that_are_left_are_dropped_with_their_core() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (held, keep) = async_channel::bounded::<()>(1);
    let count = dropped.clone();
    let leaked = run(move |env| async move {
        let sleeping = (env.clone(), Dropped(count.clone()));
        env.spawner
            .spawn(async move {
                let (env, _dropped) = sleeping;
                env.clock.sleep(Duration::from_secs(3600)).await;
            })
            .detach();
        // Waits for another thread, which holds its waker longer than the core lives.
        let waiting = (keep, Dropped(count.clone()));
        env.spawner
            .spawn(async move {
                let (keep, _dropped) = waiting;
                let _ = keep.recv().await;
            })
            .detach();
        // Waits for itself: nothing outside holds its waker.
        let (completer, forever) = completion::<()>();
        let waiting = (completer, forever, Dropped(count));
        env.spawner
            .spawn(async move {
                let (_completer, forever, _dropped) = waiting;
                forever.await;
            })
            .detach();
        yield_now().await;
        yield_now().await;
        held
    });
    assert_eq!(dropped.load(Ordering::SeqCst), 3);
    assert!(leaked.try_send(()).is_err(), "the receiver has been dropped");
}

#[test]
fn a_panic_ends_the_core_and_reaches_who_joins() {
    let core = Core::start("panic", 0, &CoreConfig::default(), |env| async move {
        drop(env.clock.sleep(Duration::from_secs(1)));
        yield_now().await;
        assert_eq!(1, 2, "on purpose");
    })
    .expect("a core");
    let remote = core.remote();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| core.join()));
    assert!(panic.is_err());
    assert_eq!(remote.spawn(|_| async {}), Err(SpawnError::Ended));
}

#[test]
fn a_pinned_core_stays_on_its_cpu() {
    let cpus = Mutex::new(Vec::new());
    for index in 0..2 {
        let config = CoreConfig { pin: true, ..CoreConfig::default() };
        let core = Core::start("pinned", index, &config, |_| async {
            let allowed = rustix::thread::sched_getaffinity(None).expect("a mask");
            allowed.count()
        });
        cpus.lock().expect("one thread").push(core.expect("a core").join().expect("a core"));
    }
    assert_eq!(*cpus.lock().expect("one thread"), [1, 1]);
}
