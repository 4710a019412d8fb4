//! The protocols, seen from the requests: each puts them on a connection and takes their answers from it.

use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{Either, select};
use quarry_env::Env;

use crate::address::DiskAddress;
use crate::error::ConnectionError;
use crate::host::Host;
use crate::inbox::Inbox;
use crate::limits::CONNECT_TIME_MAX;
use crate::outgoing::Outgoing;
use crate::request::Request;
use crate::session::Session;
use crate::terms::Terms;
use crate::{iscsi, nbd, nvme_tcp};

/// Who one open disk is to the server: the same over all of its connections.
#[derive(Clone)]
pub struct Initiator {
    /// The node.
    pub host: Arc<Host>,
    /// A random number, which tells this disk from others of the node.
    pub number: u64,
}

/// A connection on which requests can be sent.
pub struct Connected {
    pub terms: Terms,
    pub inbox: Inbox,
    pub transport: Transport,
}

/// What one connection knows beside the requests.
pub enum Transport {
    Nbd(nbd::Transmission),
    NvmeTcp(nvme_tcp::Queue),
    Iscsi(iscsi::Nexus),
}

/// Connects and negotiates, in bounded time.
pub async fn connect(
    env: &Env,
    address: &DiskAddress,
    initiator: &Initiator,
) -> Result<Connected, ConnectionError> {
    let connecting = async {
        let (terms, inbox, transport) = match address {
            DiskAddress::Nbd(address) => {
                let (terms, inbox, transmission) = nbd::connect(env, address).await?;
                (terms, inbox, Transport::Nbd(transmission))
            }
            DiskAddress::NvmeTcp(address) => {
                let (terms, inbox, queue) = nvme_tcp::connect(env, address, initiator).await?;
                (terms, inbox, Transport::NvmeTcp(queue))
            }
            DiskAddress::Iscsi(address) => {
                let (terms, inbox, nexus) = iscsi::connect(env, address, initiator).await?;
                (terms, inbox, Transport::Iscsi(nexus))
            }
        };
        Ok(Connected { terms, inbox, transport })
    };
    match select(Box::pin(connecting), env.clock.sleep(CONNECT_TIME_MAX)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(ConnectionError::Silent { seconds: CONNECT_TIME_MAX.as_secs() }),
    }
}

impl Transport {
    /// Whether the server takes another request now. Where it does not, an answer changes that.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Nbd(_) => true,
            Self::NvmeTcp(queue) => queue.has_room(),
            Self::Iscsi(nexus) => nexus.has_room(),
        }
    }

    /// Sends a request.
    pub fn put(&self, cookie: u64, request: &Request, out: &mut Outgoing) {
        match self {
            Self::Nbd(transmission) => transmission.put(cookie, request, out),
            Self::NvmeTcp(queue) => queue.put(cookie, request, out),
            Self::Iscsi(nexus) => nexus.put(cookie, request, out),
        }
    }

    /// Sends what the server has asked for. Data that must not be sent any more ends the connection, and with it what waits for it.
    pub fn put_owed(&self, session: &Session, out: &mut Outgoing) -> Result<(), ConnectionError> {
        match self {
            Self::Nbd(_) => Ok(()),
            Self::NvmeTcp(queue) => queue.put_owed(session, out),
            Self::Iscsi(nexus) => nexus.put_owed(session, out),
        }
    }

    /// Says that no more comes.
    pub fn put_goodbye(&self, out: &mut Outgoing) {
        match self {
            Self::Nbd(transmission) => transmission.put_goodbye(out),
            // Closing the connections says the same.
            Self::NvmeTcp(_) => {}
            Self::Iscsi(nexus) => nexus.put_goodbye(out),
        }
    }

    /// Receives the next message and does what it says.
    pub async fn receive(&self, session: &Rc<Session>, inbox: &mut Inbox) -> Result<(), ConnectionError> {
        let result = match self {
            Self::Nbd(transmission) => transmission.receive(session, inbox).await,
            Self::NvmeTcp(queue) => queue.receive(session, inbox).await,
            Self::Iscsi(nexus) => nexus.receive(session, inbox).await,
        };
        session.heard.set(session.env.clock.now());
        result
    }

    /// What goes on beside the requests, until it fails.
    pub async fn tend(&self, env: &Env) -> ConnectionError {
        match self {
            Self::NvmeTcp(queue) => queue.keep_alive(env).await,
            Self::Nbd(_) | Self::Iscsi(_) => pending().await,
        }
    }
}
