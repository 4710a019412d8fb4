//! An NBD server that is as unkind as the protocol allows: it carries requests out in any order, late, also long after
//! their connection has ended, and what it has not flushed is gone when it dies.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Address, Buffer, Env, Stream};

/// What survives the server: the disk below it.
#[derive(Default)]
pub struct Medium {
    /// What everybody reads.
    pub bytes: Vec<u8>,
    /// Changes that no flush has covered: offset and what was there before. The first is the oldest.
    undo: Vec<(usize, Vec<u8>)>,
    /// Flushes to come that fail.
    pub failing_flushes: u32,
    /// Requests to come that are answered with this error.
    pub errors: Vec<u32>,
}

impl Medium {
    pub fn new(size: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { bytes: vec![0; size], ..Self::default() }))
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let range = offset..offset + data.len();
        self.undo.push((offset, self.bytes[range.clone()].to_vec()));
        self.bytes[range].copy_from_slice(data);
    }

    /// The server's cache is gone, and everything that it had not flushed.
    pub fn crash(&mut self) {
        for (offset, before) in std::mem::take(&mut self.undo).into_iter().rev() {
            self.bytes[offset..offset + before.len()].copy_from_slice(&before);
        }
    }
}

/// How a server behaves.
#[derive(Clone, Copy)]
pub struct Manner {
    /// The longest that a request takes, usually.
    pub delay: Duration,
    /// One request in so many takes up to `late`; 0 for none.
    pub late_one_in: u64,
    pub late: Duration,
    pub structured: bool,
    pub flags: u16,
    /// Extra replies of a wrong kind, one in so many; 0 for none.
    pub nonsense_one_in: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(2),
            late_one_in: 0,
            late: Duration::ZERO,
            structured: true,
            flags: 1 | 1 << 2 | 1 << 5 | 1 << 8,
            nonsense_one_in: 0,
        }
    }
}

struct Connection {
    env: Env,
    stream: Rc<dyn Stream>,
    medium: Rc<RefCell<Medium>>,
    manner: Manner,
    /// Replies go out one after the other.
    outgoing: RefCell<Option<Vec<u8>>>,
}

/// Serves the export `disk` for as long as the process lives.
pub async fn serve(env: Env, address: Address, medium: Rc<RefCell<Medium>>, manner: Manner) {
    let listener = env.network.listen(&address).await.expect("nobody else listens");
    while let Ok((stream, _)) = listener.accept().await {
        let connection = Rc::new(Connection {
            env: env.clone(),
            stream,
            medium: medium.clone(),
            manner,
            outgoing: RefCell::default(),
        });
        env.spawner
            .spawn(async move {
                // A connection that breaks is not the server's concern.
                let _ = connection.clone().negotiate().await;
            })
            .detach();
    }
}

