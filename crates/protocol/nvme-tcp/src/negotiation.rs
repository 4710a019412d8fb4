//! The beginning of a connection: ICReq and ICResp, then the command that opens a queue.

use std::io;
use std::rc::Rc;

use quarry_env::{BufferPool, Stream};
use quarry_nvme::{Connect, Refused};
use quarry_nvme_wire::constants::fabrics;
use quarry_nvme_wire::{CONNECT_DATA_BYTES, Command, CompletionEntry, DataPointer, Status};

use crate::limits::{ADMIN_CAPSULE_BYTES_MAX, DATA_BYTES_MAX, RECEIVE_BYTES_MIN};
use quarry_nvme_wire::digest::{DIGEST_BYTES, digest};
use quarry_nvme_wire::pdu::{
    COMMAND_HEADER_BYTES, COMMON_BYTES, Common, Fatal, FatalStatus, HEADER_BYTES, INITIALIZE_BYTES,
    InitializeRequest, InitializeResponse, Link, TERMINATION_DATA_BYTES_MAX, check_header_digest, kind,
    put_response, put_termination,
};

/// Why a connection has not become a queue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NegotiationError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the host closed the connection")]
    Closed,
    #[error("the host sent what it must not: {0}")]
    Fatal(Fatal),
    #[error("the first command was not a valid Connect: {0:?}")]
    Refused(Refused),
}

/// What came of it.
pub(crate) struct Negotiated {
    pub(crate) link: Link,
    pub(crate) connect: Connect,
}

/// Bytes of a connection that still negotiates, read in small receives.
pub(crate) struct Inbox {
    stream: Rc<dyn Stream>,
    buffers: BufferPool,
    bytes: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new(stream: Rc<dyn Stream>, buffers: BufferPool) -> Self {
        Self { stream, buffers, bytes: Vec::new() }
    }

    /// Waits until there are `count` bytes.
    async fn need(&mut self, count: usize) -> Result<(), NegotiationError> {
        while self.bytes.len() < count {
            let buffer = self.buffers.allocate(RECEIVE_BYTES_MIN);
            let (buffer, received) = self.stream.receive(buffer, 0).await;
            match received? {
                0 => return Err(NegotiationError::Closed),
                received => self.bytes.extend_from_slice(&buffer[..received]),
            }
        }
        Ok(())
    }

    /// What came behind the negotiation.
    pub(crate) fn into_rest(self) -> Vec<u8> {
        self.bytes
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.stream.send(vec![self.buffers.copy_of(bytes)]).await
    }

    /// Tells the host why the connection ends.
    async fn terminate(&self, fatal: Fatal) -> NegotiationError {
        let mut out = [0; HEADER_BYTES + TERMINATION_DATA_BYTES_MAX];
        let length = put_termination(&mut out, kind::CONTROLLER_TERMINATION, &fatal, &self.bytes);
        match self.send(&out[..length]).await {
            Ok(()) => NegotiationError::Fatal(fatal),
            Err(error) => error.into(),
        }
    }

    /// Answers the command that was to open a queue; then nothing more comes.
    pub(crate) async fn refuse(&self, command: u16, refused: Refused, link: &Link) -> io::Result<()> {
        let Refused { status, result } = refused;
        let entry = CompletionEntry { result, submission_head: 0, queue: 0, command, status };
        let mut out = [0; HEADER_BYTES + DIGEST_BYTES];
        let length = put_response(&mut out, &entry, link);
        self.send(&out[..length]).await
    }
}

/// Receives what a host begins with.
pub(crate) async fn negotiate(inbox: &mut Inbox) -> Result<Negotiated, NegotiationError> {
    let link = match initialize(inbox).await? {
        Ok(link) => link,
        Err(fatal) => return Err(inbox.terminate(fatal).await),
    };
    let connect = match receive_connect(inbox, &link).await? {
        Ok(connect) => connect,
        Err(fatal) => return Err(inbox.terminate(fatal).await),
    };
    match connect {
        (_, Ok(connect)) => Ok(Negotiated { link, connect }),
        (command, Err(refused)) => {
            inbox.refuse(command, refused, &link).await?;
            Err(NegotiationError::Refused(refused))
        }
    }
}

