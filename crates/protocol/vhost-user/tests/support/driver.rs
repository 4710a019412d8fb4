//! A machine with a virtio-blk driver: its memory, the front end of crate `vhost` for the control socket, and queues.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserInflight, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub const VERSION_1: u64 = 1 << 32;
pub const INDIRECT: u64 = 1 << 28;
pub const EVENT_INDEX: u64 = 1 << 29;
pub const FLUSH: u64 = 1 << 9;
/// All that the device offers.
pub const ALL: u64 = u64::MAX;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const TABLE: u16 = 4;

/// Kinds of requests.
pub mod kind {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

pub const QUEUES: usize = 4;
pub const QUEUE_SIZE: u16 = 256;
/// Requests of a queue that may be under way, each with descriptors of its own.
pub const SLOTS: u16 = 32;
const SLOT_DESCRIPTORS: u16 = QUEUE_SIZE / SLOTS;
/// Two pieces of memory with a hole between them.
const REGIONS: [(u64, usize); 2] = [(0, 32 << 20), (1 << 30, 32 << 20)];
/// As the front end addresses its own memory.
const USER_OFFSET: u64 = 0x7000_0000_0000;
/// Rings of a queue, and data of a request.
const QUEUE_BYTES: u64 = 64 << 10;
const SLOT_BYTES: u64 = 128 << 10;
const DEADLINE: Duration = Duration::from_secs(10);

/// How a request lies in descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// A descriptor for each part.
    Direct,
    /// The same in a table.
    Indirect,
    /// Cut at odd places, header and status too.
    Odd,
}

pub struct Queue {
    kick: EventFd,
    call: EventFd,
    pub error: EventFd,
    available: u16,
    used: u16,
    free: Vec<u16>,
    /// By first descriptor.
    under_way: BTreeMap<u16, UnderWay>,
    /// Answers that nobody has asked for yet, and the slots that they still have.
    answered: BTreeMap<u16, (u8, Vec<u8>, u16)>,
}

/// What outlives a connection: the memory of the machine.
pub struct Machine {
    pub memory: GuestMemoryMmap,
    pub files: Vec<File>,
    pub queues: Vec<Queue>,
    pub in_flight: Option<(VhostUserInflight, File)>,
}

/// A machine whose disk is connected.
pub struct Disk {
    pub machine: Machine,
    pub front: Frontend,
    pub features: u64,
    pub back: UnixStream,
}

fn descriptors_at(queue: usize) -> u64 {
    (1 << 20) + queue as u64 * QUEUE_BYTES
}

fn available_at(queue: usize) -> u64 {
    descriptors_at(queue) + 16 * 1024
}

fn used_at(queue: usize) -> u64 {
    descriptors_at(queue) + 32 * 1024
}

/// Slots of odd queues lie in the second region.
pub fn slot_at(queue: usize, slot: u16) -> u64 {
    let (start, number) = (REGIONS[queue % 2].0, queue as u64 / 2 * u64::from(SLOTS) + u64::from(slot));
    start + (2 << 20) + number * SLOT_BYTES
}

