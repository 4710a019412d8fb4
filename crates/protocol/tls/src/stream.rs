//! A stream whose bytes are encrypted on their way.

use std::cell::{RefCell, RefMut};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use quarry_env::{Buffer, Completion, DetachedStream, Env, Stream, View, completion};
use rustls::ServerConnection;

use crate::ServerTls;

/// Ciphertext that is received at once.
const RECEIVE_BYTES: usize = 64 << 10;
/// Plaintext that is encrypted before it is sent.
const SEND_BYTES: usize = 256 << 10;

/// What of a session moves from core to core.
struct Session {
    connection: ServerConnection,
    /// Ciphertext that has arrived and was not looked at yet.
    ciphertext: Vec<u8>,
    at: usize,
}

/// A session on its way to another core.
struct Detached {
    stream: DetachedStream,
    session: Session,
}

struct TlsStream {
    below: Rc<dyn Stream>,
    /// Away once it is detached.
    session: RefCell<Option<Session>>,
    env: Env,
    this: Weak<Self>,
}

/// Answers the handshake of a client, whose first bytes may be in `rest`.
///
/// # Errors
/// The client ended, speaks no TLS that is safe, or does not prove itself as it has to. It has been told.
pub async fn accept(
    env: &Env,
    below: Rc<dyn Stream>,
    rest: Vec<u8>,
    tls: &ServerTls,
) -> io::Result<Rc<dyn Stream>> {
    let connection = ServerConnection::new(tls.0.clone()).map_err(io::Error::other)?;
    let session = Session { connection, ciphertext: rest, at: 0 };
    let stream = TlsStream::new(env.clone(), below, session);
    while stream.session()?.connection.is_handshaking() {
        if !stream.session()?.has_ciphertext() && !stream.receive_more().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let looked = stream.session()?.look();
        // Also what tells the client why it is refused.
        stream.send_what_is_due().await?;
        looked?;
    }
    Ok(stream)
}

/// A stream of another core, with TLS or without, becomes one of this core.
pub fn attach(env: &Env, stream: DetachedStream) -> io::Result<Rc<dyn Stream>> {
    match stream.0.downcast::<Detached>() {
        Ok(detached) => {
            let below = env.network.attach(detached.stream)?;
            Ok(TlsStream::new(env.clone(), below, detached.session))
        }
        Err(plain) => env.network.attach(DetachedStream(plain)),
    }
}

impl Session {
    fn has_ciphertext(&self) -> bool {
        self.at < self.ciphertext.len()
    }

    /// Decrypts what has arrived, or as much of it as there is room for.
    fn look(&mut self) -> io::Result<()> {
        let mut unread = &self.ciphertext[self.at..];
        self.connection.read_tls(&mut unread)?;
        self.at = self.ciphertext.len() - unread.len();
        let processed = self.connection.process_new_packets();
        processed.map(|_| ()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Moves what is decrypted to `into`; `None` when there is nothing. 0 bytes when the peer has closed.
    fn take_plaintext(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.connection.reader().read(into) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Fills `into` from what has arrived; `None` when not a byte of it is there.
    fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let mut filled = 0;
        loop {
            match self.take_plaintext(&mut into[filled..])? {
                Some(0) => return Ok(Some(filled)),
                Some(count) => filled += count,
                None if self.has_ciphertext() => self.look()?,
                None => return Ok((filled > 0).then_some(filled)),
            }
            if filled == into.len() {
                return Ok(Some(filled));
            }
        }
    }

    /// What is to be sent: answers of TLS, and what was written.
    fn due(&mut self) -> io::Result<Vec<u8>> {
        let mut due = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut due)?;
        }
        Ok(due)
    }
}

impl TlsStream {
    fn new(env: Env, below: Rc<dyn Stream>, mut session: Session) -> Rc<Self> {
        // What is written is taken out at once, in pieces of `SEND_BYTES`.
        session.connection.set_buffer_limit(None);
        let session = RefCell::new(Some(session));
        Rc::new_cyclic(|this| Self { below, session, env, this: this.clone() })
    }

    fn session(&self) -> io::Result<RefMut<'_, Session>> {
        RefMut::filter_map(self.session.borrow_mut(), Option::as_mut)
            .map_err(|_| io::ErrorKind::NotConnected.into())
    }

    /// Receives ciphertext; false when the peer has closed.
    async fn receive_more(&self) -> io::Result<bool> {
        let buffer = self.env.buffers.allocate(RECEIVE_BYTES);
        let (buffer, received) = self.below.receive(buffer, 0).await;
        let count = received?;
        let mut session = self.session()?;
        session.ciphertext.clear();
        session.ciphertext.extend_from_slice(&buffer[..count]);
        session.at = 0;
        if count == 0 {
            // Tells the connection that this is the end.
            session.connection.read_tls(&mut io::empty())?;
        }
        Ok(count > 0)
    }

    async fn receive_plaintext(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(count) = self.session()?.read(into)? {
                return Ok(count);
            }
            self.receive_more().await?;
        }
    }

    async fn send_what_is_due(&self) -> io::Result<()> {
        let due = self.session()?.due()?;
        if due.is_empty() { Ok(()) } else { self.below.send(vec![self.env.buffers.copy_of(&due)]).await }
    }

    /// The next piece of `data` encrypted, what it is made of taken off.
    fn encrypt(&self, data: &mut Vec<View>) -> io::Result<View> {
        let mut session = self.session()?;
        let (mut left, mut whole) = (SEND_BYTES, 0);
        for view in data.iter_mut() {
            let count = view.len().min(left);
            session.connection.writer().write_all(&view[..count])?;
            left -= count;
            if count < view.len() {
                *view = view.slice(count..view.len());
                break;
            }
            whole += 1;
        }
        data.drain(..whole);
        Ok(self.env.buffers.copy_of(&session.due()?))
    }

    async fn send_all(&self, mut data: Vec<View>) -> io::Result<()> {
        while !data.is_empty() {
            let piece = self.encrypt(&mut data)?;
            self.below.send(vec![piece]).await?;
        }
        Ok(())
    }
}

impl Stream for TlsStream {
    fn receive(&self, mut buffer: Buffer, filled: usize) -> Completion<(Buffer, io::Result<usize>)> {
        let there = self.session().and_then(|mut session| session.read(&mut buffer[filled..]));
        if let Some(result) = there.transpose() {
            return Completion::ready((buffer, result));
        }
        let (done, waiting) = completion();
        let this = self.this.upgrade().expect("whoever calls has it");
        let receiving = async move {
            let result = this.receive_plaintext(&mut buffer[filled..]).await;
            done.complete((buffer, result));
        };
        self.env.spawner.spawn(receiving).detach();
        waiting
    }

    fn send(&self, mut data: Vec<View>) -> Completion<io::Result<()>> {
        if data.iter().map(|view| view.len()).sum::<usize>() <= SEND_BYTES {
            return match self.encrypt(&mut data) {
                Ok(piece) => self.below.send(vec![piece]),
                Err(error) => Completion::ready(Err(error)),
            };
        }
        let (done, waiting) = completion();
        let this = self.this.upgrade().expect("whoever calls has it");
        self.env.spawner.spawn(async move { done.complete(this.send_all(data).await) }).detach();
        waiting
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.below.local_address()
    }

    fn shutdown(&self) {
        self.below.shutdown();
    }

    fn detach(self: Rc<Self>) -> DetachedStream {
        let session = self.session.take().expect("a stream is detached once");
        let stream = self.below.clone().detach();
        DetachedStream(Box::new(Detached { stream, session }))
    }
}
