//! The life of a connection: negotiation on the core that accepted it, transmission on the core that owns its volume.

use std::pin::pin;
use std::rc::Rc;

use futures::future::{Either, select};
use quarry_env::{DetachedStream, Stream};
use quarry_target::{Inbox, Session};
use quarry_tls::ServerTls;
use quarry_types::VolumeId;

use crate::handshake::{Agreed, HandshakeError, negotiate};
use crate::limits::HANDSHAKE_TIME_MAX;
use crate::request::Terms;
use crate::server::Server;
use crate::transmission::{Client, Ended, Transmission};

/// What is known of a connection when its negotiation has ended.
struct Begun {
    session: Session,
    volume: VolumeId,
    terms: Terms,
    /// What the client sent behind the negotiation.
    rest: Vec<u8>,
}

/// A connection on its way to the core that owns its volume.
pub struct Connection {
    stream: DetachedStream,
    begun: Begun,
}

/// Serves a new connection, or hands it over once it is known which core it belongs to.
pub(crate) async fn serve(
    server: Rc<Server>,
    stream: Rc<dyn Stream>,
    session: Session,
    tls: Option<ServerTls>,
) {
    let id = session.id();
    let Some((agreed, inbox)) = negotiate_in_time(&server, &stream, &session, tls.as_ref()).await else {
        stream.shutdown();
        return;
    };
    // Another one than before, if it was encrypted.
    let (stream, rest) = inbox.into_parts();
    let Agreed { export, terms } = agreed;
    tracing::debug!(session = %id, export = %export.name, ?terms, "negotiated");
    let begun = Begun { session, volume: export.volume.id, terms, rest };
    if export.core == server.cores.core() {
        transmit(server, stream, begun).await;
    } else {
        server.cores.hand_over(export.core, Connection { stream: stream.detach(), begun });
    }
}

/// Serves a connection that another core has negotiated.
pub(crate) async fn take_over(server: Rc<Server>, connection: Connection) {
    let Connection { stream, begun } = connection;
    match quarry_tls::attach(&server.env, stream) {
        Ok(stream) => transmit(server, stream, begun).await,
        Err(error) => {
            tracing::warn!(session = %begun.session.id(), %error, "cannot take over a connection");
        }
    }
}

/// What was agreed on and what came behind it, unless the client gave up, took too long, or the server stops.
async fn negotiate_in_time(
    server: &Server,
    stream: &Rc<dyn Stream>,
    session: &Session,
    tls: Option<&ServerTls>,
) -> Option<(Agreed, Inbox)> {
    let inbox = Inbox::new(stream.clone(), server.env.buffers.clone());
    let result = {
        let negotiation = pin!(negotiate(inbox, &server.exports, session, tls.map(|tls| (&server.env, tls))));
        let end = pin!(select(session.stop().stopped(), server.env.clock.sleep(HANDSHAKE_TIME_MAX)));
        match select(negotiation, end).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => {
                tracing::debug!(session = %session.id(), "the negotiation was cut off");
                return None;
            }
        }
    };
    match result {
        Ok(agreed) => Some(agreed),
        Err(HandshakeError::Aborted) => None,
        Err(error) => {
            tracing::debug!(session = %session.id(), %error, "the negotiation failed");
            None
        }
    }
}

async fn transmit(server: Rc<Server>, stream: Rc<dyn Stream>, begun: Begun) {
    let Begun { session, volume, mut terms, rest } = begun;
    let id = session.id();
    let Some(volume) = server.volumes.volume(volume) else {
        tracing::warn!(session = %id, %volume, "the volume of an export is not open on its core");
        stream.shutdown();
        return;
    };
    // It may have grown since the export's facts were noted.
    let info = volume.info();
    terms.size_bytes = info.size_bytes;
    // An export may be read-only where its volume is not.
    terms.read_only |= info.read_only;
    let share = server.budget.join(stream.clone());
    let member = server.reservations.of(info.id).attach_keyless(format_args!("nbd:{id}"));
    let client = Client { session: &session, member, share };
    let transmission = Transmission::new(server.env.clone(), &volume, client, stream.clone(), terms, &rest);
    match transmission.run().await {
        ended @ (Ended::Disconnected | Ended::Closed | Ended::Stopped) => {
            tracing::debug!(session = %id, %ended, "session ended");
        }
        ended => tracing::warn!(session = %id, %ended, "session ended"),
    }
    stream.shutdown();
}
