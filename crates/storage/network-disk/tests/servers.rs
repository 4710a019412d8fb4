//! Real servers: nbdkit with filters and qemu-nbd, killed and started again while requests are in flight.
#![allow(clippy::disallowed_methods, reason = "this test makes files and runs servers")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use quarry_env::{Disk, Env, OpenMode};
use quarry_env_linux::{CoreConfig, run_on_this_thread};
use quarry_network_disk::{Host, RemoteStats, Remotes, with_network_disks};
use tempfile::TempDir;

const SIZE_BYTES: u64 = 64 << 20;

/// A server that dies with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server's command line, and where it listens.
struct Backend {
    directory: TempDir,
    arguments: Vec<String>,
    server: RefCell<Option<Server>>,
    remotes: Remotes,
}

impl Backend {
    /// `SOCKET` and `FILE` in the arguments stand for what they say.
    fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("disk");
        #[allow(clippy::disallowed_types, reason = "this test makes files")]
        fs::File::create(&file).and_then(|file| file.set_len(SIZE_BYTES)).expect("a file");
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        let backend = Self {
            directory,
            arguments,
            server: RefCell::default(),
            remotes: Remotes::new(1, Host::of_node([7; 16], "test")),
        };
        backend.restart();
        backend
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn restart(&self) {
        let _ = fs::remove_file(self.socket());
        let (socket, file) = (self.socket(), self.directory.path().join("disk"));
        let word = |word: &String| {
            word.replace("SOCKET", &socket.to_string_lossy()).replace("FILE", &file.to_string_lossy())
        };
        let words: Vec<String> = self.arguments.iter().map(word).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{} is needed: {error}", words[0]));
        *self.server.borrow_mut() = Some(Server(child));
        for _ in 0..1000 {
            #[allow(clippy::disallowed_types, reason = "this test looks whether a server listens")]
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} does not listen", words[0]);
    }

    fn kill(&self) {
        self.server.take();
    }

    fn uri(&self) -> PathBuf {
        PathBuf::from(format!("nbd+unix:///?socket={}", self.socket().display()))
    }

    async fn open(&self, env: &Env) -> Rc<dyn Disk> {
        with_network_disks(env, &self.remotes)
            .disks
            .open(&self.uri(), OpenMode::Exclusive)
            .await
            .expect("opened")
    }

    fn stats(&self) -> RemoteStats {
        self.remotes.stats()[0].1
    }
}

fn run<T: 'static, Fut: Future<Output = T> + 'static>(main: impl FnOnce(Env) -> Fut) -> T {
    run_on_this_thread(&CoreConfig::default(), main).expect("a ring")
}

fn content(version: u64, length: usize) -> Vec<u8> {
    version.to_le_bytes().repeat(length / 8)
}

/// Writes, reads, flushes and discards with many requests in flight, each worker in a part of its own.
async fn exercise(env: &Env, disk: &Rc<dyn Disk>, rounds: u64, answered: &Cell<u64>) -> io::Result<()> {
    const WORKERS: u64 = 16;
    let worker = async |worker: u64| -> io::Result<()> {
        let part_bytes = SIZE_BYTES / WORKERS;
        for round in 0..rounds {
            let length = [4096, 65_536, 1 << 20, 12_288][(round % 4) as usize];
            let offset = worker * part_bytes + round % 3 * (1 << 20);
            let version = worker << 32 | round;
            disk.write(offset, vec![env.buffers.copy_of(&content(version, length))]).await?;
            let (read, result) = disk.read(offset, env.buffers.allocate(length)).await;
            result?;
            assert!(read[..] == content(version, length)[..], "worker {worker}, round {round}");
            if round % 5 == worker % 5 {
                disk.flush().await?;
            }
            disk.discard(worker * part_bytes + (3 << 20), 1 << 20).await?;
            answered.set(answered.get() + 1);
        }
        Ok(())
    };
    join_all((0..WORKERS).map(worker)).await.into_iter().collect()
}

const NBDKIT: [&str; 5] = ["nbdkit", "--foreground", "--exit-with-parent", "--unix", "SOCKET"];
const QEMU_NBD: [&str; 8] = [
    "qemu-nbd",
    "--persistent",
    "--shared=8",
    "--format=raw",
    "--discard=unmap",
    "--socket",
    "SOCKET",
    "FILE",
];

