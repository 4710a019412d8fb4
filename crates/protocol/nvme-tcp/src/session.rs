//! The life of a connection: negotiation on the core that accepted it, then its queue on the core where it belongs.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;

use futures::future::{Either, select};
use quarry_env::{DetachedStream, Stream};
use quarry_nvme::{
    AdminMember, AdminQueue, Connect, IoMember, IoQueue, Kind, Opened, Subsystem, Surroundings,
};
use quarry_target::{Fabric, Login, Session};

use crate::limits::{CONNECT_TIME_MAX, IO_CAPSULE_BYTES_MAX};
use crate::negotiation::{Inbox, Negotiated, NegotiationError, negotiate};
use crate::queue::Queue;
use crate::server::Server;
use crate::transmission::{Beginning, Ended, Transmission};
use quarry_nvme_wire::pdu::Link;

/// What is known of a connection when its queue was opened.
struct Begun {
    session: Session,
    link: Link,
    connect: Connect,
    /// What the host sent behind its Connect.
    rest: Vec<u8>,
}

/// An I/O queue on its way to its core.
pub struct Connection {
    stream: DetachedStream,
    begun: Begun,
    member: IoMember,
}

/// Serves a new connection from `peer`, or hands it over once it is known which core it belongs to.
pub(crate) async fn serve(server: Rc<Server>, stream: Rc<dyn Stream>, session: Session, peer: String) {
    let id = session.id();
    let address = peer.parse().ok().map(|address: SocketAddr| address.ip().to_canonical());
    let Some((begun, opened)) = begin_in_time(&server, &stream, session, address).await else {
        stream.shutdown();
        return;
    };
    tracing::debug!(session = %id, host = begun.connect.host, queue = begun.connect.queue, "a queue was opened");
    match opened {
        Opened::Admin(member) => run_admin(server, stream, begun, member).await,
        Opened::Io(member) => {
            let core = core_of(&server.subsystem, &member).unwrap_or(server.cores.core());
            if core == server.cores.core() {
                run_io(server, stream, begun, member).await;
            } else {
                server.cores.hand_over(core, Connection { stream: stream.detach(), begun, member });
            }
        }
    }
}

/// Serves an I/O queue that another core has opened.
pub(crate) async fn take_over(server: Rc<Server>, connection: Connection) {
    let Connection { stream, begun, member } = connection;
    match server.env.network.attach(stream) {
        Ok(stream) => run_io(server, stream, begun, member).await,
        Err(error) => tracing::warn!(session = %begun.session.id(), %error, "cannot take over a connection"),
    }
}

/// The core for an I/O queue: the one that owns its host's volume; of several cores, one after the other.
fn core_of(subsystem: &Subsystem, member: &IoMember) -> Option<usize> {
    let view = subsystem.view(member.controller().host());
    let mut cores: Vec<usize> = view.units.iter().map(|unit| unit.core).collect();
    cores.sort_unstable();
    cores.dedup();
    let turn = usize::from(member.queue() - 1).checked_rem(cores.len())?;
    Some(cores[turn])
}

/// What was opened, unless the host gave up, took too long, was refused, or the server stops.
async fn begin_in_time(
    server: &Server,
    stream: &Rc<dyn Stream>,
    session: Session,
    address: Option<IpAddr>,
) -> Option<(Begun, Opened)> {
    let mut inbox = Inbox::new(stream.clone(), server.env.buffers.clone());
    let result = {
        let negotiation = pin!(open(&mut inbox, &server.subsystem, address));
        let end = pin!(select(session.stop().stopped(), server.env.clock.sleep(CONNECT_TIME_MAX)));
        match select(negotiation, end).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => {
                tracing::debug!(session = %session.id(), "the negotiation was cut off");
                return None;
            }
        }
    };
    match result {
        Ok((Negotiated { link, connect }, opened)) => {
            if let Opened::Admin(member) = &opened
                && member.controller().kind() == Kind::Io
            {
                let initiator = connect.host.clone();
                session.log_in(Login { fabric: Fabric::NvmeTcp, initiator, address });
            }
            if matches!(opened, Opened::Io(_)) {
                session.become_known();
            }
            Some((Begun { session, link, connect, rest: inbox.into_rest() }, opened))
        }
        Err(error) => {
            tracing::debug!(session = %session.id(), %error, "no queue was opened");
            None
        }
    }
}

async fn open(
    inbox: &mut Inbox,
    subsystem: &Subsystem,
    address: Option<IpAddr>,
) -> Result<(Negotiated, Opened), NegotiationError> {
    let negotiated = negotiate(inbox).await?;
    match subsystem.connect(&negotiated.connect, address) {
        Ok(opened) => Ok((negotiated, opened)),
        Err(refused) => {
            inbox.refuse(negotiated.connect.command, refused, &negotiated.link).await?;
            Err(NegotiationError::Refused(refused))
        }
    }
}

async fn run_admin(server: Rc<Server>, stream: Rc<dyn Stream>, begun: Begun, member: AdminMember) {
    let surroundings = Surroundings {
        clock: server.env.clock.clone(),
        buffers: server.env.buffers.clone(),
        volumes: server.volumes.clone(),
        portal: stream.local_address(),
        capsule_bytes: IO_CAPSULE_BYTES_MAX,
    };
    let queue = AdminQueue::new(member, &begun.connect, surroundings);
    run(server, stream, begun, Queue::Admin(queue)).await;
}

async fn run_io(server: Rc<Server>, stream: Rc<dyn Stream>, begun: Begun, member: IoMember) {
    let (volumes, buffers) = (server.volumes.clone(), server.env.buffers.clone());
    let queue = IoQueue::new(&server.subsystem, member, volumes, buffers);
    run(server, stream, begun, Queue::Io(Box::new(queue))).await;
}

async fn run(server: Rc<Server>, stream: Rc<dyn Stream>, begun: Begun, queue: Queue) {
    let Begun { session, link, connect, rest } = begun;
    let share = server.budget.join(stream.clone());
    let beginning = Beginning {
        link,
        entries: connect.entries,
        flow_control: !connect.without_flow_control,
        connect: connect.command,
        rest: &rest,
    };
    let (id, host, number) = (session.id(), connect.host, connect.queue);
    let transmission =
        Transmission::new(server.env.clone(), &session, stream.clone(), queue, share, &beginning);
    match transmission.run().await {
        ended @ (Ended::Disconnected | Ended::Closed | Ended::Stopped | Ended::Reset) => {
            tracing::debug!(session = %id, host, queue = number, %ended, "session ended");
        }
        ended => tracing::warn!(session = %id, host, queue = number, %ended, "session ended"),
    }
    stream.shutdown();
}