impl Connection {
    async fn take(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let buffer: Buffer = self.env.buffers.allocate(length - bytes.len());
            let (buffer, received) = self.stream.receive(buffer, 0).await;
            match received? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => bytes.extend(&buffer[..count]),
            }
        }
        Ok(bytes)
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.stream.send(vec![self.env.buffers.copy_of(bytes)]).await
    }

    async fn negotiate(self: Rc<Self>) -> io::Result<()> {
        self.send(b"NBDMAGICIHAVEOPT\x00\x03").await?;
        self.take(4).await?;
        loop {
            let header = self.take(16).await?;
            let option = u32::from_be_bytes(header[8..12].try_into().expect("4 bytes"));
            let length = u32::from_be_bytes(header[12..].try_into().expect("4 bytes"));
            let data = self.take(length as usize).await?;
            let reply = |kind: u32, data: &[u8]| {
                let mut reply = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
                reply.extend(option.to_be_bytes());
                reply.extend(kind.to_be_bytes());
                reply.extend((data.len() as u32).to_be_bytes());
                reply.extend(data);
                reply
            };
            match option {
                8 if self.manner.structured => self.send(&reply(1, &[])).await?,
                7 if &data[4..8] == b"disk" => {
                    let mut export = vec![0, 0];
                    export.extend((self.medium.borrow().bytes.len() as u64).to_be_bytes());
                    export.extend(self.manner.flags.to_be_bytes());
                    self.send(&reply(3, &export)).await?;
                    self.send(&reply(1, &[])).await?;
                    return self.transmit().await;
                }
                7 => self.send(&reply((1 << 31) + 6, b"nothing of that name")).await?,
                _ => self.send(&reply((1 << 31) + 1, &[])).await?,
            }
        }
    }

    async fn transmit(self: Rc<Self>) -> io::Result<()> {
        loop {
            let header = self.take(28).await?;
            let command = u16::from_be_bytes([header[6], header[7]]);
            let length = u32::from_be_bytes(header[24..].try_into().expect("4 bytes")) as usize;
            let payload = if command == 1 { self.take(length).await? } else { Vec::new() };
            if command == 2 {
                return Ok(());
            }
            let request = self.clone();
            // On its own from here on: the end of the connection does not end it.
            self.env.spawner.spawn(async move { request.perform(command, &header, payload).await }).detach();
        }
    }

    fn delay(&self) -> Duration {
        let chance = self.env.random.next_u64();
        let is_late = self.manner.late_one_in > 0 && chance.is_multiple_of(self.manner.late_one_in);
        let longest = if is_late { self.manner.late } else { self.manner.delay };
        longest.mul_f64((chance >> 32) as f64 / f64::from(u32::MAX))
    }

    async fn perform(self: Rc<Self>, command: u16, header: &[u8], payload: Vec<u8>) {
        let cookie = &header[8..16];
        let offset = u64::from_be_bytes(header[16..24].try_into().expect("8 bytes")) as usize;
        let length = u32::from_be_bytes(header[24..].try_into().expect("4 bytes")) as usize;
        // A flush covers what was answered before it came, not what is done while it waits.
        let covered = self.medium.borrow().undo.len();
        self.env.clock.sleep(self.delay()).await;
        let (error, data) = self.apply(command, (offset, length), &payload, covered);
        let reply = self.reply(cookie, error, offset as u64, &data);
        self.answer(reply).await;
    }

    /// Does what a command asks for; `covered` writes were answered before it came.
    fn apply(
        &self,
        command: u16,
        (offset, length): (usize, usize),
        payload: &[u8],
        covered: usize,
    ) -> (u32, Vec<u8>) {
        let mut medium = self.medium.borrow_mut();
        let mut error = medium.errors.pop().unwrap_or(0);
        let mut data = Vec::new();
        match command {
            _ if error != 0 => {}
            0 => data = medium.bytes[offset..offset + length].to_vec(),
            1 => medium.write(offset, payload),
            3 if medium.failing_flushes > 0 => {
                medium.failing_flushes -= 1;
                error = 5;
            }
            3 => {
                let covered = covered.min(medium.undo.len());
                medium.undo.drain(..covered);
            }
            4 => medium.write(offset, &vec![0xDD; length]),
            _ => error = 22,
        }
        (error, data)
    }

    fn reply(&self, cookie: &[u8], error: u32, offset: u64, data: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        let chance = self.env.random.next_u64();
        if self.manner.nonsense_one_in > 0 && chance.is_multiple_of(self.manner.nonsense_one_in) {
            reply.extend(chance.to_be_bytes());
        }
        if !self.manner.structured || data.is_empty() {
            reply.extend(0x6744_6698u32.to_be_bytes());
            reply.extend(error.to_be_bytes());
            reply.extend(cookie);
            reply.extend(data);
            return reply;
        }
        // In two chunks, the second part first.
        let half = data.len() / 2;
        for (is_last, part, at) in [(0u16, &data[half..], half), (1, &data[..half], 0)] {
            reply.extend(0x668e_33efu32.to_be_bytes());
            reply.extend(is_last.to_be_bytes());
            reply.extend(1u16.to_be_bytes());
            reply.extend(cookie);
            reply.extend((part.len() as u32 + 8).to_be_bytes());
            reply.extend((offset + at as u64).to_be_bytes());
            reply.extend(part);
        }
        reply
    }

    /// Whoever finds nobody sending sends for all who come meanwhile.
    async fn answer(&self, reply: Vec<u8>) {
        if let Some(outgoing) = &mut *self.outgoing.borrow_mut() {
            outgoing.extend(reply);
            return;
        }
        let mut next = reply;
        while !next.is_empty() {
            *self.outgoing.borrow_mut() = Some(Vec::new());
            if self.send(&next).await.is_err() {
                return;
            }
            next = self.outgoing.take().unwrap_or_default();
        }
    }
}
