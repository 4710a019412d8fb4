//! A host: an initiator at each end of a wire, and the commands that everybody needs.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use quarry_nvme::ANY_CONTROLLER;
use quarry_nvme_wire::constants::{admin, fabrics, io};
use quarry_nvme_wire::pdu::Link;
use quarry_nvme_wire::{CommandBuilder, Status, connect_data};

use super::initiator::{Answer, Data, Initiator};
use super::stage::Wire;
use super::world::World;

pub const PLAIN: Link = Link { header_digest: false, data_digest: false, host_alignment: 0 };
pub const DIGESTS: Link = Link { header_digest: true, data_digest: true, host_alignment: 0 };
pub const NQN: &str = "nqn.2026-11.io.quarry:node";
pub const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";
pub const HOST: &str = "nqn.2026-11.test:host";
pub const HOST_ID: [u8; 16] = [7; 16];
/// CC as Linux sets it.
pub const ENABLE: u32 = 1 | 6 << 16 | 4 << 20;

/// A connection and what speaks over it.
pub struct Queue {
    pub wire: Rc<Wire>,
    initiator: Initiator,
}

impl Deref for Queue {
    type Target = Initiator;

    fn deref(&self) -> &Initiator {
        &self.initiator
    }
}

impl DerefMut for Queue {
    fn deref_mut(&mut self) -> &mut Initiator {
        &mut self.initiator
    }
}

/// What a host says when it opens a queue.
#[derive(Clone)]
pub struct Opening<'a> {
    pub link: Link,
    pub subsystem: &'a str,
    pub host: &'a str,
    pub host_id: [u8; 16],
    pub controller: u16,
    pub queue: u16,
    pub entries: u16,
    pub keep_alive_ms: u32,
    pub without_flow_control: bool,
}

impl Default for Opening<'_> {
    fn default() -> Self {
        Self {
            link: PLAIN,
            subsystem: NQN,
            host: HOST,
            host_id: HOST_ID,
            controller: ANY_CONTROLLER,
            queue: 0,
            entries: 32,
            keep_alive_ms: 0,
            without_flow_control: false,
        }
    }
}

impl Queue {
    /// A connection that has negotiated its digests.
    pub fn negotiated(world: &mut World, link: Link) -> Self {
        let mut queue = Self { wire: world.connect(), initiator: Initiator::new(link) };
        queue.turn(world);
        assert!(queue.link.is_some(), "ICResp came");
        queue
    }

    /// Opens a queue; how the controller answers.
    pub fn open(world: &mut World, opening: &Opening<'_>) -> (Self, Answer) {
        let mut queue = Self::negotiated(world, opening.link);
        let Opening { queue: number, entries, keep_alive_ms, without_flow_control, .. } = *opening;
        let data = connect_data(opening.host_id, opening.controller, opening.subsystem, opening.host);
        let command = CommandBuilder::fabrics(fabrics::CONNECT, 0)
            .dword(10, u32::from(number) << 16)
            .dword(11, u32::from(entries - 1) | u32::from(without_flow_control) << 18)
            .dword(12, keep_alive_ms);
        let answer = queue.ask(world, command, Data::Capsule(data));
        (queue, answer)
    }

    /// Moves bytes until nothing moves any more.
    pub fn turn(&mut self, world: &mut World) {
        loop {
            let output = self.initiator.take_output();
            let quiet = output.is_empty();
            self.wire.write(&output);
            world.run();
            let input = self.wire.read();
            if quiet && input.is_empty() {
                return;
            }
            self.initiator.receive(&input);
        }
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, world: &mut World, command: CommandBuilder, data: Data) -> Answer {
        let id = self.submit(command, data);
        self.turn(world);
        self.take_answer(id).unwrap_or_else(|| panic!("no answer; ended by {:?}", self.termination))
    }

    /// The same for a command without data, of which only the status matters.
    pub fn status(&mut self, world: &mut World, command: CommandBuilder) -> Status {
        self.ask(world, command, Data::None).status
    }

