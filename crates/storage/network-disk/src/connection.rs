//! One connection after the other: made, served until it ends, made again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join;
use quarry_env::{Stream, View};

use crate::error::{ConnectionError, wrong};
use crate::inbox::Inbox;
use crate::limits::{REQUEST_TIME_MAX, REQUESTS_IN_FLIGHT_MAX, RESPONSE_TIME_MAX, RETRY_PAUSE};
use crate::outgoing::Outgoing;
use crate::session::Session;
use crate::transport::{Connected, Transport, connect};

/// How often the watch looks whether the server has gone silent.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// A connection that has lasted less is not made again without a pause: its server may end each one at once.
const SHORT_TIME: Duration = Duration::from_secs(1);

/// How often somebody looks whether another core has renewed the claim.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// A connection in use, and why it has ended.
struct Link {
    stream: Rc<dyn Stream>,
    transport: Transport,
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
pub async fn run(session: Rc<Session>, first: Connected) {
    let mut next = Some(first);
    let mut again = false;
    while let Some(connected) = next {
        session.remote.note_connected(again);
        session.begin_connection();
        let began = session.env.clock.now();
        let error = serve(&session, connected).await;
        session.end_connection();
        if session.is_over() {
            break;
        }
        tracing::warn!(device = %session.address, %error, "the server of a device is away; its requests wait");
        if session.env.clock.now() - began < SHORT_TIME {
            session.env.clock.sleep(RETRY_PAUSE).await;
        }
        next = reconnect(&session, error).await;
        again = true;
    }
    session.leave();
}

/// Serves until the connection ends.
async fn serve(session: &Rc<Session>, connected: Connected) -> ConnectionError {
    let Connected { inbox, transport, .. } = connected;
    let link = Rc::new(Link { stream: inbox.stream().clone(), transport, failure: RefCell::default() });
    // Dropping them with the end of this function ends them.
    let _watch = session.env.spawner.spawn(watch(session.clone(), link.clone()));
    let _tending = session.env.spawner.spawn(tend(session.clone(), link.clone()));
    // Both to their ends: what the receiver holds in its hands must not be dropped.
    join(send_all(session, &link), receive_all(session, &link, inbox)).await;
    link.failure.take().unwrap_or(wrong("an end without a reason"))
}

async fn receive_all(session: &Rc<Session>, link: &Link, mut inbox: Inbox) {
    while !link.has_failed() {
        if let Err(error) = link.transport.receive(session, &mut inbox).await {
            link.fail(session, error);
        }
        if session.lost().is_some() {
            link.fail(session, wrong("an answer that ends its use"));
        }
    }
}

async fn send_all(session: &Rc<Session>, link: &Link) {
    while !link.has_failed() {
        let version = session.changed.version();
        let batch = match next_batch(session, &link.transport) {
            Ok(batch) => batch,
            Err(error) => {
                link.fail(session, error);
                return;
            }
        };
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

/// Everything that can be sent now.
fn next_batch(session: &Session, transport: &Transport) -> Result<Vec<View>, ConnectionError> {
    let mut out = Outgoing::default();
    transport.put_owed(session, &mut out)?;
    for _ in 0..REQUESTS_IN_FLIGHT_MAX {
        let has_room = transport.has_room();
        if !has_room
            || session.next_to_send(|cookie, request| transport.put(cookie, request, &mut out)).is_none()
        {
            break;
        }
    }
    Ok(out.into_views(&session.env.buffers))
}

async fn say_goodbye(session: &Session, link: &Link) {
    let mut out = Outgoing::default();
    link.transport.put_goodbye(&mut out);
    // Nothing depends on it: the server owes nothing, and the end of the stream says the same.
    let _ = link.stream.send(out.into_views(&session.env.buffers)).await;
    link.fail(session, std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into());
}

/// What the protocol wants to be done beside the requests.
async fn tend(session: Rc<Session>, link: Rc<Link>) {
    let error = link.transport.tend(&session.env).await;
    link.fail(&session, error);
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
        // It says something, and never what one request waits for; or it takes no more.
        let is_stuck = session.is_owed() || !link.transport.has_room();
        let waits = session.oldest().map(|oldest| session.env.clock.now().saturating_sub(oldest));
        if is_stuck && !session.is_barred() && waits.is_some_and(|waits| waits > REQUEST_TIME_MAX) {
            link.fail(&session, ConnectionError::Silent { seconds: REQUEST_TIME_MAX.as_secs() });
            return;
        }
    }
}

/// Tries until there is a connection to the same export, the session is closed, or those who wait have waited enough.
async fn reconnect(session: &Rc<Session>, mut reason: ConnectionError) -> Option<Connected> {
    loop {
        if session.is_over() {
            return None;
        }
        if session.is_hopeless() {
            session.lose(&reason.to_string());
            return None;
        }
        match connect(&session.env, &session.address, &session.initiator).await {
            Ok(connected) if connected.terms.continues(&session.terms) => {
                tracing::info!(device = %session.address, "the server of a device is back");
                return Some(connected);
            }
            Ok(_) => {
                let reason_text = "its name, size, block size or abilities have changed".to_owned();
                reason = ConnectionError::Unfit { address: session.address.to_string(), reason: reason_text };
            }
            Err(error) => reason = error,
        }
        session.env.clock.sleep(RETRY_PAUSE).await;
    }
}
