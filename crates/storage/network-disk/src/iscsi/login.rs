//! Login (RFC 7143 section 6): straight to the operational stage, without authentication, and into the full feature phase.

use std::collections::BTreeMap;

use quarry_env::Env;
use quarry_iscsi_wire::pdu::{Header, flags, opcode};

use super::address::UnitAddress;
use super::stream::{Numbers, next_header, put, take_data};
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::outgoing::Outgoing;
use crate::transport::Initiator;

/// Largest Data-In that we take, in bytes.
const RECEIVE_BYTES_MAX: u32 = 1 << 20;
/// Most data of one solicited sequence, and most immediate data, that we ask for, in bytes.
const BURST_BYTES: u32 = 1 << 20;
/// Most data that we put into one PDU, in bytes; a header has 24 bits for it.
const SEND_BYTES_MAX: u32 = 1 << 20;
/// What a target takes in one PDU when it does not say, in bytes (RFC 7143 section 13.12).
const TARGET_RECEIVE_BYTES_DEFAULT: u32 = 8192;
/// The least of it.
const TARGET_RECEIVE_BYTES_MIN: u32 = 512;
/// Requests after which a target that comes to no end is given up.
const ROUNDS_MAX: usize = 16;
/// From the operational stage to the full feature phase.
const STAGES: u8 = 1 << 2 | 3;

/// What both sides have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// Most data that goes along with a command, in bytes.
    pub immediate_bytes_max: u32,
    /// Most data of one PDU to the target, in bytes.
    pub send_bytes_max: u32,
}

/// The keys that we propose or declare.
fn keys(address: &UnitAddress, initiator: &Initiator) -> Vec<u8> {
    let keys = [
        format!("InitiatorName={}", initiator.host.iqn),
        format!("TargetName={}", address.target),
        "SessionType=Normal".to_owned(),
        "HeaderDigest=None".to_owned(),
        "DataDigest=None".to_owned(),
        "InitialR2T=Yes".to_owned(),
        "ImmediateData=Yes".to_owned(),
        format!("MaxRecvDataSegmentLength={RECEIVE_BYTES_MAX}"),
        format!("MaxBurstLength={BURST_BYTES}"),
        format!("FirstBurstLength={BURST_BYTES}"),
        "MaxConnections=1".to_owned(),
        "DefaultTime2Wait=0".to_owned(),
        "DefaultTime2Retain=0".to_owned(),
        "MaxOutstandingR2T=1".to_owned(),
        "DataPDUInOrder=Yes".to_owned(),
        "DataSequenceInOrder=Yes".to_owned(),
        "ErrorRecoveryLevel=0".to_owned(),
    ];
    keys.iter().flat_map(|key| key.bytes().chain([0])).collect()
}

/// Logs in. A session with the same name, the same number and the same target ends by that (RFC 7143 section 6.3.5), with
/// all it was asked.
pub async fn log_in(
    env: &Env,
    address: &UnitAddress,
    initiator: &Initiator,
) -> Result<(Inbox, Numbers, Parameters), ConnectionError> {
    let stream = env.network.connect(&address.server).await?;
    stream.discard_unsent_on_close();
    let mut inbox = Inbox::new(stream.clone(), env.buffers.clone());
    let mut numbers = Numbers::new();
    let mut text = keys(address, initiator);
    let mut answered = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        let mut header = Header::new(opcode::LOGIN);
        header.0[0] |= 0x40;
        header.0[1] = flags::FINAL | STAGES;
        header.0[8..14].copy_from_slice(&session_id(initiator.number));
        numbers.stamp(&mut header);
        let mut out = Outgoing::default();
        put(&mut out, header, &text);
        stream.send(out.into_views(&env.buffers)).await?;
        let header = next_header(&mut inbox).await?;
        let data = take_data(&mut inbox, &header).await?;
        if header.opcode() != opcode::LOGIN_RESPONSE {
            return Err(wrong("something else than an answer to the login"));
        }
        read_keys(&data, &mut answered);
        check_status(&header, address, initiator, &answered)?;
        numbers.take_in(&header, true);
        if header.has(flags::FINAL) {
            let parameters = agree(&answered)?;
            return Ok((inbox, numbers, parameters));
        }
        text.clear();
    }
    Err(wrong("a login without an end"))
}

