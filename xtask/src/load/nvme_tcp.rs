//! The least of an NVMe/TCP host (NVMe/TCP Transport 1.0) that can put load on a subsystem: no digests, one I/O queue.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Arrival, Initiator, Request, Verb, Wire};

const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-0000006c6f61";
const COMMAND_BYTES: usize = 64;
const CAPSULE: u8 = 4;
const RESPONSE: u8 = 5;
const DATA_FROM_HOST: u8 = 6;
const DATA: u8 = 7;
const READY_TO_TRANSFER: u8 = 9;
/// Of a write, so much may come with its command; what is larger waits for R2T.
const CAPSULE_DATA_BYTES: usize = 8 << 10;
/// After this long without a word the controller may give the host up; Linux's default. Linux speaks up after half of it.
const KEEP_ALIVE_MS: u32 = 5000;
/// Entries of the I/O queue.
const QUEUE_ENTRIES: u16 = 128;
const SETUP_TAG: u16 = 0xfff0;

/// Of Read, Write and Write Zeroes, in command dword 12.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 25;

/// One queue.
struct Queue {
    wire: Wire,
    /// What was read for the set-up.
    data: Vec<u8>,
    /// What reads of the load have read until now; none when nobody wants it.
    read: Option<BTreeMap<u16, Vec<u8>>>,
    /// Writes that the controller will ask for.
    written: BTreeMap<u16, Vec<u8>>,
}

/// What a unit that arrived says.
struct Arrived {
    tag: u16,
    /// Status and the first eight bytes of a completion, if it is one.
    completion: Option<(u16, u64)>,
}

/// A controller with its admin queue and one I/O queue.
pub struct Controller {
    io: Queue,
    admin: Queue,
    namespace: u32,
    block_bytes: u64,
    volume_bytes: u64,
}

impl Queue {
    /// Connects to queue `number`; gives the controller's id.
    fn connect(
        address: SocketAddr,
        subsystem: &str,
        number: u16,
        controller: u16,
        keep_data: bool,
    ) -> Result<(Self, u16)> {
        let read = keep_data.then(BTreeMap::new);
        let mut queue =
            Self { wire: Wire::connect(address)?, data: Vec::new(), read, written: BTreeMap::new() };
        let mut hello = [0u8; 128];
        (hello[2], hello[4]) = (128, 128);
        queue.wire.out.extend_from_slice(&hello);
        queue.wire.flush()?;
        let answer = queue.wire.require(128)?;
        ensure!(answer[0] == 1, "the server answers the first unit with {:#x}", answer[0]);
        ensure!(answer[10] == 0, "the server wants data at multiples of {} bytes", 4 * (answer[10] + 1));
        queue.wire.advance(128);
        let mut data = [0u8; 1024];
        data[..16].copy_from_slice(&[0x6c; 16]);
        data[16..18].copy_from_slice(&controller.to_le_bytes());
        data[256..256 + subsystem.len()].copy_from_slice(subsystem.as_bytes());
        data[512..512 + HOST.len()].copy_from_slice(HOST.as_bytes());
        let mut command = fabrics(0x01);
        command[42..44].copy_from_slice(&number.to_le_bytes());
        let last = if number == 0 { 31 } else { QUEUE_ENTRIES - 1 };
        command[44..46].copy_from_slice(&last.to_le_bytes());
        if number == 0 {
            command[48..52].copy_from_slice(&KEEP_ALIVE_MS.to_le_bytes());
        }
        let id = queue.ask(command, &data).with_context(|| format!("queue {number} is refused"))?;
        Ok((queue, id as u16))
    }

    fn send(&mut self, tag: u16, mut command: [u8; COMMAND_BYTES], data: &[u8]) {
        command[2..4].copy_from_slice(&tag.to_le_bytes());
        let in_capsule = if data.len() > CAPSULE_DATA_BYTES {
            self.written.insert(tag, data.to_vec());
            &[]
        } else {
            data
        };
        if !in_capsule.is_empty() {
            // In the capsule: an SGL data block at an offset of 0.
            command[24..40].fill(0);
            command[32..36].copy_from_slice(&(data.len() as u32).to_le_bytes());
            command[39] = 0x01;
        }
        let header_bytes = 8 + COMMAND_BYTES;
        let data_at = if in_capsule.is_empty() { 0 } else { header_bytes as u8 };
        let whole = (header_bytes + in_capsule.len()) as u32;
        self.wire.out.extend_from_slice(&[CAPSULE, 0, header_bytes as u8, data_at]);
        self.wire.out.extend_from_slice(&whole.to_le_bytes());
        self.wire.out.extend_from_slice(&command);
        self.wire.out.extend_from_slice(in_capsule);
    }

