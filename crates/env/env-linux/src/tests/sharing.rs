use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use quarry_env::{Address, Env, PeerFile, SharedMemory, Sharing, Stream};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};

use super::{directory, run};

fn sharing(env: &Env) -> &dyn Sharing {
    env.network.sharing().expect("Linux shares memory")
}

fn peer_file(file: OwnedFd) -> PeerFile {
    PeerFile(Box::new(file))
}

/// An eventfd as a peer has it and as it gives it away.
fn signal_pair() -> (OwnedFd, PeerFile) {
    let ours = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
    let given = ours.try_clone().expect("a descriptor");
    (ours, peer_file(given))
}

fn give(event: &OwnedFd) {
    rustix::io::write(event, &1u64.to_ne_bytes()).expect("room in the count");
}

fn taken(event: &OwnedFd) -> Option<u64> {
    let mut count = [0; 8];
    rustix::io::read(event, &mut count).ok().map(|_| u64::from_ne_bytes(count))
}

fn bytes(memory: &Rc<dyn SharedMemory>) -> Vec<u8> {
    // SAFETY: no other process has the memory in these tests, and nobody writes while it is copied.
    unsafe { std::slice::from_raw_parts(memory.start().as_ptr(), memory.length()) }.to_vec()
}

async fn pause_shortly(env: &Env) {
    env.clock.sleep(Duration::from_micros(200)).await;
}

async fn pause(env: &Env) {
    env.clock.sleep(Duration::from_millis(20)).await;
}

#[test]
fn signals_arrive_once_however_many_there_were() {
    run(|env| async move {
        let (peer, file) = signal_pair();
        give(&peer);
        let event = sharing(&env).event(file).expect("an eventfd");
        event.wait().await.expect("what was there before is seen");
        for _ in 0..3 {
            let mut waiting = event.wait();
            pause(&env).await;
            assert!((&mut waiting).now_or_never().is_none(), "nobody has signalled");
            give(&peer);
            give(&peer);
            waiting.await.expect("a signal");
            // The second one may have come behind the first.
            pause(&env).await;
            let _ = event.wait().now_or_never();
        }
        assert_eq!(taken(&peer), Some(7), "the count is left alone");
    });
}

#[test]
fn the_peer_gets_our_signals_and_cannot_make_us_wait() {
    run(|env| async move {
        let (peer, file) = signal_pair();
        let event = sharing(&env).event(file).expect("an eventfd");
        (0..10).for_each(|_| event.signal());
        pause(&env).await;
        assert_eq!(taken(&peer), Some(2), "one on its way, and one for all that came meanwhile");
        // A count at its end, and a file on which writes wait.
        rustix::io::write(&peer, &(u64::MAX - 1).to_ne_bytes()).expect("room in the count");
        rustix::fs::fcntl_setfl(&peer, rustix::fs::OFlags::empty()).expect("it can be changed");
        (0..10).for_each(|_| event.signal());
        pause(&env).await;
        drop(event);
        // The core goes on, and at its end it does not wait for the peer.
    });
}

/// Peers that let no signal through: what waits for them is bounded, and a last signal to others still arrives.
#[test]
fn signals_that_cannot_be_given_do_not_pile_up() {
    run(|env| async move {
        let mut peers = Vec::new();
        for _ in 0..300 {
            let (peer, file) = signal_pair();
            rustix::io::write(&peer, &(u64::MAX - 1).to_ne_bytes()).expect("room in the count");
            rustix::fs::fcntl_setfl(&peer, rustix::fs::OFlags::empty()).expect("it can be changed");
            let event = sharing(&env).event(file).expect("an eventfd");
            event.signal();
            pause_shortly(&env).await;
            drop(event);
            peers.push(peer);
        }
        pause(&env).await;
        // Those that are cut off are closed here; 64 others may still be open.
        let open = std::fs::read_dir("/proc/self/fd").expect("a list").count();
        assert!(open < 300 + 200, "{open}");
        let (peer, file) = signal_pair();
        let event = sharing(&env).event(file).expect("an eventfd");
        event.signal();
        drop(event);
        pause(&env).await;
        assert_eq!(taken(&peer), Some(1), "the write was done at once");
    });
}

