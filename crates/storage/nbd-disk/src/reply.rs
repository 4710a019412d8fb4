//! Replies: simple ones, and chunks of structured ones (proto.md, "Simple reply message", "Structured reply chunk message").

use std::io;
use std::rc::Rc;

use quarry_nbd_wire::{SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunks};

use crate::error::{ConnectionError, ESHUTDOWN};
use crate::inbox::Inbox;
use crate::limits::ERROR_CHUNK_BYTES_MAX;
use crate::session::Session;

const fn wrong(what: &'static str) -> ConnectionError {
    ConnectionError::Protocol { what }
}

/// Receives the next reply or chunk and does what it says.
pub async fn receive(session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
    let magic = u32::from_be_bytes(inbox.take_array().await?);
    let result = match magic {
        SIMPLE_REPLY_MAGIC => receive_simple(session, inbox).await,
        STRUCTURED_REPLY_MAGIC if session.terms.structured => receive_chunk(session, inbox).await,
        _ => Err(wrong("a reply without its magic number")),
    };
    session.heard.set(session.env.clock.now());
    result
}

async fn receive_simple(session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
    let error = u32::from_be_bytes(inbox.take_array().await?);
    let cookie = u64::from_be_bytes(inbox.take_array().await?);
    let length = data_length(session, cookie)?;
    match (error, length) {
        (0, Some(_)) if session.terms.structured => return Err(wrong("data in a simple reply")),
        (0, Some(length)) => receive_data(session, inbox, cookie, 0, length).await?,
        (0, None) => {}
        (error, _) => note_error(session, cookie, error)?,
    }
    finish(session, cookie)
}

/// How much data answers a request; `None` for what is answered without.
fn data_length(session: &Session, cookie: u64) -> Result<Option<u32>, ConnectionError> {
    let length =
        session.with_request(cookie, |request| request.buffer_of_read().is_some().then_some(request.length));
    length.ok_or(wrong("an answer that nobody waits for"))
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

async fn receive_data(
    session: &Rc<Session>,
    inbox: &mut Inbox,
    cookie: u64,
    at: u32,
    length: u32,
) -> Result<(), ConnectionError> {
    let taken = session.with_request(cookie, |request| request.buffer_of_read()?.0.take());
    let buffer = taken.flatten().ok_or(wrong("data that nobody waits for"))?;
    let (back, result) = inbox.take_into(buffer, at as usize, length as usize).await;
    session.with_request(cookie, |request| {
        if let Some((buffer, received)) = request.buffer_of_read() {
            *buffer = Some(back);
            *received = received.saturating_add(length);
        }
    });
    Ok(result?)
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
    session.with_request(cookie, |request| request.error.get_or_insert(error.max(1)).to_owned());
    Ok(())
}

/// The reply is complete. Of a read, as many bytes as were asked for must have come; that these are the right ones is what
/// the checksums of the pool say.
fn finish(session: &Rc<Session>, cookie: u64) -> Result<(), ConnectionError> {
    let is_short = session.with_request(cookie, |request| {
        let (has_failed, length) = (request.error.is_some(), request.length);
        request.buffer_of_read().is_some_and(|(_, received)| !has_failed && *received != length)
    });
    if is_short == Some(true) {
        return Err(wrong("an answer that is too short or too long"));
    }
    session.finish(cookie);
    Ok(())
}
