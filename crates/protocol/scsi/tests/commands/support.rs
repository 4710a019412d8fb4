//! A world with one volume and as many initiators as a test wants.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use quarry_env::{BufferPool, Executor};
use quarry_scsi::{
    Accepted, Cdb, Code, Course, Identity, Lun, Nexus, Node, Port, Reply, SoftThreshold, Status, Units,
};
use quarry_target::{
    Access, Audience, Fabric, Host, Initiator, Mapping, ReservationState, ReservationStore, Reservations,
    StoreError, Volumes,
};
use quarry_types::VolumeId;
use quarry_volume::Volume;

use super::volume::MemoryVolume;

/// Blocks of the volume.
pub const BLOCKS: u64 = 4096;

struct One(Rc<MemoryVolume>);

impl Volumes for One {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        (self.0.info().id == id).then(|| self.0.clone() as Rc<dyn Volume>)
    }
}

struct Kept;

impl ReservationStore for Kept {
    fn save(&self, _: VolumeId, _: ReservationState) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Turns of the executor after which a command should have ended.
const TURNS_MAX: usize = 64;

/// The sessions of a transport, as far as commands need them.
pub struct Sessions {
    executor: RefCell<Executor>,
    nexuses: RefCell<Vec<Weak<Nexus>>>,
}

impl Sessions {
    /// Every session says that it has nothing under way, and tasks run.
    pub fn turn(&self) {
        let nexuses: Vec<Rc<Nexus>> = self.nexuses.borrow().iter().filter_map(Weak::upgrade).collect();
        nexuses.iter().flat_map(|nexus| nexus.units()).for_each(|unit| drop(unit.take_settles()));
        self.run();
    }

    /// Tasks run.
    pub fn run(&self) {
        self.executor.borrow_mut().run(TURNS_MAX);
    }
}

fn mapping(volume: &MemoryVolume, number: u32) -> Mapping {
    Mapping {
        export: format!("disk-{number}"),
        fabric: Fabric::Iscsi,
        audience: Audience::Everyone,
        number,
        volume: volume.info(),
        core: 0,
        read_only: false,
    }
}

pub struct World {
    pub volume: Rc<MemoryVolume>,
    pub access: Access,
    pub sessions: Rc<Sessions>,
    node: Node,
}

impl World {
    pub fn new() -> Self {
        let buffers = BufferPool::default();
        let volume = MemoryVolume::new(buffers.clone(), "disk", 7, BLOCKS * 512);
        let access = Access::default();
        access.map(mapping(&volume, 0)).expect("a free number");
        let units = Units::new(Reservations::new(Arc::new(Kept)));
        let volumes = Rc::new(One(volume.clone()));
        let executor = Executor::new(|| ());
        let spawner = executor.spawner();
        let node = Node { access: access.clone(), fabric: Fabric::Iscsi, volumes, units, buffers, spawner };
        let sessions = Sessions { executor: RefCell::new(executor), nexuses: RefCell::default() };
        Self { volume, access, sessions: Rc::new(sessions), node }
    }

    /// A nexus that has nothing to tell any more.
    pub fn initiator(&self, name: &str) -> Client {
        let client = self.newcomer(name);
        assert_eq!(client.code(&[0; 6], &[]), Some(Code::POWER_ON));
        client
    }

    /// The volume under one more number.
    pub fn map(&self, number: u32) {
        self.access.map(mapping(&self.volume, number)).expect("a free number");
    }

    /// The pool behind the volume is that full.
    pub fn note_threshold(&self, used_bytes: u64, is_reached: bool) {
        let id = self.volume.info().id;
        self.node.units.note_threshold(id, SoftThreshold { used_bytes, is_reached });
    }

    /// A new nexus.
    pub fn newcomer(&self, name: &str) -> Client {
        self.nexus(name, None)
    }

    /// A new nexus that has proven to be `host`.
    pub fn proven(&self, name: &str, host: Host) -> Client {
        self.nexus(name, Some(Arc::new(host)))
    }

