//! The life of a connection: login on the core that accepted it, the full feature phase on the core that owns the first volume
//! which the initiator sees.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{Either, select};
use quarry_env::{DetachedStream, Stream};
use quarry_scsi::{Identity, Nexus, Node, Port};
use quarry_target::{Access, Fabric, Host, Inbox, Initiator, Session};

use crate::chap::CHALLENGE_BYTES;
use crate::full_feature::{Ended, FullFeature, Surroundings};
use crate::limits::{LOGIN_SEGMENT_BYTES_MAX, LOGIN_TIME_MAX, REINSTATEMENT_TIME_MAX};
use crate::login::{Agreed, Directory, Login, LoginStatus, PORTAL_GROUP, Progress, refuse};
use crate::server::Server;
use crate::sessions::{Place, SessionName};
use crate::targets::port_name;
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, flags, opcode, padding};

/// What is known of a connection when its login has ended.
struct Begun {
    session: Session,
    place: Option<Place>,
    agreed: Agreed,
    address: Option<IpAddr>,
    portals: Vec<SocketAddr>,
    /// What the initiator sent behind the login.
    rest: Vec<u8>,
}

/// A connection on its way to the core that owns its first volume.
pub struct Connection {
    stream: DetachedStream,
    begun: Begun,
}

/// Why a login came to nothing.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("the connection ended")]
    Io(#[from] io::Error),
    #[error("not a login")]
    NotLogin,
    #[error("a login request of {0} bytes")]
    TooLong(usize),
    #[error("refused with status {:02x}{:02x}", .0.0, .0.1)]
    Refused(LoginStatus),
}

struct Registry<'a> {
    server: &'a Server,
    address: Option<IpAddr>,
}

impl Directory for Registry<'_> {
    fn host_of(&self, initiator: &str) -> (Option<Arc<Host>>, bool) {
        let view = self.server.target.access.view(Fabric::Iscsi, initiator, self.address);
        (view.host, !view.units.is_empty())
    }

    fn has_session(&self, isid: [u8; 6], handle: u16) -> bool {
        self.server.target.sessions.has(isid, handle)
    }

    fn target_name(&self) -> &str {
        &self.server.target.name
    }

    fn challenge(&self) -> (u8, [u8; CHALLENGE_BYTES]) {
        let random = &self.server.env.random;
        let mut challenge = [0; CHALLENGE_BYTES];
        for chunk in challenge.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.next_u64().to_be_bytes());
        }
        (random.next_u64() as u8, challenge)
    }
}

/// Serves a new connection, or hands it over once it is known which core it belongs to.
pub(crate) async fn serve(
    server: Rc<Server>,
    stream: Rc<dyn Stream>,
    session: Session,
    address: Option<IpAddr>,
) {
    let id = session.id();
    let login = login(&server, &stream, &session, address);
    let end = pin!(select(session.stop().stopped(), server.env.clock.sleep(LOGIN_TIME_MAX)));
    let (agreed, place, rest) = match select(pin!(login), end).await {
        Either::Left((Ok(done), _)) => done,
        Either::Left((Err(error), _)) => {
            tracing::debug!(session = %id, %error, "the login failed");
            stream.shutdown();
            return;
        }
        Either::Right(_) => {
            tracing::debug!(session = %id, "the login was cut off");
            stream.shutdown();
            return;
        }
    };
    tracing::debug!(session = %id, ?agreed, "logged in");
    // Discovery is for everybody, and stays a stranger.
    if !agreed.discovery {
        let initiator = agreed.initiator.clone();
        session.log_in(quarry_target::Login { fabric: Fabric::Iscsi, initiator, address });
    }
    let portals = match &server.target.advertise[..] {
        [] => stream.local_address().into_iter().collect(),
        advertise => advertise.to_vec(),
    };
    let core = core_of(&server, &agreed, address);
    let begun = Begun { session, place, agreed, address, portals, rest };
    if core == server.cores.core() {
        run(server, stream, begun).await;
    } else {
        server.cores.hand_over(core, Connection { stream: stream.detach(), begun });
    }
}

/// Serves a connection that another core has seen through its login.
pub(crate) async fn take_over(server: Rc<Server>, connection: Connection) {
    let Connection { stream, begun } = connection;
    match server.env.network.attach(stream) {
        Ok(stream) => run(server, stream, begun).await,
        Err(error) => {
            tracing::warn!(session = %begun.session.id(), %error, "cannot take over a connection");
        }
    }
}

/// The core that owns the first of the initiator's volumes.
fn core_of(server: &Server, agreed: &Agreed, address: Option<IpAddr>) -> usize {
    let here = server.cores.core();
    if agreed.discovery {
        return here;
    }
    let view = server.target.access.view(Fabric::Iscsi, &agreed.initiator, address);
    view.units.first().map_or(here, |mapping| mapping.core)
}

