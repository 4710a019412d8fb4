//! Fixed newstyle negotiation from the client's side (proto.md, "Newstyle negotiation").

use std::rc::Rc;

use quarry_env::{BufferPool, Stream};
use quarry_nbd_wire::{
    NBD_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC, handshake_flags, info, option_replies, options,
    transmission_flags,
};

use super::OPTION_REPLY_BYTES_MAX;
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::limits::{PAYLOAD_BYTES_MAX, TRIM_BYTES_MAX};
use crate::terms::Terms;

/// One reply to an option.
struct Reply {
    kind: u32,
    data: Vec<u8>,
}

/// Negotiates over a fresh stream until requests can be sent. Says also whether reads are answered in chunks.
pub async fn negotiate(
    stream: Rc<dyn Stream>,
    buffers: &BufferPool,
    export: &str,
) -> Result<(Terms, Inbox, bool), ConnectionError> {
    let mut inbox = Inbox::new(stream, buffers.clone());
    let flags = greeting(&mut inbox).await?;
    let client_flags = flags & (handshake_flags::FIXED_NEWSTYLE | handshake_flags::NO_ZEROES);
    send(&inbox, buffers, &u32::from(client_flags).to_be_bytes()).await?;
    send_option(&inbox, buffers, options::STRUCTURED_REPLY, &[]).await?;
    let is_structured =
        receive_reply(&mut inbox, options::STRUCTURED_REPLY).await?.kind == option_replies::ACK;
    send_option(&inbox, buffers, options::GO, &go(export)).await?;
    let mut described = None;
    let mut blocks = (1, 4096, PAYLOAD_BYTES_MAX);
    loop {
        let reply = receive_reply(&mut inbox, options::GO).await?;
        match reply.kind {
            option_replies::INFO => describe(&reply.data, &mut described, &mut blocks)?,
            option_replies::ACK => break,
            kind => {
                let message = String::from_utf8_lossy(&reply.data).escape_debug().to_string();
                let refusal = refusal(kind);
                let separator = if message.is_empty() { "" } else { ": " };
                let reason = format!("{refusal}{separator}{message}");
                return Err(ConnectionError::Refused { what: format!("the export '{export}'"), reason });
            }
        }
    }
    let (size_bytes, flags) = described.ok_or(wrong("an export without a size"))?;
    if flags & transmission_flags::HAS_FLAGS == 0 {
        return Err(wrong("an export without flags"));
    }
    let has = |flag| flags & flag != 0;
    let (block_bytes_min, block_bytes_preferred, payload_bytes_max) = blocks;
    let terms = Terms {
        size_bytes,
        block_bytes_min,
        block_bytes_preferred,
        payload_bytes_max,
        trim_bytes_max: if has(transmission_flags::SEND_TRIM) { TRIM_BYTES_MAX } else { 0 },
        is_read_only: has(transmission_flags::READ_ONLY),
        can_flush: has(transmission_flags::SEND_FLUSH),
        shares_flush: has(transmission_flags::CAN_MULTI_CONN),
        identity: None,
    };
    Ok((terms, inbox, is_structured))
}

async fn greeting(inbox: &mut Inbox) -> Result<u16, ConnectionError> {
    let magic = u64::from_be_bytes(inbox.take_array().await?);
    let second = u64::from_be_bytes(inbox.take_array().await?);
    if magic != NBD_MAGIC || second != OPTION_MAGIC {
        return Err(wrong("another greeting"));
    }
    let flags = u16::from_be_bytes(inbox.take_array().await?);
    if flags & handshake_flags::FIXED_NEWSTYLE == 0 {
        return Err(wrong("no fixed newstyle negotiation"));
    }
    Ok(flags)
}

async fn send(inbox: &Inbox, buffers: &BufferPool, bytes: &[u8]) -> Result<(), ConnectionError> {
    Ok(inbox.stream().send(vec![buffers.copy_of(bytes)]).await?)
}

async fn send_option(
    inbox: &Inbox,
    buffers: &BufferPool,
    option: u32,
    data: &[u8],
) -> Result<(), ConnectionError> {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    send(inbox, buffers, &bytes).await
}

/// The data of `GO`: the name, and that block sizes are wanted and will be kept to.
fn go(export: &str) -> Vec<u8> {
    let mut bytes = (export.len() as u32).to_be_bytes().to_vec();
    bytes.extend(export.as_bytes());
    bytes.extend(1u16.to_be_bytes());
    bytes.extend(info::BLOCK_SIZE.to_be_bytes());
    bytes
}

async fn receive_reply(inbox: &mut Inbox, option: u32) -> Result<Reply, ConnectionError> {
    if u64::from_be_bytes(inbox.take_array().await?) != OPTION_REPLY_MAGIC {
        return Err(wrong("a reply to an option without its magic number"));
    }
    if u32::from_be_bytes(inbox.take_array().await?) != option {
        return Err(wrong("a reply to another option"));
    }
    let kind = u32::from_be_bytes(inbox.take_array().await?);
    let length = u32::from_be_bytes(inbox.take_array().await?);
    if length > OPTION_REPLY_BYTES_MAX {
        return Err(wrong("a reply to an option that is too long"));
    }
    Ok(Reply { kind, data: inbox.take_vec(length as usize).await? })
}

fn describe(
    data: &[u8],
    described: &mut Option<(u64, u16)>,
    blocks: &mut (u32, u32, u32),
) -> Result<(), ConnectionError> {
    let wrong = wrong("a description of an export that is malformed");
    let Some((kind, data)) = data.split_first_chunk() else { return Err(wrong) };
    let word = |at: usize| data[at..at + 4].try_into().map(u32::from_be_bytes).unwrap_or_default();
    match (u16::from_be_bytes(*kind), data.len()) {
        (info::EXPORT, 10) => {
            let size_bytes = u64::from(word(0)) << 32 | u64::from(word(4));
            *described = Some((size_bytes, u16::from_be_bytes([data[8], data[9]])));
        }
        (info::BLOCK_SIZE, 12) => {
            *blocks = (word(0), word(4), word(8));
            if !blocks.0.is_power_of_two() || blocks.2 < blocks.0 {
                return Err(wrong);
            }
        }
        (info::EXPORT | info::BLOCK_SIZE, _) => return Err(wrong),
        _ => {}
    }
    Ok(())
}

fn refusal(reply: u32) -> &'static str {
    match reply {
        option_replies::ERR_UNKNOWN => "there is none of that name",
        option_replies::ERR_TLS_REQD => "it demands TLS, which this client does not speak",
        option_replies::ERR_POLICY => "by policy",
        option_replies::ERR_UNSUP => "it does not know the option GO",
        _ => "it gives no known reason",
    }
}
