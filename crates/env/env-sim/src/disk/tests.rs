//! What disks promise, and each way in which they break it.

mod contract;
mod crash;
mod faults;
mod files;
mod kill;

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Disk, OpenMode};

use crate::{Config, DiskId, DiskSpec, Process, World};

const MINUTE: Duration = Duration::from_secs(60);
const PATH: &str = "/dev/a";

/// A world with one disk that one process has open, and its operations one by one.
struct Bench {
    world: World,
    process: Process,
    id: DiskId,
    disk: Rc<dyn Disk>,
}

impl Bench {
    fn new(seed: u64, spec: DiskSpec) -> Self {
        let world = World::new(seed, Config::default());
        let id = world.add_disk(PATH, spec);
        let process = world.process(1);
        let disk = open(&world, &process, PATH, OpenMode::Exclusive).unwrap();
        Self { world, process, id, disk }
    }

    fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.process, 0, future, MINUTE).unwrap()
    }

    fn run_long<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.world.block_on(&self.process, 0, future, 60 * MINUTE).unwrap()
    }

    fn write(&self, offset: u64, byte: u8, length: usize) -> io::Result<()> {
        let mut buffer = self.process.env(0).buffers.allocate(length);
        buffer.fill(byte);
        self.run(self.disk.write(offset, vec![buffer.freeze()]))
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let buffer = self.process.env(0).buffers.allocate(length);
        let (buffer, result) = self.run(self.disk.read(offset, buffer));
        result.map(|()| buffer.to_vec())
    }

    fn flush(&self) -> io::Result<()> {
        self.run(self.disk.flush())
    }

    fn peek(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.world.peek(self.id, offset, &mut bytes);
        bytes
    }

    /// Another process, after the death of the first one, with the disk open.
    fn restart(mut self) -> Self {
        self.process = self.world.process(1);
        self.disk = open(&self.world, &self.process, PATH, OpenMode::Exclusive).unwrap();
        self
    }
}

fn open(world: &World, process: &Process, path: &str, mode: OpenMode) -> io::Result<Rc<dyn Disk>> {
    let env = process.env(0);
    let path = path.to_owned();
    let opened = async move { env.disks.open(Path::new(&path), mode).await };
    world.block_on(process, 0, opened, MINUTE).unwrap()
}

/// Whether all bytes are this one.
fn all(bytes: &[u8], byte: u8) -> bool {
    bytes.iter().all(|&other| other == byte)
}
