//! Replies: simple ones, and chunks of structured ones (proto.md, "Simple reply message", "Structured reply chunk message").

use std::io;
use std::rc::Rc;

use quarry_nbd_wire::{SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunks};

use super::ERROR_CHUNK_BYTES_MAX;
use crate::arrival::{data_length, finish, receive_data};
use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::session::Session;

/// The server is going away: the request was not carried out, and another connection will do.
const ESHUTDOWN: u32 = 108;

/// Receives the next reply or chunk and does what it says.
pub async fn receive(
    session: &Rc<Session>,
    inbox: &mut Inbox,
    is_structured: bool,
) -> Result<(), ConnectionError> {
    let magic = u32::from_be_bytes(inbox.take_array().await?);
    match magic {
        SIMPLE_REPLY_MAGIC => receive_simple(session, inbox, is_structured).await,
        STRUCTURED_REPLY_MAGIC if is_structured => receive_chunk(session, inbox).await,
        _ => Err(wrong("a reply without its magic number")),
    }
}

async fn receive_simple(
    session: &Rc<Session>,
    inbox: &mut Inbox,
    is_structured: bool,
) -> Result<(), ConnectionError> {
    let error = u32::from_be_bytes(inbox.take_array().await?);
    let cookie = u64::from_be_bytes(inbox.take_array().await?);
    let length = data_length(session, cookie)?;
    match (error, length) {
        (0, Some(_)) if is_structured => return Err(wrong("data in a simple reply")),
        (0, Some(length)) => receive_data(session, inbox, cookie, 0, length).await?,
        (0, None) => {}
        (error, _) => note_error(session, cookie, error)?,
    }
    finish(session, cookie)
}

async fn receive_chunk(session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
    let flags = u16::from_be_bytes(inbox.take_array().await?);
    let kind = u16::from_be_bytes(inbox.take_array().await?);
    let cookie = u64::from_be_bytes(inbox.take_array().await?);
    let length = u32::from_be_bytes(inbox.take_array().await?);
    let asked = data_length(session, cookie)?;
    match kind {
        chunks::NONE if length == 0 => {}
        chunks::OFFSET_DATA if length > 8 && asked.is_some() => {
            let offset = u64::from_be_bytes(inbox.take_array().await?);
            let at = place(session, cookie, offset, length - 8)?;
            receive_data(session, inbox, cookie, at, length - 8).await?;
        }
        chunks::OFFSET_HOLE if length == 12 && asked.is_some() => {
            let offset = u64::from_be_bytes(inbox.take_array().await?);
            let hole = u32::from_be_bytes(inbox.take_array().await?);
            let at = place(session, cookie, offset, hole)?;
            fill_hole(session, cookie, at, hole);
        }
        kind if kind & chunks::ERROR_BIT != 0 && (6..=ERROR_CHUNK_BYTES_MAX).contains(&length) => {
            let error = u32::from_be_bytes(inbox.take_array().await?);
            inbox.take_vec(length as usize - 4).await?;
            note_error(session, cookie, error)?;
        }
        _ => return Err(wrong("a chunk of another kind or length")),
    }
    if flags & chunks::FLAG_DONE != 0 { finish(session, cookie) } else { Ok(()) }
}

/// Where a part of the answer belongs.
fn place(session: &Session, cookie: u64, offset: u64, length: u32) -> Result<u32, ConnectionError> {
    let range = session.with_request(cookie, |request| request.range()).unwrap_or_default();
    match offset.checked_add(length.into()) {
        Some(end) if offset >= range.start && end <= range.end => Ok((offset - range.start) as u32),
        _ => Err(wrong("data outside the range that was read")),
    }
}

fn fill_hole(session: &Session, cookie: u64, at: u32, length: u32) {
    session.with_request(cookie, |request| {
        if let Some((Some(buffer), received)) = request.buffer_of_read() {
            buffer[at as usize..(at + length) as usize].fill(0);
            *received = received.saturating_add(length);
        }
    });
}

/// A server that goes away has not done it: another connection will.
fn note_error(session: &Session, cookie: u64, error: u32) -> Result<(), ConnectionError> {
    if error == ESHUTDOWN {
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is shutting down").into());
    }
    crate::arrival::note_error(session, cookie, server_error(error.max(1)));
    Ok(())
}

/// What an error number of the protocol (proto.md, "Error values") is here.
fn server_error(errno: u32) -> io::Error {
    let kind = match errno {
        1 => io::ErrorKind::PermissionDenied,
        12 => io::ErrorKind::OutOfMemory,
        22 | 75 => io::ErrorKind::InvalidInput,
        28 => io::ErrorKind::StorageFull,
        95 => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the NBD server answers with error {errno}"))
}