    /// Sends what an R2T asks for, in one PDU.
    fn send_what_is_asked_for(&mut self, request: [u8; 24]) -> Result<()> {
        let number = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().expect("four bytes"));
        let tag = u16::from_le_bytes([request[8], request[9]]);
        let (offset, length) = (number(12) as usize, number(16) as usize);
        let data = self.written.get(&tag).context("an R2T for a write that is not under way")?;
        let piece = data.get(offset..offset + length).context("an R2T for more than is written")?;
        let mut header = [0u8; 24];
        // The last of its transfer.
        (header[0], header[1], header[2], header[3]) = (DATA_FROM_HOST, 0x04, 24, 24);
        header[4..8].copy_from_slice(&(24 + length as u32).to_le_bytes());
        // Tags of the command and of the transfer, and the offset.
        header[8..16].copy_from_slice(&request[8..16]);
        header[16..20].copy_from_slice(&(length as u32).to_le_bytes());
        self.wire.out.extend_from_slice(&header);
        self.wire.out.extend_from_slice(piece);
        Ok(())
    }

    /// Sends a command and waits for its completion: the first eight bytes of it.
    fn ask(&mut self, command: [u8; COMMAND_BYTES], data: &[u8]) -> Result<u64> {
        self.data.clear();
        self.send(SETUP_TAG, command, data);
        self.wire.flush()?;
        loop {
            match self.take()? {
                Some(Arrived { tag: SETUP_TAG, completion: Some((status, result)) }) => {
                    ensure!(status >> 1 == 0, "status {:#x}", status >> 1);
                    return Ok(result);
                }
                Some(_) => {}
                None => self.wire.receive()?,
            }
        }
    }

    /// The next unit, if all of it has arrived.
    fn take(&mut self) -> Result<Option<Arrived>> {
        let bytes = self.wire.bytes();
        if bytes.len() < 8 {
            return Ok(None);
        }
        let whole = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
        if bytes.len() < whole {
            return Ok(None);
        }
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let arrived = match bytes[0] {
            RESPONSE => {
                let result = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
                Arrived { tag: half(20), completion: Some((half(22), result)) }
            }
            DATA => {
                let (tag, is_success) = (half(8), bytes[1] & 0x08 != 0);
                let data = &bytes[usize::from(bytes[3])..whole];
                if tag == SETUP_TAG {
                    self.data.extend_from_slice(data);
                } else if let Some(read) = &mut self.read {
                    read.entry(tag).or_default().extend_from_slice(data);
                }
                Arrived { tag, completion: is_success.then_some((0, 0)) }
            }
            READY_TO_TRANSFER => {
                let (tag, request) = (half(8), bytes[..24].try_into().expect("it is as long"));
                self.send_what_is_asked_for(request)?;
                Arrived { tag, completion: None }
            }
            other => bail!("the server sends {other:#x}, which nobody asked for"),
        };
        self.wire.advance(whole);
        Ok(Some(arrived))
    }
}

fn fabrics(kind: u8) -> [u8; COMMAND_BYTES] {
    let mut command = [0; COMMAND_BYTES];
    (command[0], command[1], command[4]) = (0x7f, 0x40, kind);
    command
}

/// A command with a buffer of the host of `bytes`.
fn with_buffer(opcode: u8, namespace: u32, bytes: u32) -> [u8; COMMAND_BYTES] {
    let mut command = [0; COMMAND_BYTES];
    (command[0], command[1]) = (opcode, 0x40);
    command[4..8].copy_from_slice(&namespace.to_le_bytes());
    command[32..36].copy_from_slice(&bytes.to_le_bytes());
    // Transport SGL data block.
    command[39] = 0x5a;
    command
}

