//! The real world, as far as a test machine has it: files in a temporary directory, loopback and unix sockets.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Disk, Env, OpenMode, View};

use crate::{CoreConfig, run_on_this_thread};

mod blocks;
mod cores;
mod disks;
mod locks;
mod pmem;
mod sharing;
mod sockets;

/// Runs `main` on a core of its own and fails when it does not come back.
fn run<T: Send + 'static, Fut: Future<Output = T> + 'static>(
    main: impl FnOnce(Env) -> Fut + Send + 'static,
) -> T {
    run_with(CoreConfig { lock_wait: Duration::from_secs(5), ..CoreConfig::default() }, main)
}

fn run_with<T: Send + 'static, Fut: Future<Output = T> + 'static>(
    config: CoreConfig,
    main: impl FnOnce(Env) -> Fut + Send + 'static,
) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = run_on_this_thread(&config, main).expect("a ring");
        sender.send(result).expect("the test waits");
    });
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Ok(result) => {
            thread.join().expect("the thread has sent its result");
            result
        }
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the core hangs"),
        Err(_) => std::panic::resume_unwind(thread.join().expect_err("it ended without a result")),
    }
}

/// A directory on a file system that does direct I/O, where the machine has one.
fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("quarry-env-linux-").tempdir_in("/var/tmp").expect("a directory")
}

async fn create(env: &Env, path: PathBuf, size_bytes: u64) -> Rc<dyn Disk> {
    env.disks.open(&path, OpenMode::Create { size_bytes }).await.expect("a new disk")
}

/// A view of `length` bytes that differ from place to place and by `seed`.
fn pattern(env: &Env, length: usize, seed: u64) -> View {
    let mut buffer = env.buffers.allocate(length);
    for (index, word) in buffer.chunks_mut(8).enumerate() {
        let value = (index as u64 ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
    buffer.freeze()
}

async fn read(env: &Env, disk: &Rc<dyn Disk>, offset: u64, length: usize) -> Vec<u8> {
    let (buffer, result) = disk.read(offset, env.buffers.allocate(length)).await;
    result.expect("the range is there");
    buffer.to_vec()
}