impl Machine {
    pub fn new() -> Self {
        let files: Vec<File> = REGIONS
            .iter()
            .map(|&(_, bytes)| {
                let file = File::from(memfd_create("machine", MemfdFlags::CLOEXEC).expect("a file"));
                file.set_len(bytes as u64).expect("room");
                file
            })
            .collect();
        let ranges = REGIONS.iter().zip(&files).map(|(&(start, bytes), file)| {
            let file = FileOffset::new(file.try_clone().expect("a descriptor"), 0);
            (GuestAddress(start), bytes, Some(file))
        });
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).expect("memory");
        let event = || EventFd::new(EFD_NONBLOCK).expect("an eventfd");
        let queue = |_| Queue {
            kick: event(),
            call: event(),
            error: event(),
            available: 0,
            used: 0,
            free: (0..SLOTS).rev().collect(),
            under_way: BTreeMap::new(),
            answered: BTreeMap::new(),
        };
        Self { memory, files, queues: (0..QUEUES).map(queue).collect(), in_flight: None }
    }

    pub fn regions(&self) -> Vec<VhostUserMemoryRegionInfo> {
        let region = |(region, file): (&vm_memory::GuestRegionMmap, &File)| VhostUserMemoryRegionInfo {
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.start_addr().0 + USER_OFFSET,
            mmap_offset: 0,
            mmap_handle: file.as_raw_fd(),
        };
        self.memory.iter().zip(&self.files).map(region).collect()
    }

    /// Connects the disk; a queue that was used before goes on where the log of requests in flight says.
    pub fn connect(self, socket: &Path, wanted: u64) -> Disk {
        let mut front = Frontend::connect(socket, 64).expect("a connection");
        front.set_owner().expect("owner");
        let features = front.get_features().expect("features") & wanted;
        front.set_features(features).expect("features");
        let offered = front.get_protocol_features().expect("protocol features");
        // The front end of the crate knows features that we do not have.
        let known = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        front.set_protocol_features(offered & known).expect("protocol features");
        front.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        let (back, theirs) = UnixStream::pair().expect("sockets");
        back.set_read_timeout(Some(DEADLINE)).expect("a time-out");
        front.set_backend_request_fd(&theirs).expect("a way back");
        let mut disk = Disk { machine: self, front, features, back };
        disk.set_in_flight();
        disk.front.set_mem_table(&disk.machine.regions()).expect("memory");
        (0..QUEUES).for_each(|queue| disk.start(queue, 0));
        disk
    }
}

impl Disk {
    fn set_in_flight(&mut self) {
        if self.machine.in_flight.is_none() {
            let wanted = VhostUserInflight {
                num_queues: QUEUES as u16,
                queue_size: QUEUE_SIZE,
                ..VhostUserInflight::default()
            };
            self.machine.in_flight = Some(self.front.get_inflight_fd(&wanted).expect("memory"));
        }
        let (memory, file) = self.machine.in_flight.as_ref().expect("it was made");
        self.front.set_inflight_fd(memory, file.as_raw_fd()).expect("memory");
    }

    pub fn start(&mut self, index: usize, base: u16) {
        let (front, queue) = (&mut self.front, &self.machine.queues[index]);
        front.set_vring_num(index, QUEUE_SIZE).expect("size");
        front.set_vring_base(index, base).expect("base");
        front.set_vring_addr(index, &rings(index)).expect("addresses");
        front.set_vring_err(index, &queue.error).expect("error");
        front.set_vring_call(index, &queue.call).expect("call");
        front.set_vring_kick(index, &queue.kick).expect("kick");
        front.set_vring_enable(index, true).expect("enable");
    }

    /// The connection breaks; the machine goes on.
    pub fn disconnect(self) -> Machine {
        self.machine
    }

    pub fn config(&mut self) -> Vec<u8> {
        let flags = VhostUserConfigFlags::empty();
        self.front.get_config(0, 60, flags, &[0; 60]).expect("configuration").1
    }

    pub fn write_memory(&self, bytes: &[u8], address: u64) {
        self.machine.memory.write_slice(bytes, GuestAddress(address)).expect("memory");
    }

    pub fn set_descriptor(&self, queue: usize, index: u16, descriptor: Descriptor) {
        self.put_descriptor(descriptors_at(queue) + 16 * u64::from(index), descriptor);
    }

    pub fn put_descriptor(&self, address: u64, descriptor: Descriptor) {
        self.machine.memory.write_obj(descriptor, GuestAddress(address)).expect("memory");
    }

    /// Puts `head` into the available ring, without a kick.
    pub fn make_available(&mut self, queue: usize, head: u16) {
        let at = available_at(queue);
        let queue = &mut self.machine.queues[queue];
        let entry = at + 4 + 2 * u64::from(queue.available % QUEUE_SIZE);
        self.machine.memory.write_obj(head, GuestAddress(entry)).expect("memory");
        queue.available = queue.available.wrapping_add(1);
        let index = queue.available;
        let order = std::sync::atomic::Ordering::Release;
        self.machine.memory.store(index, GuestAddress(at + 2), order).expect("memory");
    }