/// What was agreed on, the place among the sessions, and what came behind the login.
async fn login(
    server: &Server,
    stream: &Rc<dyn Stream>,
    session: &Session,
    address: Option<IpAddr>,
) -> Result<(Agreed, Option<Place>, Vec<u8>), LoginError> {
    let mut inbox = Inbox::new(stream.clone(), server.env.buffers.clone());
    let (mut login, registry) = (Login::default(), Registry { server, address });
    loop {
        let header = Header(inbox.take_array::<HEADER_BYTES>().await?);
        if header.opcode() != opcode::LOGIN {
            return Err(LoginError::NotLogin);
        }
        let data = header.data_bytes();
        if data > LOGIN_SEGMENT_BYTES_MAX {
            return Err(LoginError::TooLong(data));
        }
        let behind = header.additional_bytes() + data + padding(data);
        let body = inbox.take(behind).await?;
        let text = body[header.additional_bytes()..][..data].to_vec();
        let (mut response, mut text, progress) = login.request(&registry, &header, &text);
        match progress {
            Progress::Next => send(&inbox, &response, &text).await?,
            Progress::Failed(status) => {
                send(&inbox, &response, &text).await?;
                return Err(LoginError::Refused(status));
            }
            Progress::Done(agreed) => {
                let place = match enter(server, session, &agreed).await {
                    Ok(place) => place,
                    Err(status) => {
                        refuse(&mut response, &mut text, status);
                        send(&inbox, &response, &text).await?;
                        return Err(LoginError::Refused(status));
                    }
                };
                let handle = place.as_ref().map_or(1, Place::handle);
                response.set_u16(14, handle);
                debug_assert!(response.has(flags::FINAL));
                send(&inbox, &response, &text).await?;
                return Ok((agreed, place, inbox.into_parts().1));
            }
        }
    }
}

async fn send(inbox: &Inbox, header: &Header, text: &[u8]) -> io::Result<()> {
    let mut bytes = header.0.to_vec();
    bytes.extend_from_slice(text);
    bytes.resize(bytes.len() + padding(text.len()), 0);
    inbox.send(&bytes).await
}

/// Takes a place among the sessions, once those that had it before have ended: what they have under way must not land after what
/// the initiator sends again. Discovery has no place.
async fn enter(server: &Server, session: &Session, agreed: &Agreed) -> Result<Option<Place>, LoginStatus> {
    if agreed.discovery {
        return Ok(None);
    }
    // Names are compared as if they were in lower case (RFC 7143 section 4.2.7.1), in which stringprep puts them.
    let name = SessionName { initiator: agreed.initiator.to_ascii_lowercase(), isid: agreed.isid };
    let (place, former) = server.target.sessions.enter(name, session.stop().clone());
    if former.has_ended() {
        return Ok(Some(place));
    }
    let limit = server.env.clock.sleep(REINSTATEMENT_TIME_MAX);
    match select(pin!(former.ended()), limit).await {
        Either::Left(_) => Ok(Some(place)),
        Either::Right(_) => {
            tracing::warn!(session = %session.id(), "the session before this one does not end: login refused");
            Err(LoginStatus::SERVICE_UNAVAILABLE)
        }
    }
}

fn nexus(server: &Server, begun: &Begun) -> Rc<Nexus> {
    let agreed = &begun.agreed;
    let target = &server.target;
    let registrant = format!("{},i,0x{}", agreed.initiator.to_ascii_lowercase(), hex::encode(agreed.isid));
    let identity = Identity {
        name: agreed.initiator.clone(),
        address: begun.address,
        registrant: Initiator(registrant.into()),
        host: agreed.host.clone(),
    };
    let port = Port {
        device_name: target.name.clone(),
        name: port_name(&target.name),
        relative_id: PORTAL_GROUP,
        group: PORTAL_GROUP,
    };
    let node = Node {
        // Discovery uses no unit.
        access: if agreed.discovery { Access::default() } else { target.access.clone() },
        fabric: Fabric::Iscsi,
        volumes: server.volumes.clone(),
        units: target.units.clone(),
        buffers: server.env.buffers.clone(),
        spawner: server.env.spawner.clone(),
    };
    Nexus::new(node, identity, port)
}

async fn run(server: Rc<Server>, stream: Rc<dyn Stream>, begun: Begun) {
    let id = begun.session.id();
    let nexus = nexus(&server, &begun);
    let access = &server.target.access;
    let seen = access.view(Fabric::Iscsi, &begun.agreed.initiator, begun.address);
    let surroundings = Surroundings {
        env: server.env.clone(),
        access: if begun.agreed.discovery { Access::default() } else { access.clone() },
        target: server.target.name.as_str().into(),
        portals: begun.portals.clone(),
        sees_target: !seen.units.is_empty(),
        discovery: begun.agreed.discovery,
        connection: begun.agreed.connection,
        successor: begun.place.as_ref().map(Place::successor),
    };
    let share = server.budget.join(stream.clone());
    let session = FullFeature::new(
        surroundings,
        nexus,
        &begun.session,
        stream.clone(),
        &begun.agreed,
        &begun.rest,
        share,
    );
    let initiator = &begun.agreed.initiator;
    let (ended, remains) = session.run().await;
    match ended {
        ended @ (Ended::LoggedOut | Ended::Closed | Ended::Stopped) => {
            tracing::debug!(session = %id, initiator, %ended, "session ended");
        }
        ended => tracing::warn!(session = %id, initiator, %ended, "session ended"),
    }
    stream.shutdown();
    // Nobody takes the place of a session while something that it was asked for may still be done.
    if remains.is_empty() {
        drop(begun.place);
    } else {
        server.env.spawner.spawn(remains.end(begun.place)).detach();
    }
}