    pub fn property(&mut self, world: &mut World, at: u32) -> u64 {
        let wide = u8::from(at == 0);
        let command = CommandBuilder::fabrics(fabrics::PROPERTY_GET, 0).byte(40, wide).dword(11, at);
        let answer = self.ask(world, command, Data::None);
        assert_eq!(answer.status, Status::SUCCESS);
        answer.result
    }

    pub fn set_property(&mut self, world: &mut World, at: u32, value: u32) -> Status {
        self.status(world, CommandBuilder::fabrics(fabrics::PROPERTY_SET, 0).dword(11, at).dword(12, value))
    }

    pub fn identify(&mut self, world: &mut World, what: u32, namespace: u32) -> Answer {
        let command = CommandBuilder::new(admin::IDENTIFY, 0).namespace(namespace).dword(10, what);
        self.ask(world, command, Data::In(4096))
    }

    pub fn log(&mut self, world: &mut World, log: u8, length: usize, offset: u64, retain: bool) -> Answer {
        let dwords = (length / 4 - 1) as u32;
        let ten = u32::from(log) | u32::from(retain) << 15 | dwords << 16;
        let command = CommandBuilder::new(admin::GET_LOG_PAGE, 0)
            .namespace(u32::MAX)
            .dword(10, ten)
            .dword(11, dwords >> 16)
            .double_dword(12, offset);
        self.ask(world, command, Data::In(length))
    }

    pub fn set_feature(&mut self, world: &mut World, feature: u8, value: u32) -> Answer {
        let command = CommandBuilder::new(admin::SET_FEATURES, 0).dword(10, feature.into()).dword(11, value);
        self.ask(world, command, Data::None)
    }

    pub fn feature(&mut self, world: &mut World, feature: u8, argument: u32) -> Answer {
        let command =
            CommandBuilder::new(admin::GET_FEATURES, 0).dword(10, feature.into()).dword(11, argument);
        self.ask(world, command, Data::None)
    }

    pub fn read(&mut self, world: &mut World, namespace: u32, block: u64, blocks: u32) -> Answer {
        self.ask(world, ranged(io::READ, namespace, block, blocks), Data::In(blocks as usize * 512))
    }

    pub fn write(&mut self, world: &mut World, namespace: u32, block: u64, data: Data) -> Answer {
        let bytes = match &data {
            Data::Capsule(bytes) | Data::Out(bytes) => bytes.len(),
            _ => panic!("a write has data"),
        };
        self.ask(world, ranged(io::WRITE, namespace, block, (bytes / 512) as u32), data)
    }
}

/// A command with a range of blocks.
pub fn ranged(opcode: u8, namespace: u32, block: u64, blocks: u32) -> CommandBuilder {
    CommandBuilder::new(opcode, 0).namespace(namespace).double_dword(10, block).dword(12, blocks - 1)
}

/// Bytes that say where they belong.
pub fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 512) as u8 ^ (at as u8).wrapping_mul(31) ^ seed).collect()
}

/// A controller with one I/O queue.
pub struct Host {
    pub admin: Queue,
    pub io: Queue,
    pub controller: u16,
}

impl Host {
    /// Connects with default settings.
    pub fn new(world: &mut World) -> Self {
        Self::with(world, &Opening::default())
    }

    /// Connects as `opening` says.
    pub fn with(world: &mut World, opening: &Opening<'_>) -> Self {
        let (mut admin, answer) = Queue::open(world, opening);
        assert_eq!(answer.status, Status::SUCCESS);
        let controller = answer.result as u16;
        assert_eq!(admin.set_property(world, 0x14, ENABLE), Status::SUCCESS);
        let io = Self::open_io(world, opening, controller, 1);
        Self { admin, io, controller }
    }

    /// Opens another I/O queue.
    pub fn open_io(world: &mut World, opening: &Opening<'_>, controller: u16, queue: u16) -> Queue {
        let (io, answer) = Queue::open(world, &Opening { controller, queue, ..opening.clone() });
        assert_eq!(answer.status, Status::SUCCESS);
        io
    }
}
