use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use quarry_env::OpenMode;
use rustix::fs::{FlockOperation, flock};

use super::{create, directory, pattern, read, run, run_with};
use crate::disk_open::Terms;
use crate::{Core, CoreConfig};

fn impatient() -> CoreConfig {
    CoreConfig { lock_wait: Duration::from_millis(50), ..CoreConfig::default() }
}

#[test]
fn a_disk_that_another_description_holds_is_refused_in_time() {
    let directory = directory();
    let path = directory.path().join("disk");
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let holder = File::open(&path).expect("the file");
    flock(&holder, FlockOperation::LockExclusive).expect("the lock");
    let error = run_with(impatient(), |env| async move {
        env.disks.open(&path, OpenMode::Probe).await.expect("looking takes no lock");
        env.disks.open(&path, OpenMode::Exclusive).await.err().expect("the lock is held")
    });
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn a_lock_that_becomes_free_is_taken() {
    let directory = directory();
    let path = directory.path().join("disk");
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let holder = File::open(&path).expect("the file");
    flock(&holder, FlockOperation::LockExclusive).expect("the lock");
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(holder);
    });
    let waited = run(|env| async move {
        let start = env.clock.now();
        env.disks.open(&path, OpenMode::Exclusive).await.expect("the lock became free");
        env.clock.now() - start
    });
    assert!(waited >= Duration::from_millis(150), "{waited:?}");
    release.join().expect("the holder");
}

/// Cores of one process share the lock, also when they open at the same moment; it ends with the last of them.
#[test]
fn cores_of_one_process_share_the_lock() {
    let directory = directory();
    let path = directory.path().join("disk");
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let (ready, all_ready) = async_channel::bounded(4);
    let (release, released) = async_channel::bounded::<()>(1);
    let cores: Vec<_> = (0..4u64)
        .map(|index| {
            let (path, ready, released) = (path.clone(), ready.clone(), released.clone());
            let main = move |env: quarry_env::Env| async move {
                let disk = env.disks.open(&path, OpenMode::Exclusive).await.expect("the shared lock");
                disk.write(index * 4096, vec![pattern(&env, 4096, index)]).await.expect("a write");
                ready.send(()).await.expect("the test waits");
                let _ = released.recv().await;
            };
            Core::start("lock", 0, &impatient(), main).expect("a core")
        })
        .collect();
    (0..4).for_each(|_| all_ready.recv_blocking().expect("each core opens the disk"));
    let other = File::open(&path).expect("the file");
    assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err(), "held by the cores");
    drop(release);
    cores.into_iter().for_each(|core| core.join().expect("the core"));
    // The kernel lets go when the rings' own references have gone, which is not at once.
    let deadline = Instant::now() + Duration::from_secs(5);
    while flock(&other, FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "the lock outlives its cores");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The environment variable that makes this test binary a process which writes to a disk until it is killed.
const VICTIM_DISK: &str = "QUARRY_ENV_LINUX_VICTIM_DISK";

fn start_victim(path: &Path) -> (Child, ChildStdin) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "tests::locks::victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM_DISK, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let stdin = child.stdin.take().expect("a pipe");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let running = lines.map_while(Result::ok).any(|line| line.contains("victim writes"));
    assert!(running, "the second process writes");
    (child, stdin)
}

/// Not a test of its own: what [`a_killed_process_keeps_the_lock_until_its_writes_have_ended`] starts and kills.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM_DISK) else { return };
    run(|env| async move {
        let disk = env.disks.open(path.as_ref(), OpenMode::Exclusive).await.expect("the disk");
        let data = pattern(&env, 1 << 20, 1);
        disk.write(0, vec![data.clone()]).await.expect("a write");
        println!("\nvictim writes");
        std::io::stdout().flush().expect("a pipe");
        loop {
            let writes = (0..64u64).map(|index| disk.write(index << 20, vec![data.clone()]));
            let _ = futures::future::join_all(writes.collect::<Vec<_>>()).await;
        }
    });
}

#[test]
fn a_killed_process_keeps_the_lock_until_its_writes_have_ended() {
    let directory = directory();
    let path = directory.path().join("disk");
    let file = File::create(&path).expect("a file");
    file.set_len(64 << 20).expect("space");
    drop(file);
    for round in 0..5u64 {
        let (mut victim, _stdin) = start_victim(&path);
        let held = path.clone();
        let refused =
            run_with(
                impatient(),
                |env| async move { env.disks.open(&held, OpenMode::Exclusive).await.is_err() },
            );
        assert!(refused, "the victim holds the lock");
        victim.kill().expect("SIGKILL");
        let disk = path.clone();
        run(move |env| async move {
            let disk = env.disks.open(&disk, OpenMode::Exclusive).await.expect("the lock of a dead process");
            let ours = pattern(&env, 4096, 1000 + round);
            for index in 0..64u64 {
                disk.write(index << 20, vec![ours.clone()]).await.expect("a write");
            }
            env.clock.sleep(Duration::from_millis(100)).await;
            for index in 0..64u64 {
                assert_eq!(read(&env, &disk, index << 20, 4096).await, ours.to_vec(), "a late write landed");
            }
        });
        victim.wait().expect("it is dead");
    }
}

#[test]
fn a_new_disk_is_locked_and_can_be_opened_again_by_the_process() {
    let directory = directory();
    let path = directory.path().join("disk");
    run(|env| async move {
        let first = create(&env, path.clone(), 1 << 20).await;
        let second = env.disks.open(&path, OpenMode::Exclusive).await.expect("shares the lock");
        first.write(0, vec![pattern(&env, 4096, 7)]).await.expect("a write");
        drop(first);
        assert_eq!(read(&env, &second, 0, 4096).await, pattern(&env, 4096, 7).to_vec());
        let other = File::open(&path).expect("the file");
        assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
        env.disks.remove(&path).expect("the file");
        assert!(!env.disks.exists(&path));
    });
}

/// What a request holds is the file; when no disk uses that any more, it is waited for.
#[test]
fn a_file_whose_requests_have_not_ended_is_not_shared_after_its_disks_are_closed() {
    let directory = directory();
    let path = directory.path().join("disk");
    std::fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let terms = Terms { lock_wait: Duration::from_millis(50), wants_direct: true };
    let open = || crate::disk_open::open(&path, OpenMode::Exclusive, terms);
    let (first, second) = (open().expect("nobody has it"), open().expect("cores share it"));
    let request = first.file.file().clone();
    drop(first);
    drop((second, open().expect("one disk is left")));
    let error = open().err().expect("a request is on its way");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(request);
    open().expect("it has ended");
}
