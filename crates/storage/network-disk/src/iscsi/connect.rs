//! How a connection begins: a login, and what the unit says of itself (SPC-5, SBC-4).

use quarry_env::{BufferPool, Env};
use quarry_iscsi_wire::pdu::{Header, NO_TAG, flags, opcode};

use super::address::UnitAddress;
use super::login::{Parameters, log_in};
use super::sense::Ending;
use super::stream::{Numbers, command, next_header, pong, put, take_data};
use super::{Limits, Nexus, cdb};
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::limits::{PAYLOAD_BYTES_MAX, TRIM_BYTES_MAX};
use crate::outgoing::Outgoing;
use crate::terms::Terms;
use crate::transport::Initiator;

/// Attentions in a row after which a unit is taken not to become ready.
const ATTENTIONS_MAX: usize = 16;
/// Room for what a unit says of itself, in bytes: names can be long.
const PAGE_BYTES: u16 = 2048;
/// The same where the command has a byte for it.
const MODE_BYTES: u8 = 252;
/// The tag of the one command that is on its way.
const TAG: u32 = 0xFFFF_0000;
/// Blocks of 512 bytes to 4 KiB.
const BLOCK_LOG2: std::ops::RangeInclusive<u32> = 9..=12;

/// A session with nothing else on its way.
struct Asking<'a> {
    inbox: Inbox,
    buffers: &'a BufferPool,
    numbers: Numbers,
    lun: [u8; 8],
}

impl Asking<'_> {
    /// A command that returns at most `expected` bytes; how it ended, and what it has returned.
    async fn ask(&mut self, block: [u8; 16], expected: u32) -> Result<(Ending, Vec<u8>), ConnectionError> {
        let direction = if expected > 0 { flags::READ } else { 0 };
        let mut header = command(TAG, self.lun, &block, direction, expected);
        self.numbers.stamp(&mut header);
        self.send(header).await?;
        let mut received = Vec::new();
        loop {
            let header = next_header(&mut self.inbox).await?;
            let data = take_data(&mut self.inbox, &header).await?;
            let has_status = header.opcode() != opcode::DATA_IN || header.has(flags::STATUS);
            self.numbers.take_in(&header, has_status && header.task_tag() != NO_TAG);
            match header.opcode() {
                opcode::NOP_IN if header.transfer_tag() != NO_TAG => {
                    let answer = pong(&header, &mut self.numbers);
                    self.send(answer).await?;
                }
                opcode::NOP_IN => {}
                opcode::DATA_IN if header.task_tag() == TAG => {
                    received.extend(data);
                    if received.len() > expected as usize {
                        return Err(wrong("more data than was asked for"));
                    }
                    if header.has(flags::STATUS) {
                        return Ok((Ending::new(header.0[3], &[]), received));
                    }
                }
                opcode::SCSI_RESPONSE if header.task_tag() == TAG => {
                    return Ok((Ending::new(header.0[3], &data), received));
                }
                _ => return Err(wrong("a PDU that does not belong to the command")),
            }
        }
    }

    async fn send(&mut self, header: Header) -> Result<(), ConnectionError> {
        let mut out = Outgoing::default();
        put(&mut out, header, &[]);
        Ok(self.inbox.stream().send(out.into_views(self.buffers)).await?)
    }

    /// The same, past everything that the unit has to say first.
    async fn ask_ready(
        &mut self,
        block: [u8; 16],
        expected: u32,
    ) -> Result<(Ending, Vec<u8>), ConnectionError> {
        for _ in 0..ATTENTIONS_MAX {
            let (ending, data) = self.ask(block, expected).await?;
            if !ending.is_attention() {
                return Ok((ending, data));
            }
        }
        Err(ConnectionError::Transient { what: "it does not become ready".to_owned() })
    }

    /// The same, which must go well.
    async fn require(&mut self, block: [u8; 16], expected: u32) -> Result<Vec<u8>, ConnectionError> {
        match self.ask_ready(block, expected).await? {
            (ending, data) if ending.is_good() => Ok(data),
            (ending, _) => Err(ending.failure()?.into()),
        }
    }

    /// A page of vital product data; empty where the unit has none of that kind.
    async fn page(&mut self, page: u8) -> Result<Vec<u8>, ConnectionError> {
        match self.ask_ready(cdb::inquiry(Some(page), PAGE_BYTES), PAGE_BYTES.into()).await? {
            (ending, data) if ending.is_good() && data.get(1) == Some(&page) => Ok(data),
            (ending, _) if ending.is_good() || ending.is_illegal() => Ok(Vec::new()),
            (ending, _) => Err(ending.failure()?.into()),
        }
    }
}

