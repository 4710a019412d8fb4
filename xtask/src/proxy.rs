//! A proxy between a client and an HTTP server that makes the server busy or slow.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use anyhow::Result;

const CHUNK_BYTES: usize = 64 << 10;
const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What the server seems to be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Manner {
    /// As it is.
    Plain,
    /// It answers everything with 503.
    Busy,
    /// It takes [`SLOW`] for each piece that it is sent.
    Slow,
    /// It takes requests and answers none.
    Mute,
}

/// How slow.
const SLOW: Duration = Duration::from_millis(100);

struct Shared {
    manner: AtomicU8,
    busy_answers: AtomicU64,
    is_over: AtomicBool,
}

/// It listens as long as this lives.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy for the server at `to`.
    pub fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manner: AtomicU8::new(Manner::Plain as u8),
            busy_answers: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let of_listener = shared.clone();
        spawn(move || {
            for client in listener.incoming().flatten() {
                if of_listener.is_over.load(Ordering::Relaxed) {
                    return;
                }
                // For a server that is away a proxy answers that it is not available.
                let Ok(server) = TcpStream::connect(to) else {
                    spawn(move || answer_busy(&client));
                    continue;
                };
                if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
                    continue;
                }
                relay(client, server, &of_listener);
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server seems to be like from now on.
    pub fn set(&self, manner: Manner) {
        self.shared.manner.store(manner as u8, Ordering::Relaxed);
    }

    /// How many requests were answered with 503.
    pub fn busy_answers(&self) -> u64 {
        self.shared.busy_answers.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn relay(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    let shared = shared.clone();
    spawn(move || {
        if forth(&client, &server, &shared).is_err() {
            shared.busy_answers.fetch_add(1, Ordering::Relaxed);
        }
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
    spawn(move || {
        let _ = std::io::copy(&mut &server_too, &mut &client_too);
        let _ = (client_too.shutdown(Shutdown::Both), server_too.shutdown(Shutdown::Both));
    });
}

fn answer_busy(mut client: &TcpStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    if client.read(&mut chunk).is_ok_and(|length| length > 0) {
        let _ = client.write_all(BUSY);
    }
}

/// An error is an answer of its own.
fn forth(mut client: &TcpStream, mut server: &TcpStream, shared: &Shared) -> Result<(), ()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match client.read(&mut chunk) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(length) => length,
        };
        let manner = shared.manner.load(Ordering::Relaxed);
        if manner == Manner::Busy as u8 {
            let _ = client.write_all(BUSY);
            return Err(());
        }
        if manner == Manner::Slow as u8 {
            sleep(SLOW);
        }
        if manner != Manner::Mute as u8 && server.write_all(&chunk[..length]).is_err() {
            return Ok(());
        }
    }
}
