//! Messages in and out of a control socket.

use std::io;
use std::rc::Rc;

use quarry_env::{Buffer, Env, PEER_FILES_MAX, PeerFile, Stream};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::ControlError;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::message::{HEADER_BYTES, Header, reply};

/// A message of a front end.
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) files: Vec<PeerFile>,
}

impl Message {
    pub(crate) fn bad_payload(&self) -> ControlError {
        ControlError::BadPayload { request: self.header.request, bytes: self.payload.len() }
    }

    /// The payload, which is one structure.
    pub(crate) fn read<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T, ControlError> {
        T::read_from_bytes(&self.payload).map_err(|_| self.bad_payload())
    }

    /// The file that came with it.
    pub(crate) fn only_file(&mut self) -> Result<PeerFile, ControlError> {
        let files = self.files.len();
        let file = self.files.pop().filter(|_| files == 1);
        file.ok_or(ControlError::Files { request: self.header.request, files })
    }
}

/// The control socket of a device.
pub(crate) struct Channel {
    env: Env,
    stream: Rc<dyn Stream>,
}

impl Channel {
    pub(crate) fn new(env: Env, stream: Rc<dyn Stream>) -> Self {
        Self { env, stream }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Message, ControlError> {
        let mut files = Vec::new();
        let head = self.receive(HEADER_BYTES, &mut files).await?;
        let header = Header::read_from_bytes(&head[..HEADER_BYTES]).expect("it is as long as the structure");
        let Header { request, flags, payload_bytes: bytes } = header;
        if !header.is_request() || bytes as usize > MESSAGE_BYTES_MAX {
            return Err(ControlError::BadHeader { request, flags, bytes });
        }
        let payload = match bytes {
            0 => Vec::new(),
            _ => self.receive(bytes as usize, &mut files).await?.to_vec(),
        };
        Ok(Message { header, payload, files })
    }

    /// The next `length` bytes, and the files that come with them.
    async fn receive(&self, length: usize, files: &mut Vec<PeerFile>) -> Result<Buffer, ControlError> {
        let mut buffer = self.env.buffers.allocate(length);
        let mut filled = 0;
        while filled < length {
            let (returned, received) = self.stream.receive_with_files(buffer, filled).await;
            buffer = returned;
            let (count, more) = received?;
            if count == 0 {
                return Err(ControlError::Closed);
            }
            files.extend(more);
            if files.len() > PEER_FILES_MAX {
                let what = format!("more than {PEER_FILES_MAX} files came with one message");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what).into());
            }
            filled += count;
        }
        Ok(buffer)
    }

    pub(crate) async fn reply(&self, request: u32, payload: &[u8]) -> io::Result<()> {
        self.stream.send(vec![self.env.buffers.copy_of(&reply(request, payload))]).await
    }

    pub(crate) async fn reply_with_file(
        &self,
        request: u32,
        payload: &[u8],
        file: PeerFile,
    ) -> io::Result<()> {
        let bytes = self.env.buffers.copy_of(&reply(request, payload));
        self.stream.send_with_file(bytes, file).await
    }
}
