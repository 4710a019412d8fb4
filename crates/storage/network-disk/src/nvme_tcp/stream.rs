//! PDUs of a controller, as they come (NVMe/TCP 1.0, 3.6). Nothing here has digests: the pool's checksums say more.

use std::rc::Rc;

use quarry_env::{BufferPool, Env, Stream};
use quarry_nvme_wire::pdu::{
    COMMAND_HEADER_BYTES, Common, HEADER_BYTES, INITIALIZE_BYTES, InitializeRequest, InitializeResponse,
    Layout, Link, kind, put_command,
};
use quarry_nvme_wire::{Command, CompletionEntry};

use super::address::NamespaceAddress;
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;

/// No digests, no alignment.
pub const LINK: Link = Link { header_digest: false, data_digest: false, host_alignment: 0 };
/// The least that a controller must take in one H2CData (3.6.2.3).
const DATA_BYTES_MIN: u32 = 4096;

/// A header of a controller's PDU, whose data has not been received yet.
pub struct Pdu {
    pub common: Common,
    pub header: [u8; HEADER_BYTES],
    pub layout: Layout,
}

impl Pdu {
    /// The completion that a response brings.
    pub fn completion(&self) -> CompletionEntry {
        CompletionEntry::decode(&self.header[8..])
    }
}

/// Connects to a port and agrees on what PDUs look like. Gives the most data that one H2CData may have, in bytes.
pub async fn initialize(env: &Env, address: &NamespaceAddress) -> Result<(Inbox, u32), ConnectionError> {
    let stream = env.network.connect(&address.server).await?;
    stream.discard_unsent_on_close();
    let request = InitializeRequest { link: LINK, ready_to_transfer_max: 0 };
    stream.send(vec![env.buffers.copy_of(&request.encode())]).await?;
    let mut inbox = Inbox::new(stream, env.buffers.clone());
    let bytes: [u8; INITIALIZE_BYTES] = inbox.take_array().await?;
    if bytes[0] == kind::CONTROLLER_TERMINATION {
        return Err(wrong("a termination as the answer to the initialization"));
    }
    // PFV and CPDA: the version of PDUs, and an alignment of data.
    if bytes[8..11] != [0; 3] {
        return Err(wrong("another version of PDUs, or an alignment of data, which this client does not do"));
    }
    let response = InitializeResponse::decode(&bytes).map_err(|_| wrong("another initialization"))?;
    if response.link.header_digest || response.link.data_digest {
        return Err(wrong("digests that were not asked for"));
    }
    if response.data_bytes_max < DATA_BYTES_MIN {
        return Err(wrong("a limit of data below 4096 bytes"));
    }
    Ok((inbox, response.data_bytes_max))
}

/// The next header. Its data, if there is any, is next in the inbox.
pub async fn next_pdu(inbox: &mut Inbox) -> Result<Pdu, ConnectionError> {
    let header: [u8; HEADER_BYTES] = inbox.take_array().await?;
    let common = Common::decode(&header);
    let layout = common.check_from_controller(&LINK, u32::MAX).map_err(|_| wrong("a malformed PDU"))?;
    if common.kind == kind::CONTROLLER_TERMINATION {
        return Err(wrong(
            "the controller ends the connection, because it takes something of ours for an error",
        ));
    }
    // Padding in front of the data.
    inbox.take_vec(layout.data.start - HEADER_BYTES).await?;
    Ok(Pdu { common, header, layout })
}

/// The bytes of a command capsule in front of its data.
pub fn capsule(command: &Command, data_bytes: usize) -> [u8; COMMAND_HEADER_BYTES] {
    let mut header = [0; COMMAND_HEADER_BYTES];
    put_command(&mut header, command, data_bytes, &LINK);
    header
}

/// Sends a few bytes.
pub async fn send(
    stream: &Rc<dyn Stream>,
    buffers: &BufferPool,
    bytes: &[u8],
) -> Result<(), ConnectionError> {
    Ok(stream.send(vec![buffers.copy_of(bytes)]).await?)
}