/// The initiator's part of the session's number (ISID): random, as RFC 7143 section 11.12.5 has it.
fn session_id(number: u64) -> [u8; 6] {
    let bytes = number.to_be_bytes();
    [0x80, bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]
}

fn read_keys(data: &[u8], keys: &mut BTreeMap<String, String>) {
    for pair in data.split(|&byte| byte == 0) {
        if let Some((key, value)) = std::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('=')) {
            keys.insert(key.to_owned(), value.to_owned());
        }
    }
}

/// Status class and detail (RFC 7143 section 11.13.5).
fn check_status(
    header: &Header,
    address: &UnitAddress,
    initiator: &Initiator,
    answered: &BTreeMap<String, String>,
) -> Result<(), ConnectionError> {
    let name = &initiator.host.iqn;
    let reason = match (header.0[36], header.0[37]) {
        (0, _) => return Ok(()),
        (1, _) => {
            let place = answered.get("TargetAddress").map_or("another portal", |place| place.as_str());
            format!("it has moved to {}: use that address", place.escape_debug())
        }
        (2, 1) => "it demands authentication (CHAP), which this client does not speak".to_owned(),
        (2, 2) => format!("it does not allow the initiator '{name}'; let it"),
        (2, 3 | 4) => format!("there is none of that name here, or not for the initiator '{name}'"),
        (3, detail) => {
            return Err(ConnectionError::Transient { what: format!("login status 03{detail:02x}") });
        }
        (class, detail) => format!("login status {class:02x}{detail:02x}"),
    };
    Err(ConnectionError::Refused { what: format!("the target '{}'", address.target), reason })
}

/// What the answers mean (RFC 7143 section 13).
fn agree(answered: &BTreeMap<String, String>) -> Result<Parameters, ConnectionError> {
    let number = |key: &str, default: u32| {
        let value = answered.get(key).filter(|value| *value != "Irrelevant");
        let value = value.map_or(Ok(default), |value| value.parse());
        value.map_err(|_| wrong("a key of the login that is no number"))
    };
    let is = |key: &str, value: &str| answered.get(key).is_none_or(|answer| answer == value);
    if !is("HeaderDigest", "None") || !is("DataDigest", "None") {
        return Err(wrong("digests that were not asked for"));
    }
    let send_bytes_max = number("MaxRecvDataSegmentLength", TARGET_RECEIVE_BYTES_DEFAULT)?;
    if send_bytes_max < TARGET_RECEIVE_BYTES_MIN {
        return Err(wrong("a limit of data below 512 bytes"));
    }
    let send_bytes_max = send_bytes_max.min(SEND_BYTES_MAX);
    let first_burst = number("FirstBurstLength", BURST_BYTES)?.min(number("MaxBurstLength", BURST_BYTES)?);
    let immediate_bytes_max =
        if is("ImmediateData", "Yes") { first_burst.min(BURST_BYTES).min(send_bytes_max) } else { 0 };
    Ok(Parameters { immediate_bytes_max, send_bytes_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(pairs: &[(&str, &str)]) -> Result<Parameters, ConnectionError> {
        agree(&pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn answers_bound_what_is_sent() {
        let all = |immediate_bytes_max, send_bytes_max| Parameters { immediate_bytes_max, send_bytes_max };
        assert_eq!(agreed(&[]).unwrap(), all(8192, 8192));
        let lio = [("MaxRecvDataSegmentLength", "262144"), ("FirstBurstLength", "65536")];
        assert_eq!(agreed(&lio).unwrap(), all(65_536, 262_144));
        assert_eq!(agreed(&[lio[0], ("ImmediateData", "No")]).unwrap(), all(0, 262_144));
        assert_eq!(agreed(&[("MaxRecvDataSegmentLength", "4294967295")]).unwrap(), all(1 << 20, 1 << 20));
        assert_eq!(
            agreed(&[("FirstBurstLength", "Irrelevant"), ("ImmediateData", "No")]).unwrap(),
            all(0, 8192)
        );
        assert!(agreed(&[("MaxRecvDataSegmentLength", "12")]).is_err());
        assert!(agreed(&[("MaxBurstLength", "much")]).is_err());
        assert!(agreed(&[("DataDigest", "CRC32C")]).is_err());
    }
}
