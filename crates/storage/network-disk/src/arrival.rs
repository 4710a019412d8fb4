//! Data and answers, as they arrive for requests on their way.

use std::io;
use std::rc::Rc;

use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::session::Session;

/// How much data answers a request; `None` for what is answered without.
pub fn data_length(session: &Session, cookie: u64) -> Result<Option<u32>, ConnectionError> {
    let length =
        session.with_request(cookie, |request| request.buffer_of_read().is_some().then_some(request.length));
    length.ok_or(wrong("an answer that nobody waits for"))
}

/// Receives `length` bytes that belong `at` bytes into what was read. More than was read is a fault of the peer.
pub async fn receive_data(
    session: &Rc<Session>,
    inbox: &mut Inbox,
    cookie: u64,
    at: u32,
    length: u32,
) -> Result<(), ConnectionError> {
    let expected = data_length(session, cookie)?.ok_or(wrong("data that nobody waits for"))?;
    if at.checked_add(length).is_none_or(|end| end > expected) {
        return Err(wrong("data outside the range that was read"));
    }
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

/// What ends a connection when data was asked for that must not be sent any more.
pub fn claim_is_over() -> ConnectionError {
    ConnectionError::Transient {
        what: "data was asked for when the disk was not known to be ours any more".to_owned(),
    }
}

/// The server says that a request has failed. What it says first counts.
pub fn note_error(session: &Session, cookie: u64, error: io::Error) {
    session.with_request(cookie, |request| {
        request.error.get_or_insert(error);
    });
}

/// The answer is complete. Of a read, as many bytes as were asked for must have come; that these are the right ones is what
/// the checksums of the pool say.
pub fn finish(session: &Rc<Session>, cookie: u64) -> Result<(), ConnectionError> {
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
