//! How a connection begins: an admin queue, its controller, a namespace, and an I/O queue.

use std::time::Duration;

use quarry_env::Env;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::bytes::{u16_at, u32_at, u64_at};
use quarry_nvme_wire::constants::{admin, feature, identify};
use quarry_nvme_wire::property::{COMPLETION_ENTRY_LOG2, SUBMISSION_ENTRY_LOG2, bits, offset};

use super::address::NamespaceAddress;
use super::admin::{Asking, IDENTIFY_BYTES, Wanted};
use super::stream::initialize;
use super::{KEEP_ALIVE_MS, Limits, Queue};
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::limits::{PAYLOAD_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, TRIM_BYTES_MAX};
use crate::terms::Terms;
use crate::transport::Initiator;

/// The controller id by which a host leaves the choice to the subsystem.
const ANY_CONTROLLER: u16 = 0xFFFF;
const ADMIN_ENTRIES: u16 = 32;
/// More than the requests that a session has on their way, for those of the claim.
const IO_ENTRIES: u16 = REQUESTS_IN_FLIGHT_MAX as u16 + 8;
/// How often somebody looks whether the controller is ready.
const READY_PAUSE: Duration = Duration::from_millis(10);
/// Blocks of 512 bytes to 4 KiB.
const BLOCK_LOG2: std::ops::RangeInclusive<u8> = 9..=12;

/// What of a controller's identity is of use.
struct ControllerFacts {
    transfer_bytes_max: u32,
    capsule_data_bytes: u32,
    can_deallocate: bool,
    keeps_alive: bool,
    serial: String,
}

/// Connects until requests can be sent.
pub async fn connect(
    env: &Env,
    address: &NamespaceAddress,
    initiator: &Initiator,
) -> Result<(Terms, Inbox, Queue), ConnectionError> {
    let wanted = Wanted {
        host: &initiator.host,
        subsystem: &address.subsystem,
        queue: 0,
        entries: ADMIN_ENTRIES,
        controller: ANY_CONTROLLER,
        keep_alive_ms: KEEP_ALIVE_MS,
    };
    let (inbox, _) = initialize(env, address).await?;
    let mut asking = Asking::new(inbox, env.buffers.clone());
    let controller = asking.connect_queue(&wanted).await?;
    let capabilities = enable(env, &mut asking).await?;
    let facts = controller_facts(&mut asking, capabilities).await?;
    let queues = Asking::command(admin::SET_FEATURES).dword(10, feature::QUEUES.into()).dword(11, 0);
    asking.require(queues, 0, "asking for a queue").await?;
    let (terms, block_log2) = terms_of(&mut asking, address, &facts).await?;
    // Bits 15:0 of the capabilities: the most entries of a queue, less one.
    let entries = IO_ENTRIES.min((capabilities as u16).saturating_add(1));
    if entries < 2 {
        return Err(wrong("queues without room for a command"));
    }
    let (inbox, data_bytes_max) = initialize(env, address).await?;
    let mut io = Asking::new(inbox, env.buffers.clone());
    io.connect_queue(&Wanted { queue: 1, entries, controller, keep_alive_ms: 0, ..wanted }).await?;
    let limits = Limits {
        namespace: address.namespace,
        block_log2,
        capsule_data_bytes: facts.capsule_data_bytes,
        data_bytes_max,
        // One less than the queue has: a full one cannot be told from an empty one.
        commands_max: usize::from(entries) - 1,
        keeps_alive: facts.keeps_alive,
    };
    Ok((terms, io.into_inbox(), Queue::new(limits, asking)))
}

/// Enables the controller and waits until it is ready. Gives its capabilities.
async fn enable(env: &Env, asking: &mut Asking) -> Result<u64, ConnectionError> {
    let capabilities = asking.property(offset::CAPABILITIES, true).await?;
    let configuration = bits::ENABLE
        | u32::from(SUBMISSION_ENTRY_LOG2) << bits::SUBMISSION_ENTRY_SHIFT
        | u32::from(COMPLETION_ENTRY_LOG2) << bits::COMPLETION_ENTRY_SHIFT;
    asking.set_property(offset::CONFIGURATION, configuration).await?;
    // The time of connecting bounds this.
    loop {
        let status = asking.property(offset::STATUS, false).await? as u32;
        if status & bits::FATAL != 0 {
            return Err(ConnectionError::Transient { what: "its controller has failed".to_owned() });
        }
        if status & bits::READY != 0 {
            return Ok(capabilities);
        }
        env.clock.sleep(READY_PAUSE).await;
    }
}

/// Identify Controller (Base 2.0, figure 275).
async fn controller_facts(
    asking: &mut Asking,
    capabilities: u64,
) -> Result<ControllerFacts, ConnectionError> {
    let answer = asking.identify(identify::CONTROLLER, 0).await?;
    if answer.status != Status::SUCCESS || answer.data.len() != IDENTIFY_BYTES {
        return Err(wrong("a controller that does not say what it is"));
    }
    let page = &answer.data;
    // In pages of the smallest size that the controller knows (CAP.MPSMIN); 0 for no limit.
    let page_log2 = 12 + (capabilities >> 48 & 0xF) as u32;
    let transfer_bytes_max = match page[77] {
        0 => PAYLOAD_BYTES_MAX,
        log2 => 1u32.checked_shl(page_log2 + u32::from(log2)).unwrap_or(PAYLOAD_BYTES_MAX),
    };
    let command_bytes = u32_at(page, 1792).saturating_mul(16);
    // Data in a capsule begins right behind the command, or is not for us.
    let capsule_data_bytes = if u16_at(page, 1800) == 0 { command_bytes.saturating_sub(64) } else { 0 };
    Ok(ControllerFacts {
        transfer_bytes_max: transfer_bytes_max.min(PAYLOAD_BYTES_MAX),
        capsule_data_bytes,
        can_deallocate: u16_at(page, 520) & 1 << 2 != 0,
        keeps_alive: u16_at(page, 320) != 0,
        serial: String::from_utf8_lossy(&page[4..24]).trim().escape_debug().to_string(),
    })
}

