//! NBD (proto.md of the NetworkBlockDevice project): fixed newstyle, `GO`, block sizes, structured replies.

mod address;
mod handshake;
mod reply;

use std::rc::Rc;

use quarry_env::Env;
use quarry_nbd_wire::{REQUEST_MAGIC, commands};

pub use address::ExportAddress;

use crate::error::ConnectionError;
use crate::inbox::Inbox;
use crate::outgoing::Outgoing;
use crate::request::{Request, Verb};
use crate::session::Session;
use crate::terms::Terms;

/// Longest reply to an option.
const OPTION_REPLY_BYTES_MAX: u32 = 8 << 10;
/// Longest message in an error chunk.
const ERROR_CHUNK_BYTES_MAX: u32 = 8 << 10;
/// Bytes of a request without its payload.
const HEADER_BYTES: usize = 28;

/// A connection past its negotiation.
pub struct Transmission {
    is_structured: bool,
}

/// Connects and negotiates.
pub async fn connect(
    env: &Env,
    address: &ExportAddress,
) -> Result<(Terms, Inbox, Transmission), ConnectionError> {
    let stream = env.network.connect(&address.server).await?;
    stream.discard_unsent_on_close();
    let (terms, inbox, is_structured) = handshake::negotiate(stream, &env.buffers, &address.export).await?;
    Ok((terms, inbox, Transmission { is_structured }))
}

fn header(command: u16, cookie: u64, offset: u64, length: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    header[6..8].copy_from_slice(&command.to_be_bytes());
    header[8..16].copy_from_slice(&cookie.to_be_bytes());
    header[16..24].copy_from_slice(&offset.to_be_bytes());
    header[24..].copy_from_slice(&length.to_be_bytes());
    header
}

impl Transmission {
    /// Sends a request (proto.md, "Request message").
    pub fn put(&self, cookie: u64, request: &Request, out: &mut Outgoing) {
        let command = match request.verb() {
            Verb::Read => commands::READ,
            Verb::Write => commands::WRITE,
            Verb::Flush => commands::FLUSH,
            Verb::Trim => commands::TRIM,
        };
        out.put(&header(command, cookie, request.offset, request.length));
        out.put_payload(request.payload().to_vec());
    }

    /// Says that no more comes.
    pub fn put_goodbye(&self, out: &mut Outgoing) {
        out.put(&header(commands::DISC, 0, 0, 0));
    }

    /// Receives the next reply or chunk and does what it says.
    pub async fn receive(&self, session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
        reply::receive(session, inbox, self.is_structured).await
    }
}