/// Connects until requests can be sent.
pub async fn connect(
    env: &Env,
    address: &UnitAddress,
    initiator: &Initiator,
) -> Result<(Terms, Inbox, Nexus), ConnectionError> {
    let (inbox, numbers, parameters) = log_in(env, address, initiator).await?;
    let mut asking = Asking { inbox, buffers: &env.buffers, numbers, lun: address.lun_field() };
    let about = asking.require(cdb::inquiry(None, 36), 36).await?;
    let (qualifier, kind) = about.first().map_or((0, 0), |first| (first >> 5, first & 0x1F));
    if qualifier != 0 {
        return Err(ConnectionError::Refused {
            what: format!("the unit {} of '{}'", address.lun, address.target),
            reason: "there is none of that number, or not for this initiator".to_owned(),
        });
    }
    let unfit =
        |reason: &str| ConnectionError::Unfit { address: address.to_string(), reason: reason.to_owned() };
    if kind != 0 {
        return Err(unfit("it is no disk"));
    }
    asking.require(cdb::test_unit_ready(), 0).await?;
    let capacity = asking.require(cdb::read_capacity(), 32).await?;
    let Some(facts) = Capacity::decode(&capacity) else { return Err(wrong("a capacity that is too short")) };
    if !facts.block_bytes.is_power_of_two() || !BLOCK_LOG2.contains(&facts.block_bytes.ilog2()) {
        return Err(unfit("its blocks are neither 512 bytes nor up to 4 KiB"));
    }
    if facts.is_protected {
        return Err(unfit("its blocks have protection information; format it without"));
    }
    let limits = asking.page(0xB0).await?;
    let Some(identity) = identity(&asking.page(0x83).await?, &asking.page(0x80).await?) else {
        return Err(unfit("it has no name of its own, so another one in its place would not be noticed"));
    };
    let is_read_only = is_write_protected(&mut asking).await?;
    let flush = flush_command(&mut asking).await?;
    let block_log2 = facts.block_bytes.ilog2();
    let terms = Terms {
        size_bytes: (facts.last_block + 1) << block_log2,
        block_bytes_min: facts.block_bytes,
        block_bytes_preferred: facts.preferred_bytes(&limits),
        payload_bytes_max: field(&limits, 8, PAYLOAD_BYTES_MAX, block_log2).min(PAYLOAD_BYTES_MAX),
        trim_bytes_max: trim_bytes_max(facts.is_thin, &limits, block_log2),
        is_read_only,
        can_flush: flush.is_some(),
        shares_flush: true,
        identity: Some(identity),
    };
    let Parameters { immediate_bytes_max, send_bytes_max } = parameters;
    let flush = flush.unwrap_or_else(cdb::synchronize_cache);
    let limits = Limits { lun: asking.lun, block_log2, immediate_bytes_max, send_bytes_max, flush };
    Ok((terms, asking.inbox, Nexus::new(limits, asking.numbers)))
}

/// READ CAPACITY (16) (SBC-4, 5.20).
struct Capacity {
    last_block: u64,
    block_bytes: u32,
    is_protected: bool,
    /// Logical blocks of a physical one, as a power of two.
    physical_log2: u32,
    is_thin: bool,
}

impl Capacity {
    fn decode(data: &[u8]) -> Option<Self> {
        let fixed = data.first_chunk::<32>()?;
        let last_block = u64::from_be_bytes(*fixed.first_chunk()?);
        Some(Self {
            last_block: (last_block < u64::MAX >> 17).then_some(last_block)?,
            block_bytes: u32::from_be_bytes(fixed[8..12].try_into().ok()?),
            is_protected: fixed[12] & 1 != 0,
            physical_log2: u32::from(fixed[13] & 0xF),
            is_thin: fixed[14] & 0x80 != 0,
        })
    }

    /// The physical block, or the optimal granularity where the page of limits has one.
    fn preferred_bytes(&self, limits: &[u8]) -> u32 {
        let physical = self.block_bytes.checked_shl(self.physical_log2).unwrap_or(self.block_bytes);
        let granularity =
            limits.get(6..8).map_or(0, |field| u32::from(u16::from_be_bytes([field[0], field[1]])));
        physical.max(granularity.saturating_mul(self.block_bytes)).clamp(4096, 1 << 20)
    }
}

/// A number of blocks of the page of limits, in bytes; `default` where it says nothing.
fn field(page: &[u8], at: usize, default: u32, block_log2: u32) -> u32 {
    let blocks = page.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_be_bytes);
    if blocks == 0 { default } else { (u64::from(blocks) << block_log2).min(default.into()) as u32 }
}

