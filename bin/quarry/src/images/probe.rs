//! As much of an NBD client as it takes to hold a session on an export: fixed newstyle and NBD_OPT_GO (NBD's doc/proto.md).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::reach::Place;

const MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_IS_ERROR: u32 = 1 << 31;
/// NBD_FLAG_C_FIXED_NEWSTYLE and NBD_FLAG_C_NO_ZEROES.
const CLIENT_FLAGS: u32 = 3;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const COMMAND_DISCONNECT: u16 = 2;
/// Of a reply to an option.
const REPLY_BYTES_MAX: u32 = 4096;
const REPLIES_MAX: usize = 16;
/// For connecting and negotiating together.
const TIMEOUT: Duration = Duration::from_secs(5);

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A session of an export, on which nothing is read or written.
pub struct Probe(Box<dyn Connection>);

impl Probe {
    /// Connects to `export` at `place`.
    pub async fn connect(place: &Place, export: &str) -> io::Result<Self> {
        let connect = async {
            let connection: Box<dyn Connection> = match place {
                Place::Tcp { host, port } => Box::new(TcpStream::connect((host.as_str(), *port)).await?),
                Place::Unix { path } => Box::new(UnixStream::connect(path).await?),
            };
            negotiate(connection, export).await.map(Self)
        };
        let timeout = || io::Error::new(io::ErrorKind::TimedOut, "no answer came in time");
        tokio::time::timeout(TIMEOUT, connect).await.unwrap_or_else(|_| Err(timeout()))
    }

    /// Says good-bye, so that the server forgets the session at once.
    pub async fn disconnect(mut self) {
        let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(COMMAND_DISCONNECT.to_be_bytes());
        request.extend([0; 20]);
        // Closing the connection, which follows, tells the same.
        let _ = self.0.write_all(&request).await;
    }
}

async fn negotiate(mut connection: Box<dyn Connection>, export: &str) -> io::Result<Box<dyn Connection>> {
    let mut greeting = [0; 18];
    connection.read_exact(&mut greeting).await?;
    if greeting[..8] != *MAGIC || greeting[8..16] != *OPTION_MAGIC {
        return Err(no_nbd());
    }
    let mut request = CLIENT_FLAGS.to_be_bytes().to_vec();
    request.extend(OPTION_MAGIC);
    request.extend(OPTION_GO.to_be_bytes());
    request.extend((4 + export.len() as u32 + 2).to_be_bytes());
    request.extend((export.len() as u32).to_be_bytes());
    request.extend(export.as_bytes());
    request.extend([0, 0]);
    connection.write_all(&request).await?;
    for _ in 0..REPLIES_MAX {
        let magic = connection.read_u64().await?;
        let (_option, kind, length) =
            (connection.read_u32().await?, connection.read_u32().await?, connection.read_u32().await?);
        if magic != OPTION_REPLY_MAGIC || length > REPLY_BYTES_MAX {
            return Err(no_nbd());
        }
        let mut data = vec![0; length as usize];
        connection.read_exact(&mut data).await?;
        if kind == REPLY_ACK {
            return Ok(connection);
        }
        if kind & REPLY_IS_ERROR != 0 {
            let said = String::from_utf8_lossy(&data);
            return Err(io::Error::other(format!("the server refuses the export: {said}")));
        }
    }
    Err(no_nbd())
}

fn no_nbd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers there is no NBD server that we understand")
}