async fn initialize(inbox: &mut Inbox) -> Result<Result<Link, Fatal>, NegotiationError> {
    inbox.need(COMMON_BYTES).await?;
    let common = Common::decode(&inbox.bytes);
    if common.kind != kind::INITIALIZE_REQUEST {
        return Ok(Err(Fatal::because(FatalStatus::Sequence)));
    }
    // The fields in front say whether the rest will come at all.
    if usize::from(common.header_bytes) == INITIALIZE_BYTES && common.bytes as usize == INITIALIZE_BYTES {
        inbox.need(INITIALIZE_BYTES).await?;
    }
    let mut bytes = [0; INITIALIZE_BYTES];
    let there = inbox.bytes.len().min(INITIALIZE_BYTES);
    bytes[..there].copy_from_slice(&inbox.bytes[..there]);
    let request = match InitializeRequest::decode(&bytes) {
        Ok(request) => request,
        Err(fatal) => return Ok(Err(fatal)),
    };
    inbox.bytes.drain(..INITIALIZE_BYTES);
    let response = InitializeResponse { link: request.link, data_bytes_max: DATA_BYTES_MAX };
    inbox.send(&response.encode()).await?;
    Ok(Ok(request.link))
}

type ConnectCommand = (u16, Result<Connect, Refused>);

async fn receive_connect(
    inbox: &mut Inbox,
    link: &Link,
) -> Result<Result<ConnectCommand, Fatal>, NegotiationError> {
    inbox.need(COMMON_BYTES).await?;
    let common = Common::decode(&inbox.bytes);
    if common.kind == kind::HOST_DATA {
        return Ok(Err(Fatal::because(FatalStatus::Sequence)));
    }
    let layout = match common.check_from_host(link, ADMIN_CAPSULE_BYTES_MAX) {
        Ok(layout) => layout,
        Err(fatal) => return Ok(Err(fatal)),
    };
    inbox.need(layout.bytes).await?;
    if common.kind == kind::HOST_TERMINATION {
        return Err(NegotiationError::Closed);
    }
    if let Err(fatal) = check_header_digest(&inbox.bytes, &layout, link) {
        return Ok(Err(fatal));
    }
    let command = inbox.bytes[COMMON_BYTES..COMMAND_HEADER_BYTES].try_into().expect("64 bytes");
    let command = Command::new(command);
    let data = &inbox.bytes[layout.data.clone()];
    let found = inbox.bytes[layout.data.end..layout.bytes].first_chunk().copied().map(u32::from_le_bytes);
    let intact = !layout.has_data_digest || found == Some(digest(data));
    let connect = match intact {
        true => understand(&command, data),
        false => Err(Refused::because(Status::TRANSIENT_TRANSPORT_ERROR)),
    };
    inbox.bytes.drain(..layout.bytes);
    Ok(Ok((command.id(), connect)))
}

fn understand(command: &Command, data: &[u8]) -> Result<Connect, Refused> {
    if !command.is_fabrics() || command.fabrics_type() != fabrics::CONNECT {
        return Err(Refused::because(Status::COMMAND_SEQUENCE));
    }
    match command.data_pointer() {
        Ok(DataPointer::Capsule { length }) if length as usize == data.len() => {
            Connect::decode(command, data)
        }
        Ok(DataPointer::Capsule { .. }) => Err(Refused::because(Status::SGL_LENGTH)),
        // The capsule of a Connect always has room for its data.
        Ok(DataPointer::Host { .. }) => Err(Refused::because(Status::SGL_TYPE)),
        Err(status) => Err(Refused::because(status)),
    }
}

const _: () = assert!(CONNECT_DATA_BYTES <= RECEIVE_BYTES_MIN);
