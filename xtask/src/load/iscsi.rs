//! The least of an iSCSI initiator (RFC 7143) that can put load on a target: no digests, no authentication, one connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Arrival, Initiator, Request, Verb, Wire};

const HEADER_BYTES: usize = 48;
const LOGIN: u8 = 0x43;
const SCSI_COMMAND: u8 = 0x01;
const LOGIN_RESPONSE: u8 = 0x23;
const SCSI_RESPONSE: u8 = 0x21;
const DATA_IN: u8 = 0x25;
const DATA_OUT: u8 = 0x05;
const READY_TO_TRANSFER: u8 = 0x31;
const NOP_IN: u8 = 0x20;
const NOP_OUT: u8 = 0x40;
const FINAL: u8 = 0x80;
/// Tag of what is asked before the load begins.
const SETUP_TAG: u32 = 0xffff;
/// Tag of our own pings.
const PING_TAG: u32 = 0xfffe;
/// As open-iscsi does it.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(5);
/// Sent with a command without being asked for; the rest of a write waits for R2T.
const FIRST_BURST_BYTES: usize = 64 << 10;
/// Of READ (16), WRITE (16) and WRITE SAME (16).
const FORCE_UNIT_ACCESS: u8 = 0x08;
/// Of WRITE SAME (16).
const UNMAP: u8 = 0x08;
const NO_DATA_OUT: u8 = 0x01;
/// Flags of a command.
const READS: u8 = 0x40;
const WRITES: u8 = 0x20;
/// A new session is told that the unit was reset, and the like.
const ATTENTIONS_MAX: usize = 8;