#[test]
fn files_travel_with_bytes_and_become_memory() {
    let directory = directory();
    run(move |env| async move {
        let address = Address::Unix(directory.path().join("socket"));
        let listener = env.network.listen(&address).await.expect("a listener");
        let client = env.network.connect(&address).await.expect("a connection");
        let (server, _) = listener.accept().await.expect("a connection");
        let (file, ours) = sharing(&env).create(10_000).expect("memory");
        assert!(bytes(&ours).iter().all(|&byte| byte == 0));
        client.send_with_file(env.buffers.copy_of(b"hello"), file).await.expect("sent");
        let (buffer, received) = server.receive_with_files(env.buffers.allocate(100), 0).await;
        let (count, mut files) = received.expect("received");
        assert_eq!((&buffer[..count], files.len()), (&b"hello"[..], 1));
        let file = files.remove(0);
        let theirs = sharing(&env).map(&file, 4096 + 5, 100).expect("the same memory");
        // SAFETY: both are mapped, and nobody else uses them.
        unsafe { ours.start().add(4096 + 5).write(77) };
        assert_eq!(bytes(&theirs)[0], 77);
        for (offset, length) in [(0, 10_001), (10_000, 1), (u64::MAX, 2), (0, 0)] {
            assert!(sharing(&env).map(&file, offset, length).is_err(), "{length} bytes at {offset}");
        }
        client.send(vec![env.buffers.copy_of(b"plain")]).await.expect("sent");
        let (_, received) = server.receive_with_files(env.buffers.allocate(100), 0).await;
        assert!(received.is_ok_and(|(count, files)| count == 5 && files.is_empty()));
    });
}

#[test]
fn only_memory_is_mapped_and_only_an_eventfd_signals() {
    let directory = directory();
    run(move |env| async move {
        let on_disk = std::fs::File::create_new(directory.path().join("file")).expect("a file");
        on_disk.set_len(1 << 20).expect("room");
        let file = peer_file(OwnedFd::from(on_disk));
        let error = sharing(&env).map(&file, 0, 4096).map(drop).expect_err("it is on a disk");
        assert!(error.to_string().contains("memfd"), "{error}");
        let error = sharing(&env).event(file).map(drop).expect_err("no eventfd");
        assert!(error.to_string().contains("eventfd"), "{error}");
    });
}

#[test]
fn memory_that_the_peer_takes_away_becomes_zeroes() {
    run(|env| async move {
        let theirs = memfd_create("peer", MemfdFlags::CLOEXEC).expect("a file");
        rustix::fs::ftruncate(&theirs, 1 << 20).expect("room");
        let file = peer_file(theirs.try_clone().expect("a descriptor"));
        let (lost, other) = (sharing(&env).map(&file, 0, 1 << 20), sharing(&env).create(4096));
        let (lost, (_, other)) = (lost.expect("memory"), other.expect("memory"));
        // SAFETY: mapped, and nobody else uses it.
        unsafe { lost.start().write_bytes(9, 1 << 20) };
        rustix::fs::ftruncate(&theirs, 4096).expect("shorter");
        assert!(bytes(&lost)[4096..].iter().all(|&byte| byte == 0));
        assert!(lost.is_lost() && !other.is_lost());
        // SAFETY: zero pages have taken the place of the file's.
        unsafe { lost.start().write_bytes(9, 1 << 20) };
        drop(lost);
        let again = sharing(&env).map(&file, 0, 4096).expect("what is left of it");
        assert!(!again.is_lost());
        assert_eq!(bytes(&again).len(), 4096);
    });
}