/// The largest UNMAP of one range; 0 where the unit is not thin or does not know it.
fn trim_bytes_max(is_thin: bool, limits: &[u8], block_log2: u32) -> u32 {
    if is_thin
        && limits.len() >= 28
        && [&limits[20..24], &limits[24..28]].iter().all(|field| field.iter().any(|&byte| byte != 0))
    {
        field(limits, 20, TRIM_BYTES_MAX, block_log2)
    } else {
        0
    }
}

/// The best world-wide name of the unit in the page of device identification (SPC-5, 7.7.6), or its serial number (7.7.18).
fn identity(page: &[u8], serial: &[u8]) -> Option<String> {
    /// Vendor's, T10's, EUI-64, NAA: of these the later ones are better.
    const TYPES: [u8; 3] = [3, 2, 1];
    let mut designators = Vec::new();
    let mut rest = page.get(4..).unwrap_or_default();
    while let [_, kind, _, length, behind @ ..] = rest {
        let Some(designator) = behind.get(..usize::from(*length)) else { break };
        // Of the logical unit, not of a port or a target.
        if kind >> 4 & 3 == 0 {
            designators.push((kind & 0xF, designator));
        }
        rest = &behind[usize::from(*length)..];
    }
    let best = TYPES.iter().find_map(|kind| designators.iter().find(|(found, _)| found == kind));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if let Some((kind, designator)) = best {
        return Some(format!("{kind}.{}", hex(designator)));
    }
    let serial = serial.get(4..).filter(|serial| serial.iter().any(|&byte| byte != 0 && byte != b' '))?;
    Some(format!("serial.{}", hex(serial)))
}

async fn is_write_protected(asking: &mut Asking<'_>) -> Result<bool, ConnectionError> {
    let (ending, data) = asking.ask_ready(cdb::mode_sense(MODE_BYTES), MODE_BYTES.into()).await?;
    match ending {
        ending if ending.is_good() => Ok(data.get(2).is_some_and(|byte| byte & 0x80 != 0)),
        ending if ending.is_illegal() => Ok(false),
        ending => Err(ending.failure()?.into()),
    }
}

/// Which command makes writes durable: the long one, the short one, or none. Nothing is flushed to find out: an error of that would
/// be somebody else's. A unit that does not say what it knows is taken to know the short one, as Linux does.
async fn flush_command(asking: &mut Asking<'_>) -> Result<Option<[u8; 16]>, ConnectionError> {
    for block in [cdb::synchronize_cache(), cdb::synchronize_cache_10()] {
        let (ending, data) = asking.ask_ready(cdb::report_supported(block[0]), 4).await?;
        match data.get(1).map(|byte| byte & 7) {
            // Supported, by the standard or in a way of the vendor's.
            Some(3 | 5) if ending.is_good() => return Ok(Some(block)),
            Some(1) if ending.is_good() => {}
            _ if ending.is_good() || ending.is_illegal() => return Ok(Some(cdb::synchronize_cache_10())),
            _ => return Err(ending.failure()?.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_known_by_its_best_name() {
        let mut page = vec![0, 0x83, 0, 0];
        page.extend([0x02, 0x01, 0, 3, b'a', b'b', b'c']);
        page.extend([0x01, 0x13, 0, 2, 9, 9]);
        page.extend([0x01, 0x03, 0, 2, 0x60, 0x0A]);
        assert_eq!(identity(&page, &[]).as_deref(), Some("3.600a"), "the NAA of the unit, not the port's");
        assert_eq!(identity(&page[..11], &[]).as_deref(), Some("1.616263"));
        assert_eq!(identity(&page[..19], &[]).as_deref(), Some("1.616263"), "what is cut short is left out");
        assert_eq!(identity(&page[..10], &[]), None);
        assert_eq!(identity(&[], &[0, 0x80, 0, 2, b'4', b'2']).as_deref(), Some("serial.3432"));
        assert_eq!(identity(&[], &[0, 0x80, 0, 2, b' ', b' ']), None);
    }

    #[test]
    fn limits_are_kept() {
        let mut page = vec![0; 64];
        page[8..12].copy_from_slice(&2048u32.to_be_bytes());
        assert_eq!((field(&page, 8, 1 << 25, 9), field(&[], 8, 1 << 25, 9)), (1 << 20, 1 << 25));
        assert_eq!(trim_bytes_max(true, &page, 9), 0, "no UNMAP");
        page[20..28].fill(0xFF);
        assert_eq!((trim_bytes_max(true, &page, 9), trim_bytes_max(false, &page, 9)), (TRIM_BYTES_MAX, 0));
    }
}