/// A session with one LUN.
pub struct Session {
    wire: Wire,
    lun: u16,
    command_number: u32,
    command_number_max: u32,
    status_number: u32,
    block_bytes: u32,
    blocks: u64,
    /// What was read for the set-up.
    data: Vec<u8>,
    /// What reads of the load have read until now; none when nobody wants it.
    read: Option<BTreeMap<u32, Vec<u8>>>,
    /// Writes that the target may still ask for.
    written: BTreeMap<u32, Vec<u8>>,
    /// Status of the last request with the tag of the set-up.
    status: Option<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Session {
    /// Logs in to `target` as initiator port `who` and waits until its `lun` is ready.
    pub fn log_in(address: SocketAddr, target: &str, lun: u16, who: u16, keep_data: bool) -> Result<Self> {
        let mut session = Self {
            wire: Wire::connect(address)?,
            lun,
            command_number: 1,
            command_number_max: 1,
            status_number: 0,
            block_bytes: 0,
            blocks: 0,
            data: Vec::new(),
            read: keep_data.then(BTreeMap::new),
            written: BTreeMap::new(),
            status: None,
        };
        session.negotiate(target, who)?;
        let mut attentions = 0;
        while session.ask(&[0; 6], 0)? != 0 {
            attentions += 1;
            ensure!(attentions < ATTENTIONS_MAX, "LUN {lun} of {target} does not become ready");
        }
        // READ CAPACITY (16)
        let mut command = [0; 16];
        (command[0], command[1], command[13]) = (0x9e, 0x10, 32);
        ensure!(session.ask(&command, 32)? == 0 && session.data.len() >= 12, "READ CAPACITY failed");
        session.blocks = u64::from_be_bytes(session.data[..8].try_into().expect("eight bytes")) + 1;
        session.block_bytes = word(&session.data, 8);
        Ok(session)
    }

    fn negotiate(&mut self, target: &str, who: u16) -> Result<()> {
        let keys = [
            "InitiatorName=iqn.2026-11.io.quarry:load",
            &format!("TargetName={target}"),
            "SessionType=Normal",
            "HeaderDigest=None",
            "DataDigest=None",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "MaxRecvDataSegmentLength=262144",
            "MaxBurstLength=262144",
            &format!("FirstBurstLength={FIRST_BURST_BYTES}"),
            "MaxConnections=1",
            "DefaultTime2Wait=2",
            "DefaultTime2Retain=0",
            "MaxOutstandingR2T=1",
            "DataPDUInOrder=Yes",
            "DataSequenceInOrder=Yes",
            "ErrorRecoveryLevel=0",
        ];
        let mut text: Vec<u8> = keys.iter().flat_map(|key| key.bytes().chain([0])).collect();
        loop {
            let mut header = [0u8; HEADER_BYTES];
            // From the operational stage to the full feature phase.
            (header[0], header[1]) = (LOGIN, FINAL | 1 << 2 | 3);
            header[5..8].copy_from_slice(&(text.len() as u32).to_be_bytes()[1..]);
            header[8..12].copy_from_slice(&[0x80, 0, 0, 1]);
            header[12..14].copy_from_slice(&who.to_be_bytes());
            header[24..28].copy_from_slice(&self.command_number.to_be_bytes());
            self.wire.out.extend_from_slice(&header);
            self.wire.out.extend_from_slice(&text);
            self.wire.out.resize(self.wire.out.len().next_multiple_of(4), 0);
            self.wire.flush()?;
            let header: [u8; HEADER_BYTES] =
                self.wire.require(HEADER_BYTES)?.try_into().expect("as many were asked for");
            ensure!(header[0] == LOGIN_RESPONSE, "the target answers a login with {:#x}", header[0]);
            ensure!(header[36] == 0, "the login is refused: status {:02x}{:02x}", header[36], header[37]);
            let length = (word(&header, 4) & 0xff_ffff) as usize;
            self.wire.require(HEADER_BYTES + length.next_multiple_of(4))?;
            self.wire.advance(HEADER_BYTES + length.next_multiple_of(4));
            self.status_number = word(&header, 24) + 1;
            self.command_number_max = word(&header, 32);
            if header[1] & FINAL != 0 {
                return Ok(());
            }
            text.clear();
        }
    }

    /// A command with what of its data is sent at once.
    fn command(&mut self, tag: u32, flags: u8, command: &[u8], expected: u32, data: &[u8]) {
        let at_once = &data[..data.len().min(FIRST_BURST_BYTES)];
        let mut header = [0u8; HEADER_BYTES];
        (header[0], header[1]) = (SCSI_COMMAND, FINAL | flags | 1);
        header[5..8].copy_from_slice(&(at_once.len() as u32).to_be_bytes()[1..]);
        header[8..10].copy_from_slice(&self.lun.to_be_bytes());
        header[16..20].copy_from_slice(&tag.to_be_bytes());
        header[20..24].copy_from_slice(&expected.to_be_bytes());
        header[24..28].copy_from_slice(&self.command_number.to_be_bytes());
        header[28..32].copy_from_slice(&self.status_number.to_be_bytes());
        header[32..32 + command.len()].copy_from_slice(command);
        self.command_number += 1;
        self.wire.out.extend_from_slice(&header);
        self.put_data(at_once);
        if at_once.len() < data.len() {
            self.written.insert(tag, data.to_vec());
        }
    }

    fn put_data(&mut self, data: &[u8]) {
        self.wire.out.extend_from_slice(data);
        self.wire.out.extend_from_slice(&[0; 3][..data.len().next_multiple_of(4) - data.len()]);
    }

    /// Sends what an R2T asks for, in one sequence of one PDU (its length is within what targets take of one: it is at most
    /// MaxBurstLength, which we have set to what they take).
    fn send_what_is_asked_for(&mut self, request: &[u8; HEADER_BYTES]) -> Result<()> {
        let tag = word(request, 16);
        let (offset, length) = (word(request, 40) as usize, word(request, 44) as usize);
        let data = self.written.get(&tag).context("an R2T for a write that is not under way")?;
        let piece = data.get(offset..offset + length).context("an R2T for more than is written")?.to_vec();
        let mut header = [0u8; HEADER_BYTES];
        (header[0], header[1]) = (DATA_OUT, FINAL);
        header[5..8].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        header[8..24].copy_from_slice(&request[8..24]);
        header[28..32].copy_from_slice(&self.status_number.to_be_bytes());
        header[40..44].copy_from_slice(&(offset as u32).to_be_bytes());
        self.wire.out.extend_from_slice(&header);
        self.put_data(&piece);
        Ok(())
    }

    /// Takes a whole unit that has arrived.
    fn take(&mut self, header: &[u8; HEADER_BYTES], segment: &[u8]) -> Result<Arrival> {
        let (opcode, flags, status, tag) = (header[0] & 0x3f, header[1], header[3], word(header, 16));
        self.command_number_max = word(header, 32);
        let has_status = match opcode {
            SCSI_RESPONSE => true,
            DATA_IN => {
                if tag == SETUP_TAG {
                    self.data.extend_from_slice(segment);
                } else if let Some(read) = &mut self.read {
                    read.entry(tag).or_default().extend_from_slice(segment);
                }
                flags & 1 != 0
            }
            READY_TO_TRANSFER => {
                self.send_what_is_asked_for(header)?;
                false
            }
            NOP_IN if tag == PING_TAG => {
                self.status_number = word(header, 24).wrapping_add(1);
                false
            }
            NOP_IN => {
                self.answer_ping(header);
                false
            }
            other => bail!("the target sends {other:#x}, which nobody asked for"),
        };
        if !has_status {
            return Ok(Arrival::Nothing);
        }
        self.status_number = word(header, 24).wrapping_add(1);
        self.written.remove(&tag);
        if tag == SETUP_TAG {
            self.status = Some(status);
            return Ok(Arrival::Nothing);
        }
        let data = self.read.as_mut().and_then(|read| read.remove(&tag)).unwrap_or_default();
        let failure = (status != 0).then(|| format!("status {status:#x}, sense {segment:02x?}"));
        Ok(Arrival::Ended { tag: u16::try_from(tag).context("a tag that nobody has given")?, failure, data })
    }

    fn answer_ping(&mut self, ping: &[u8; HEADER_BYTES]) {
        let mut answer = [0u8; HEADER_BYTES];
        // Immediate.
        (answer[0], answer[1]) = (NOP_OUT, FINAL);
        answer[8..16].copy_from_slice(&ping[8..16]);
        answer[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        answer[20..24].copy_from_slice(&ping[20..24]);
        answer[24..28].copy_from_slice(&self.command_number.to_be_bytes());
        answer[28..32].copy_from_slice(&self.status_number.to_be_bytes());
        self.wire.out.extend_from_slice(&answer);
    }

    /// Sends a command that returns up to `expected` bytes, and waits for its status.
    fn ask(&mut self, command: &[u8], expected: u32) -> Result<u8> {
        let flags = if expected > 0 { READS } else { 0 };
        self.data.clear();
        self.command(SETUP_TAG, flags, command, expected, &[]);
        self.wire.flush()?;
        loop {
            if let Some(status) = self.status.take() {
                return Ok(status);
            }
            if self.reply()?.is_none() {
                self.wire.receive()?;
            }
        }
    }
}

impl Initiator for Session {
    fn volume_bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_bytes)
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn may_send(&self) -> bool {
        (self.command_number_max.wrapping_sub(self.command_number) as i32) >= 0
    }

    fn request(&mut self, tag: u16, request: &Request<'_>) {
        let Request { verb, offset, length, data } = *request;
        let (block, blocks) = (offset / u64::from(self.block_bytes), length / self.block_bytes);
        let tag = tag.into();
        let (operation, options) = match verb {
            // READ (16), WRITE (16), WRITE SAME (16)
            Verb::Read => (0x88, 0),
            Verb::Write { force } => (0x8a, if force { FORCE_UNIT_ACCESS } else { 0 }),
            Verb::WriteZeroes { keep } => (0x93, NO_DATA_OUT | if keep { 0 } else { UNMAP }),
            Verb::Trim => {
                // UNMAP with one descriptor.
                let mut list = [0; 24];
                (list[1], list[3]) = (22, 16);
                list[8..16].copy_from_slice(&block.to_be_bytes());
                list[16..20].copy_from_slice(&blocks.to_be_bytes());
                return self.command(tag, WRITES, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24, &list);
            }
            // SYNCHRONIZE CACHE (10) of everything.
            Verb::Flush => return self.command(tag, 0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]),
        };
        let mut command = [0; 16];
        (command[0], command[1]) = (operation, options);
        command[2..10].copy_from_slice(&block.to_be_bytes());
        command[10..14].copy_from_slice(&blocks.to_be_bytes());
        match verb {
            Verb::Read => self.command(tag, READS, &command, length, &[]),
            Verb::Write { .. } => self.command(tag, WRITES, &command, length, data),
            _ => self.command(tag, 0, &command, 0, &[]),
        }
    }

    fn reply(&mut self) -> Result<Option<Arrival>> {
        let bytes = self.wire.bytes();
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let length = (word(bytes, 4) & 0xff_ffff) as usize;
        let whole = HEADER_BYTES + length.next_multiple_of(4);
        if bytes.len() < whole {
            return Ok(None);
        }
        let header: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().expect("as many bytes");
        let segment = bytes[HEADER_BYTES..HEADER_BYTES + length].to_vec();
        self.wire.advance(whole);
        self.take(&header, &segment).map(Some)
    }

    fn keep_alive(&mut self) -> Result<()> {
        let mut ping = [0u8; HEADER_BYTES];
        (ping[0], ping[1]) = (NOP_OUT, FINAL);
        ping[16..20].copy_from_slice(&PING_TAG.to_be_bytes());
        ping[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
        ping[24..28].copy_from_slice(&self.command_number.to_be_bytes());
        ping[28..32].copy_from_slice(&self.status_number.to_be_bytes());
        self.wire.out.extend_from_slice(&ping);
        Ok(())
    }

    fn keep_alive_period(&self) -> Duration {
        KEEP_ALIVE_PERIOD
    }
}