impl Controller {
    /// Connects to `subsystem`, enables a controller, and connects one I/O queue for `namespace`.
    pub fn connect(address: SocketAddr, subsystem: &str, namespace: u32, keep_data: bool) -> Result<Self> {
        let (mut admin, id) = Queue::connect(address, subsystem, 0, 0xffff, false)?;
        // CC: enabled, entries of 64 and 16 bytes.
        let mut enable = fabrics(0x00);
        enable[44] = 0x14;
        enable[48..52].copy_from_slice(&(1u32 | 6 << 16 | 4 << 20).to_le_bytes());
        admin.ask(enable, &[]).context("the controller cannot be enabled")?;
        let mut status = fabrics(0x04);
        status[44] = 0x1c;
        while admin.ask(status, &[])? & 1 == 0 {}
        let mut queues = [0; COMMAND_BYTES];
        (queues[0], queues[1], queues[40]) = (0x09, 0x40, 0x07);
        admin.ask(queues, &[]).context("the number of queues cannot be set")?;
        let identify = with_buffer(0x06, namespace, 4096);
        admin.ask(identify, &[]).with_context(|| format!("namespace {namespace} cannot be identified"))?;
        ensure!(admin.data.len() == 4096, "{} bytes tell of the namespace", admin.data.len());
        let format = usize::from(admin.data[26] & 0x0f);
        let block_bytes = 1u64 << admin.data[128 + 4 * format + 2];
        let blocks = u64::from_le_bytes(admin.data[..8].try_into().expect("eight bytes"));
        ensure!(blocks > 0, "namespace {namespace} is not there");
        let (io, _) = Queue::connect(address, subsystem, 1, id, keep_data)?;
        Ok(Self { io, admin, namespace, block_bytes, volume_bytes: blocks * block_bytes })
    }
}

impl Initiator for Controller {
    fn volume_bytes(&self) -> u64 {
        self.volume_bytes
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.io.wire
    }

    fn may_send(&self) -> bool {
        true
    }

    fn request(&mut self, tag: u16, request: &Request<'_>) {
        let Request { verb, offset, length, data } = *request;
        let (first, blocks) = (offset / self.block_bytes, u64::from(length) / self.block_bytes);
        let (opcode, buffer_bytes, options) = match verb {
            Verb::Read => (0x02, length, 0),
            Verb::Write { force } => (0x01, length, if force { FORCE_UNIT_ACCESS } else { 0 }),
            Verb::WriteZeroes { keep } => (0x08, 0, if keep { 0 } else { DEALLOCATE }),
            Verb::Trim => {
                // Dataset Management of one range, which is to be deallocated.
                let mut command = with_buffer(0x09, self.namespace, 16);
                command[44] = 0x04;
                let mut range = [0; 16];
                range[4..8].copy_from_slice(&(blocks as u32).to_le_bytes());
                range[8..16].copy_from_slice(&first.to_le_bytes());
                return self.io.send(tag, command, &range);
            }
            Verb::Flush => return self.io.send(tag, with_buffer(0x00, self.namespace, 0), &[]),
        };
        let mut command = with_buffer(opcode, self.namespace, buffer_bytes);
        command[40..48].copy_from_slice(&first.to_le_bytes());
        command[48..52].copy_from_slice(&((blocks as u32 - 1) | options).to_le_bytes());
        self.io.send(tag, command, data);
    }

    fn reply(&mut self) -> Result<Option<Arrival>> {
        let Some(Arrived { tag, completion }) = self.io.take()? else { return Ok(None) };
        let Some((status, _)) = completion else { return Ok(Some(Arrival::Nothing)) };
        self.io.written.remove(&tag);
        let data = self.io.read.as_mut().and_then(|read| read.remove(&tag)).unwrap_or_default();
        let failure = (status >> 1 != 0).then(|| format!("status {:#x}", status >> 1));
        Ok(Some(Arrival::Ended { tag, failure, data }))
    }

    fn keep_alive(&mut self) -> Result<()> {
        let mut command = [0; COMMAND_BYTES];
        (command[0], command[1]) = (0x18, 0x40);
        self.admin.send(SETUP_TAG, command, &[]);
        self.admin.wire.flush()?;
        // Answers to the ones before.
        self.admin.wire.receive_what_is_there()?;
        while self.admin.take()?.is_some() {}
        Ok(())
    }

    fn keep_alive_period(&self) -> Duration {
        Duration::from_millis(u64::from(KEEP_ALIVE_MS) / 2)
    }
}
