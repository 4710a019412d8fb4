//! The least of an iSCSI initiator (RFC 7143) that can put load on a target: no digests, no authentication, one connection.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use super::{Initiator, Verb, Wire};

const HEADER_BYTES: usize = 48;
const LOGIN: u8 = 0x43;
const SCSI_COMMAND: u8 = 0x01;
const LOGIN_RESPONSE: u8 = 0x23;
const SCSI_RESPONSE: u8 = 0x21;
const DATA_IN: u8 = 0x25;
const NOP_IN: u8 = 0x20;
const NOP_OUT: u8 = 0x40;
const FINAL: u8 = 0x80;
/// Tag of what is asked before the load begins.
const SETUP_TAG: u32 = 0xffff;
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
    data: Vec<u8>,
    /// Status of the last request with the tag of the set-up.
    status: Option<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Session {
    /// Logs in to `target` and waits until its `lun` is ready.
    pub fn log_in(address: SocketAddr, target: &str, lun: u16) -> Result<Self> {
        let mut session = Self {
            wire: Wire::connect(address)?,
            lun,
            command_number: 1,
            command_number_max: 1,
            status_number: 0,
            block_bytes: 0,
            blocks: 0,
            data: Vec::new(),
            status: None,
        };
        session.negotiate(target)?;
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

    fn negotiate(&mut self, target: &str) -> Result<()> {
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
            "FirstBurstLength=65536",
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
            header[8..14].copy_from_slice(&[0x80, 0, 0, 1, 0, 0]);
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

    fn command(&mut self, tag: u32, flags: u8, command: &[u8], expected: u32, data: &[u8]) {
        let mut header = [0u8; HEADER_BYTES];
        (header[0], header[1]) = (SCSI_COMMAND, FINAL | flags | 1);
        header[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        header[8..10].copy_from_slice(&self.lun.to_be_bytes());
        header[16..20].copy_from_slice(&tag.to_be_bytes());
        header[20..24].copy_from_slice(&expected.to_be_bytes());
        header[24..28].copy_from_slice(&self.command_number.to_be_bytes());
        header[28..32].copy_from_slice(&self.status_number.to_be_bytes());
        header[32..32 + command.len()].copy_from_slice(command);
        self.command_number += 1;
        self.wire.out.extend_from_slice(&header);
        self.wire.out.extend_from_slice(data);
    }

    /// Sends a command that returns up to `expected` bytes, and waits for its status.
    fn ask(&mut self, command: &[u8], expected: u32) -> Result<u8> {
        let flags = if expected > 0 { 0x40 } else { 0 };
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

    fn request(&mut self, tag: u16, verb: Verb, offset: u64, data: &[u8]) {
        let (block, blocks) = (offset / u64::from(self.block_bytes), data.len() as u32 / self.block_bytes);
        // READ (16), WRITE (16)
        let mut command = [0; 16];
        command[0] = if verb == Verb::Read { 0x88 } else { 0x8a };
        command[2..10].copy_from_slice(&block.to_be_bytes());
        command[10..14].copy_from_slice(&blocks.to_be_bytes());
        let length = data.len() as u32;
        match verb {
            Verb::Read => self.command(tag.into(), 0x40, &command, length, &[]),
            Verb::Write => self.command(tag.into(), 0x20, &command, length, data),
        }
    }

    fn reply(&mut self) -> Result<Option<Option<u16>>> {
        let bytes = self.wire.bytes();
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let length = (word(bytes, 4) & 0xff_ffff) as usize;
        let whole = HEADER_BYTES + length.next_multiple_of(4);
        if bytes.len() < whole {
            return Ok(None);
        }
        let (opcode, flags, status, tag) = (bytes[0] & 0x3f, bytes[1], bytes[3], word(bytes, 16));
        let transfer_tag = word(bytes, 20);
        let lun: [u8; 8] = bytes[8..16].try_into().expect("eight bytes");
        let (status_number, command_number_max) = (word(bytes, 24), word(bytes, 32));
        let segment = bytes[HEADER_BYTES..HEADER_BYTES + length].to_vec();
        self.wire.advance(whole);
        self.command_number_max = command_number_max;
        let has_status = match opcode {
            SCSI_RESPONSE => true,
            DATA_IN => {
                if tag == SETUP_TAG {
                    self.data.extend_from_slice(&segment);
                }
                flags & 1 != 0
            }
            NOP_IN => {
                if transfer_tag != u32::MAX {
                    let mut answer = [0u8; HEADER_BYTES];
                    (answer[0], answer[1]) = (NOP_OUT, FINAL);
                    answer[8..16].copy_from_slice(&lun);
                    answer[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
                    answer[20..24].copy_from_slice(&transfer_tag.to_be_bytes());
                    answer[24..28].copy_from_slice(&self.command_number.to_be_bytes());
                    self.wire.out.extend_from_slice(&answer);
                }
                false
            }
            other => bail!("the target sends {other:#x}, which nobody asked for"),
        };
        if has_status {
            self.status_number = status_number.wrapping_add(1);
        }
        if !has_status {
            return Ok(Some(None));
        }
        if tag == SETUP_TAG {
            self.status = Some(status);
            return Ok(Some(None));
        }
        ensure!(status == 0, "a request of the load failed: status {status:#x}, sense {segment:02x?}");
        Ok(Some(Some(u16::try_from(tag).context("a tag that nobody has given")?)))
    }
}