#[test]
fn others_serve_what_we_write() {
    let policy = ["--filter=blocksize-policy", "--filter=delay", "file", "FILE", "blocksize-minimum=4096"];
    let delays =
        ["blocksize-maximum=524288", "blocksize-error-policy=error", "delay-write=3ms", "delay-read=1ms"];
    let memory = ["memory", "64M"];
    for (arguments, sector_bytes) in [
        ([&NBDKIT[..], &policy, &delays].concat(), 4096),
        ([&NBDKIT[..], &memory].concat(), 512),
        (QEMU_NBD.to_vec(), 512),
    ] {
        let backend = Backend::start(&arguments);
        run(async move |env| {
            let disk = backend.open(&env).await;
            assert_eq!(
                (disk.geometry().size_bytes, disk.geometry().sector_bytes),
                (SIZE_BYTES, sector_bytes)
            );
            let answered = Cell::new(0);
            exercise(&env, &disk, 12, &answered).await.expect("no error");
            assert_eq!((answered.get(), backend.stats().reconnects), (16 * 12, 0));
            // Larger than any server takes at once.
            let large = content(77, 40 << 20);
            disk.write(0, vec![env.buffers.copy_of(&large)]).await.expect("written in pieces");
            let (read, result) = disk.read(0, env.buffers.allocate(large.len())).await;
            result.expect("read in pieces");
            assert!(read[..] == large[..]);
        });
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_is_written_to_all_the_same() {
    let file = ["--filter=delay", "file", "FILE", "delay-write=2ms"];
    for arguments in [[&NBDKIT[..], &file].concat(), QEMU_NBD.to_vec()] {
        let backend = Rc::new(Backend::start(&arguments));
        run(async move |env| {
            let disk = backend.open(&env).await;
            let killing = {
                let (backend, env) = (backend.clone(), env.clone());
                env.clone().spawner.spawn(async move {
                    for _ in 0..6 {
                        env.clock.sleep(Duration::from_millis(150)).await;
                        backend.kill();
                        env.clock.sleep(Duration::from_millis(100)).await;
                        backend.restart();
                    }
                })
            };
            let answered = Cell::new(0);
            // In places that no connection has left anything on the way to: else they would wait for half a minute.
            let mut offset = 0;
            while backend.stats().reconnects < 5 {
                let length = 16_384;
                let writes = (0..8).map(|number| {
                    let at = (offset + number * length as u64) % (SIZE_BYTES / 2);
                    disk.write(at, vec![env.buffers.copy_of(&content(offset + number, length))])
                });
                for written in join_all(writes).await {
                    written.expect("written in the end");
                    answered.set(answered.get() + 1);
                }
                for number in 0..8 {
                    let at = (offset + number * length as u64) % (SIZE_BYTES / 2);
                    let (read, result) = disk.read(at, env.buffers.allocate(length)).await;
                    result.expect("read in the end");
                    assert!(read[..] == content(offset + number, length)[..]);
                }
                offset += 8 * length as u64;
            }
            killing.await;
            disk.flush().await.expect("flushed");
            let stats = backend.stats();
            println!("{} writes, {stats:?}", answered.get());
            assert!(stats.restored_writes > 0, "a restarted server gets again what it was not told to flush");
        });
    }
}

#[test]
fn errors_of_a_server_are_told() {
    let arguments =
        [&NBDKIT[..], &["--filter=error", "memory", "64M", "error=ENOSPC", "error-pwrite-rate=100%"]]
            .concat();
    let backend = Backend::start(&arguments);
    run(async move |env| {
        let disk = backend.open(&env).await;
        let error = disk.write(0, vec![env.buffers.copy_of(&[1; 512])]).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.read(0, env.buffers.allocate(512)).await.1.expect("reads go on");
    });
}

#[test]
fn what_is_not_served_is_said() {
    let backend = Backend::start(&[&NBDKIT[..], &["--readonly", "memory", "64M"]].concat());
    run(async move |env| {
        let env = with_network_disks(&env, &backend.remotes);
        let refused = env.disks.open(&backend.uri(), OpenMode::Exclusive).await;
        assert!(refused.err().expect("refused").to_string().ends_with("it is read-only"));
        env.disks.open(&backend.uri(), OpenMode::Probe).await.expect("it can be looked at");
        backend.kill();
        env.disks.open(&backend.uri(), OpenMode::Probe).await.err().expect("nobody is there");
        let nobody = env.disks.open(Path::new("nbd://127.0.0.1:1/x"), OpenMode::Exclusive).await;
        assert_eq!(nobody.err().expect("nobody is there").kind(), io::ErrorKind::ConnectionRefused);
    });
}