    /// Says that requests are there, whether the device wants to hear it or not.
    pub fn kick(&self, queue: usize) {
        self.machine.queues[queue].kick.write(1).expect("a kick");
    }

    /// Says so if the device wants to hear it.
    fn kick_if_wanted(&self, queue: usize) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let (used, index) = (used_at(queue), self.machine.queues[queue].available);
        let read = |at: u64| self.machine.memory.read_obj::<u16>(GuestAddress(at)).expect("memory");
        let wanted = match self.features & EVENT_INDEX {
            0 => read(used) & 1 == 0,
            _ => read(used + 4 + 8 * u64::from(QUEUE_SIZE)) == index.wrapping_sub(1),
        };
        if wanted {
            self.kick(queue);
        }
    }

    /// Puts a request into a queue; returns its first descriptor. `room` is for data that is to be read.
    pub fn submit(
        &mut self,
        queue: usize,
        style: Style,
        kind: u32,
        sector: u64,
        data: &[u8],
        room: usize,
    ) -> u16 {
        let head = self.prepare(queue, style, (kind, sector), data, room);
        self.publish(queue, head);
        head
    }

    /// Lays a request out in descriptors, and leaves it there.
    pub fn prepare(
        &mut self,
        queue: usize,
        style: Style,
        header: (u32, u64),
        data: &[u8],
        room: usize,
    ) -> u16 {
        let parts = self.lay_out(queue, style, header, data, room);
        let head = self.describe(queue, style, &parts);
        let &(last, bytes, _) = parts.ranges.last().expect("there is a status");
        let data_at = slot_at(queue, parts.slot) + DATA_AT + data.len() as u64;
        let under_way = UnderWay { slot: parts.slot, data_at, room, status_at: last + bytes - 1 };
        self.machine.queues[queue].under_way.insert(head, under_way);
        head
    }

    /// Puts a request that is laid out into the available ring.
    pub fn publish(&mut self, queue: usize, head: u16) {
        self.make_available(queue, head);
        self.kick_if_wanted(queue);
    }

    fn lay_out(&mut self, queue: usize, style: Style, header: (u32, u64), data: &[u8], room: usize) -> Parts {
        let free = &mut self.machine.queues[queue].free;
        let slot = free.pop().expect("a free descriptor");
        let at = slot_at(queue, slot);
        let (kind, sector) = header;
        self.write_memory(&kind.to_le_bytes(), at);
        self.write_memory(&0u32.to_le_bytes(), at + 4);
        self.write_memory(&sector.to_le_bytes(), at + 8);
        self.write_memory(data, at + DATA_AT);
        // What the device has not written is seen.
        self.write_memory(&vec![0xee; room + 1], at + DATA_AT + data.len() as u64);
        let (data_at, out, into) = (at + DATA_AT, data.len() as u64, room as u64);
        let ranges: Vec<Part> = match style {
            Style::Direct | Style::Indirect => vec![
                (at, 16, false),
                (data_at, out, false),
                (data_at + out, into, true),
                (data_at + out + into, 1, true),
            ],
            // The header in three parts, data in two with the status behind it.
            Style::Odd => vec![
                (at, 3, false),
                (at + 3, 5, false),
                (at + 8, 8, false),
                (data_at, out / 3, false),
                (data_at + out / 3, out - out / 3, false),
                (data_at + out, into / 5, true),
                (data_at + out + into / 5, into - into / 5 + 1, true),
            ],
        };
        let ranges = ranges.into_iter().filter(|&(_, bytes, _)| bytes > 0).collect();
        Parts { slot, ranges }
    }

    fn describe(&mut self, queue: usize, style: Style, parts: &Parts) -> u16 {
        let last = parts.ranges.len() - 1;
        let indirect = style != Style::Direct && self.features & INDIRECT != 0;
        let table = slot_at(queue, parts.slot) + TABLE_AT;
        let own = |number: usize| parts.slot * SLOT_DESCRIPTORS + number as u16;
        for (number, &(address, bytes, is_write)) in parts.ranges.iter().enumerate() {
            let mut flags = if number < last { NEXT } else { 0 };
            flags |= if is_write { WRITE } else { 0 };
            let next = if indirect { number as u16 + 1 } else { own(number + 1) };
            let descriptor = Descriptor::new(address, bytes as u32, flags, next);
            match indirect {
                true => self.put_descriptor(table + 16 * number as u64, descriptor),
                false => self.set_descriptor(queue, own(number), descriptor),
            }
        }
        if !indirect {
            return own(0);
        }
        let descriptor = Descriptor::new(table, 16 * parts.ranges.len() as u32, TABLE, 0);
        self.set_descriptor(queue, own(0), descriptor);
        own(0)
    }

    /// Takes what the device has answered.
    pub fn collect(&mut self, index: usize) {
        let at = used_at(index);
        loop {
            let order = std::sync::atomic::Ordering::Acquire;
            let memory = &self.machine.memory;
            let queue = &mut self.machine.queues[index];
            let used: u16 = memory.load(GuestAddress(at + 2), order).expect("memory");
            if used == queue.used {
                return;
            }
            let entry = at + 4 + 8 * u64::from(queue.used % QUEUE_SIZE);
            let head = memory.read_obj::<u32>(GuestAddress(entry)).expect("memory") as u16;
            queue.used = queue.used.wrapping_add(1);
            let event = GuestAddress(available_at(index) + 4 + 2 * u64::from(QUEUE_SIZE));
            memory.write_obj(queue.used, event).expect("memory");
            let asked = queue.under_way.remove(&head);
            let UnderWay { slot, data_at, room, status_at } =
                asked.unwrap_or_else(|| panic!("{head} was answered and not asked"));
            let mut data = vec![0; room];
            memory.read_slice(&mut data, GuestAddress(data_at)).expect("memory");
            let status = memory.read_obj::<u8>(GuestAddress(status_at)).expect("memory");
            queue.answered.insert(head, (status, data, slot));
        }
    }

    /// Whether a request is over, and its answer was taken.
    pub fn is_free(&self, queue: usize, head: u16) -> bool {
        let queue = &self.machine.queues[queue];
        !queue.under_way.contains_key(&head) && !queue.answered.contains_key(&head)
    }

    /// Lays out a read into `count` segments that are the same 512 KiB of memory.
    pub fn prepare_large_read(&mut self, queue: usize, count: u16) -> u16 {
        let head = self.prepare(queue, Style::Indirect, (kind::READ, 0), &[], 512);
        let number = self.machine.queues[queue].under_way[&head].slot;
        let slot = slot_at(queue, number);
        let (header, status) = ((slot, 16), (slot + DATA_AT + 512, 1));
        let data = std::iter::repeat_n((REGIONS[1].0 + (24 << 20), 512 << 10), count.into());
        let table = REGIONS[1].0 + (28 << 20) + ((queue as u64) << 18) + (u64::from(number) << 12);
        let parts = std::iter::once(header).chain(data).chain(std::iter::once(status));
        for (number, (address, bytes)) in parts.enumerate() {
            let number = number as u16;
            let flags = if number > 0 { WRITE } else { 0 } | if number < count + 1 { NEXT } else { 0 };
            self.put_descriptor(
                table + 16 * u64::from(number),
                Descriptor::new(address, bytes, flags, number + 1),
            );
        }
        self.set_descriptor(queue, head, Descriptor::new(table, 16 * (u32::from(count) + 2), TABLE, 0));
        head
    }

    /// Takes the memory away in which the data of a request of an odd queue lies; its header moves to where memory stays.
    pub fn lose_data(&mut self, queue: usize, head: u16) {
        let (stays, slot) = (slot_at(0, SLOTS - 1), self.machine.queues[queue].under_way[&head].slot);
        let mut header = [0; 16];
        self.machine.memory.read_slice(&mut header, GuestAddress(slot_at(queue, slot))).expect("memory");
        self.write_memory(&header, stays);
        self.set_descriptor(queue, head, Descriptor::new(stays, 16, NEXT, head + 1));
        self.set_descriptor(queue, head + 2, Descriptor::new(stays + 16, 1, WRITE, 0));
        self.machine.files[queue % 2].set_len(0).expect("shorter");
    }

    /// Whether the device has not answered anything in a queue.
    pub fn nothing_used(&self, queue: usize) -> bool {
        let index: u16 = self.machine.memory.read_obj(GuestAddress(used_at(queue) + 2)).expect("memory");
        index == self.machine.queues[queue].used
    }

    /// Whether a request has been answered.
    pub fn is_answered(&mut self, queue: usize, head: u16) -> bool {
        self.collect(queue);
        self.machine.queues[queue].answered.contains_key(&head)
    }

    /// Waits for the answer to a request, by the device's signal alone.
    pub fn wait(&mut self, queue: usize, head: u16) -> (u8, Vec<u8>) {
        let end = Instant::now() + DEADLINE;
        loop {
            self.collect(queue);
            if let Some((status, data, slot)) = self.machine.queues[queue].answered.remove(&head) {
                self.machine.queues[queue].free.push(slot);
                return (status, data);
            }
            assert!(Instant::now() < end, "request {head} of queue {queue} is not answered");
            wait_for("an answer", &self.machine.queues[queue].call);
        }
    }

    pub fn ask(
        &mut self,
        queue: usize,
        style: Style,
        kind: u32,
        sector: u64,
        data: &[u8],
        room: usize,
    ) -> (u8, Vec<u8>) {
        let head = self.submit(queue, style, kind, sector, data, room);
        self.wait(queue, head)
    }

    pub fn write(&mut self, sector: u64, data: &[u8]) {
        assert_eq!(self.ask(0, Style::Direct, kind::WRITE, sector, data, 0).0, 0);
    }

    pub fn read(&mut self, sector: u64, bytes: usize) -> Vec<u8> {
        let (status, data) = self.ask(0, Style::Direct, kind::READ, sector, &[], bytes);
        assert_eq!(status, 0);
        data
    }

    /// Waits until the device says that a queue is broken.
    pub fn wait_for_error(&self, queue: usize) {
        wait_for("that the queue is broken", &self.machine.queues[queue].error);
    }

    /// The next message that the device sends on its own: number, flags, length.
    pub fn next_notice(&mut self) -> [u32; 3] {
        let mut bytes = [0; 12];
        self.back.read_exact(&mut bytes).expect("a message");
        std::array::from_fn(|word| u32::from_le_bytes(bytes[word * 4..][..4].try_into().expect("four bytes")))
    }
}

/// Waits for a signal of the device.
fn wait_for(what: &str, event: &EventFd) {
    let end = Instant::now() + DEADLINE;
    while event.read().is_err() {
        assert!(Instant::now() < end, "the device does not say {what}");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Sends a message of its own making, with nothing else on the connection.
pub fn send_raw(socket: &Path, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    stream.write_all(bytes).expect("sent");
    stream
}

const DATA_AT: u64 = 512;
const TABLE_AT: u64 = 120 << 10;

/// Address, length, and whether the device writes there.
type Part = (u64, u64, bool);

struct Parts {
    slot: u16,
    ranges: Vec<Part>,
}

struct UnderWay {
    slot: u16,
    data_at: u64,
    room: usize,
    status_at: u64,
}

fn rings(queue: usize) -> VringConfigData {
    VringConfigData {
        queue_max_size: QUEUE_SIZE,
        queue_size: QUEUE_SIZE,
        flags: 0,
        desc_table_addr: descriptors_at(queue) + USER_OFFSET,
        used_ring_addr: used_at(queue) + USER_OFFSET,
        avail_ring_addr: available_at(queue) + USER_OFFSET,
        log_addr: None,
    }
}
