//! One connection after the other: made, served until it ends, made again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, join, select};
use quarry_env::{Env, Stream, View};
use quarry_nbd_wire::{REQUEST_MAGIC, commands, transmission_flags};

use crate::address::ExportAddress;
use crate::error::ConnectionError;
use crate::handshake::{Terms, negotiate};
use crate::inbox::Inbox;
use crate::limits::{CONNECT_TIME_MAX, REQUESTS_IN_FLIGHT_MAX, RESPONSE_TIME_MAX, RETRY_PAUSE};
use crate::reply;
use crate::request::HEADER_BYTES;
use crate::session::Session;

/// How often the watch looks whether the server has gone silent.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// How often somebody looks whether another core has renewed the claim.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// Connects and negotiates, in bounded time.
pub async fn connect(env: &Env, address: &ExportAddress) -> Result<(Terms, Inbox), ConnectionError> {
    let connecting = async {
        let stream = env.network.connect(&address.server).await?;
        stream.discard_unsent_on_close();
        negotiate(stream, &env.buffers, &address.export).await
    };
    match select(Box::pin(connecting), env.clock.sleep(CONNECT_TIME_MAX)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(ConnectionError::Silent { seconds: CONNECT_TIME_MAX.as_secs() }),
    }
}

/// A connection in use, and why it has ended.
struct Link {
    stream: Rc<dyn Stream>,
    failure: RefCell<Option<ConnectionError>>,
}

impl Link {
    /// Ends the connection; the first reason counts.
    fn fail(&self, session: &Session, error: ConnectionError) {
        self.failure.borrow_mut().get_or_insert(error);
        self.stream.shutdown();
        session.changed.raise();
    }

    fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }
}

/// Serves a session to its end, beginning with a connection that is there.
pub async fn run(session: Rc<Session>, first: Inbox) {
    let mut next = Some(first);
    let mut again = false;
    while let Some(inbox) = next {
        session.export.note_connected(again);
        session.begin_connection();
        let error = serve(&session, inbox).await;
        session.end_connection();
        if session.is_over() {
            break;
        }
        tracing::warn!(device = %session.address, %error, "an NBD server is away; its requests wait");
        next = reconnect(&session, error).await;
        again = true;
    }
    session.leave();
}

/// Serves until the connection ends.
async fn serve(session: &Rc<Session>, inbox: Inbox) -> ConnectionError {
    let link = Rc::new(Link { stream: inbox.stream().clone(), failure: RefCell::default() });
    // Dropping it with the end of this function ends it.
    let _watch = session.env.spawner.spawn(watch(session.clone(), link.clone()));
    // Both to their ends: what the receiver holds in its hands must not be dropped.
    join(send_all(session, &link), receive_all(session, &link, inbox)).await;
    link.failure.take().unwrap_or(ConnectionError::Protocol { what: "an end without a reason" })
}

async fn receive_all(session: &Rc<Session>, link: &Link, mut inbox: Inbox) {
    while !link.has_failed() {
        if let Err(error) = reply::receive(session, &mut inbox).await {
            link.fail(session, error);
        }
        if session.lost().is_some() {
            link.fail(session, ConnectionError::Protocol { what: "an answer that ends its use" });
        }
    }
}

async fn send_all(session: &Rc<Session>, link: &Link) {
    while !link.has_failed() {
        let version = session.changed.version();
        let batch = next_batch(session);
        if !batch.is_empty() {
            if let Err(error) = link.stream.send(batch).await {
                link.fail(session, error.into());
            }
        } else if session.is_over() {
            say_goodbye(session, link).await;
        } else if session.waits_for_claim() {
            session.env.clock.sleep(CLAIM_POLL).await;
        } else {
            session.changed.after(version).await;
        }
    }
}

/// Everything that can be sent now: headers in one buffer, payloads as they are.
fn next_batch(session: &Session) -> Vec<View> {
    let mut headers: Vec<u8> = Vec::new();
    let mut payloads: Vec<Vec<View>> = Vec::new();
    while payloads.len() < REQUESTS_IN_FLIGHT_MAX {
        let next = session.next_to_send(|cookie, request| {
            headers.extend(request.header(cookie));
            request.payload().to_vec()
        });
        match next {
            Some(payload) => payloads.push(payload),
            None => break,
        }
    }
    if payloads.is_empty() {
        return Vec::new();
    }
    let headers = session.env.buffers.copy_of(&headers);
    let mut batch = Vec::new();
    for (number, payload) in payloads.into_iter().enumerate() {
        batch.push(headers.slice(number * HEADER_BYTES..(number + 1) * HEADER_BYTES));
        batch.extend(payload);
    }
    batch
}

async fn say_goodbye(session: &Session, link: &Link) {
    let mut request = [0; HEADER_BYTES];
    request[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    request[6..8].copy_from_slice(&commands::DISC.to_be_bytes());
    // Nothing depends on it: the server owes nothing, and the end of the stream says the same.
    let _ = link.stream.send(vec![session.env.buffers.copy_of(&request)]).await;
    link.fail(session, std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into());
}

/// Ends the connection when the server owes answers and says nothing.
async fn watch(session: Rc<Session>, link: Rc<Link>) {
    loop {
        session.env.clock.sleep(WATCH_PAUSE).await;
        let silence = session.env.clock.now().saturating_sub(session.heard.get());
        if session.is_owed() && silence > RESPONSE_TIME_MAX {
            link.fail(&session, ConnectionError::Silent { seconds: RESPONSE_TIME_MAX.as_secs() });
            return;
        }
    }
}

/// Tries until there is a connection to the same export, the session is closed, or those who wait have waited enough.
async fn reconnect(session: &Rc<Session>, mut reason: ConnectionError) -> Option<Inbox> {
    loop {
        if session.is_over() {
            return None;
        }
        if session.is_hopeless() {
            session.lose(&reason.to_string());
            return None;
        }
        match connect(&session.env, &session.address).await {
            Ok((terms, inbox)) if is_same(&session.terms, &terms) => {
                tracing::info!(device = %session.address, "an NBD server is back");
                return Some(inbox);
            }
            Ok(_) => {
                let reason_text = "its size, block size or abilities have changed".to_owned();
                reason =
                    ConnectionError::Unfit { export: session.address.export.clone(), reason: reason_text };
            }
            Err(error) => reason = error,
        }
        session.env.clock.sleep(RETRY_PAUSE).await;
    }
}

/// Whether an export can go on where another connection has left off. It may have grown.
fn is_same(before: &Terms, now: &Terms) -> bool {
    let needed = before.flags
        & (transmission_flags::SEND_FLUSH
            | transmission_flags::SEND_TRIM
            | transmission_flags::CAN_MULTI_CONN);
    now.size_bytes >= before.size_bytes
        && now.flags & needed == needed
        && (before.has(transmission_flags::READ_ONLY) || !now.has(transmission_flags::READ_ONLY))
        && now.block_bytes_min <= before.block_bytes_min
        && now.payload_bytes_max >= before.payload_bytes_max
        && now.structured == before.structured
}