    fn nexus(&self, name: &str, host: Option<Arc<Host>>) -> Client {
        let registrant = Initiator(format!("{name},i,0x000000000001").into());
        let identity = Identity { name: name.to_owned(), address: None, registrant, host };
        let port = Port {
            device_name: "iqn.t".to_owned(),
            name: "iqn.t,t,0x0001".to_owned(),
            relative_id: 1,
            group: 1,
        };
        let nexus = Nexus::new(self.node.clone(), identity, port);
        self.sessions.nexuses.borrow_mut().push(Rc::downgrade(&nexus));
        Client { nexus, buffers: self.node.buffers.clone(), sessions: self.sessions.clone() }
    }
}

pub struct Client {
    pub nexus: Rc<Nexus>,
    buffers: BufferPool,
    sessions: Rc<Sessions>,
}

impl Client {
    /// A command with data for unit 0; its answer.
    pub fn send(&self, bytes: &[u8], data: &[u8]) -> Reply {
        self.send_to(0, bytes, data)
    }

    pub fn send_to(&self, unit: u32, bytes: &[u8], data: &[u8]) -> Reply {
        let mut cdb = Cdb::default();
        cdb.0[..bytes.len()].copy_from_slice(bytes);
        match self.nexus.accept(Lun::of(unit), &cdb, data.len() as u32) {
            Accepted::Answered(reply) => reply,
            Accepted::Task(task) => {
                let wanted = (task.out_bytes() as usize).min(data.len());
                let data = (wanted > 0).then(|| self.buffers.copy_of(&data[..wanted]));
                self.end(task.perform(data))
            }
        }
    }

    /// The answer of a command that nothing holds up.
    pub fn end(&self, mut work: LocalBoxFuture<'static, Reply>) -> Reply {
        for _ in 0..TURNS_MAX {
            if let Some(reply) = (&mut work).now_or_never() {
                return reply;
            }
            self.sessions.turn();
        }
        panic!("the volume does not wait");
    }

    /// Begins a command of many steps, with data, for unit 0.
    pub fn begin(&self, bytes: &[u8], data: &[u8]) -> (Rc<Course>, LocalBoxFuture<'static, Reply>) {
        let mut cdb = Cdb::default();
        cdb.0[..bytes.len()].copy_from_slice(bytes);
        let Accepted::Task(task) = self.nexus.accept(Lun::of(0), &cdb, data.len() as u32) else {
            panic!("{bytes:x?} has work to do");
        };
        let course = task.course().expect("it has steps");
        let data = (!data.is_empty()).then(|| self.buffers.copy_of(data));
        (course, task.perform(data))
    }

    /// The data of a command that goes well.
    pub fn data(&self, bytes: &[u8]) -> Vec<u8> {
        let reply = self.send(bytes, &[]);
        assert_eq!(reply.status, Status::Good, "{bytes:x?}: {:?}", reply.sense);
        reply.data.iter().flat_map(|view| view.iter().copied()).collect()
    }

    /// Why a command is refused; nothing for one that goes well.
    pub fn code(&self, bytes: &[u8], data: &[u8]) -> Option<Code> {
        let reply = self.send(bytes, data);
        assert_eq!(reply.sense.is_none(), reply.status != Status::CheckCondition);
        reply.sense.map(|sense| sense.code)
    }

    /// How a command ends.
    pub fn status(&self, bytes: &[u8], data: &[u8]) -> Status {
        self.send(bytes, data).status
    }
}

/// EXTENDED COPY of `blocks` from block 0 to `lba` of the same volume, and its list, whose identifier is 5.
pub fn copy_command(volume: VolumeId, lba: u64, blocks: u16) -> ([u8; 16], Vec<u8>) {
    let mut list = vec![5, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
    list.extend_from_slice(&[0xE4, 0, 0, 0, 1, 3, 0, 16]);
    list.extend_from_slice(&quarry_scsi::naa(volume));
    list.extend_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0]);
    list.extend_from_slice(&[2, 0, 0, 24, 0, 0, 0, 0, 0, 0]);
    list.extend_from_slice(&blocks.to_be_bytes());
    list.extend_from_slice(&[0; 8]);
    list.extend_from_slice(&lba.to_be_bytes());
    let mut command = [0; 16];
    (command[0], command[13]) = (0x83, list.len() as u8);
    (command, list)
}

/// A command of 16 bytes with the usual places of address and length.
pub fn long(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