/// What the namespace is (NVM command set 1.0, figure 97), and the logarithm of its block size.
async fn terms_of(
    asking: &mut Asking,
    address: &NamespaceAddress,
    facts: &ControllerFacts,
) -> Result<(Terms, u32), ConnectionError> {
    let missing = || ConnectionError::Refused {
        what: format!("the namespace {} of '{}'", address.namespace, address.subsystem),
        reason: "there is none of that number, or not for this host".to_owned(),
    };
    let unfit =
        |reason: &str| ConnectionError::Unfit { address: address.to_string(), reason: reason.to_owned() };
    let answer = asking.identify(identify::NAMESPACE, address.namespace).await?;
    if answer.status != Status::SUCCESS {
        return Err(missing());
    }
    let page = &answer.data;
    if page.len() != IDENTIFY_BYTES {
        return Err(wrong("a namespace that does not say what it is"));
    }
    let blocks = u64_at(page, 0);
    if blocks == 0 {
        return Err(missing());
    }
    let format = usize::from(page[26] & 0xF | page[26] >> 1 & 0x30);
    let (metadata_bytes, block_log2) = (u16_at(page, 128 + 4 * format), page[128 + 4 * format + 2]);
    if metadata_bytes != 0 || page[29] & 7 != 0 {
        return Err(unfit("its blocks have metadata; format it without"));
    }
    if !BLOCK_LOG2.contains(&block_log2) {
        return Err(unfit("its blocks are neither 512 bytes nor up to 4 KiB"));
    }
    // Mandatory since NVMe 1.3; what is older has its names in the page above.
    let described = asking.identify(identify::NAMESPACE_DESCRIPTORS, address.namespace).await?;
    let descriptors = if described.status == Status::SUCCESS { described.data } else { Vec::new() };
    let block_bytes = 1u32 << block_log2;
    // NPWG, where NSFEAT says that it counts.
    let preferred_blocks = if page[24] & 1 << 4 != 0 { u32::from(u16_at(page, 64)) + 1 } else { 1 };
    let terms = Terms {
        size_bytes: blocks.checked_mul(block_bytes.into()).ok_or(wrong("a namespace of too many blocks"))?,
        block_bytes_min: block_bytes,
        block_bytes_preferred: preferred_blocks.saturating_mul(block_bytes).max(4096),
        payload_bytes_max: facts.transfer_bytes_max.min(block_bytes << 15),
        trim_bytes_max: if facts.can_deallocate { TRIM_BYTES_MAX } else { 0 },
        is_read_only: page[99] & 1 != 0,
        // Flush is mandatory; without a volatile cache it has nothing to do.
        can_flush: true,
        shares_flush: true,
        identity: Some(identity(page, &descriptors, address.namespace, facts)),
    };
    Ok((terms, u32::from(block_log2)))
}

/// The namespace's world-wide names: NGUID, EUI-64, UUID, all that it has; where it has none, the serial number of what it belongs
/// to, and its number there.
fn identity(page: &[u8], descriptors: &[u8], namespace: u32, facts: &ControllerFacts) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut names = vec![("eui", page[120..128].to_vec()), ("nguid", page[104..120].to_vec())];
    let mut rest = descriptors;
    // Type, length, two reserved bytes, and the name (Base 2.0, figure 276). A length of 0 is the end.
    while let [kind, length, _, _, behind @ ..] = rest
        && *length > 0
    {
        let Some(name) = behind.get(..usize::from(*length)) else { break };
        match kind {
            1 => names.push(("eui", name.to_vec())),
            2 => names.push(("nguid", name.to_vec())),
            3 => names.push(("uuid", name.to_vec())),
            _ => {}
        }
        rest = &behind[usize::from(*length)..];
    }
    names.retain(|(_, name)| name.iter().any(|&byte| byte != 0));
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => format!("serial.{}/{namespace}", facts.serial),
        false => {
            names.iter().map(|(kind, name)| format!("{kind}.{}", hex(name))).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_known_by_all_of_its_names() {
        let facts = ControllerFacts {
            transfer_bytes_max: 0,
            capsule_data_bytes: 0,
            can_deallocate: false,
            keeps_alive: false,
            serial: "S1".to_owned(),
        };
        let mut page = vec![0; IDENTIFY_BYTES];
        assert_eq!(identity(&page, &[], 7, &facts), "serial.S1/7");
        // As Linux's target has it: a UUID alone.
        let mut descriptors = vec![3, 16, 0, 0];
        descriptors.extend([0xAB; 16]);
        descriptors.extend([0; 8]);
        assert_eq!(identity(&page, &descriptors, 7, &facts), format!("uuid.{}", "ab".repeat(16)));
        assert_eq!(identity(&page, &descriptors[..9], 7, &facts), "serial.S1/7", "cut short");
        page[127] = 1;
        let both = identity(&page, &descriptors, 7, &facts);
        assert_eq!(both, format!("eui.0000000000000001 uuid.{}", "ab".repeat(16)));
    }
}
