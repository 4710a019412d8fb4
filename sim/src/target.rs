//! What a host sees of a volume, whichever way it reaches it.

use std::rc::Rc;

use quarry_engine::EngineVolume;
use quarry_env::Env;
use quarry_volume::{Comparison, ErrorKind, ExtentKind, Volume, VolumeError, WriteFlags, ZeroMode};

use crate::client::{Answer, Client, Style, commands, flags};
use crate::node::text;

/// Why an operation was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    /// The pool is full.
    NoSpace,
    /// The connection has ended: nobody knows what became of it.
    Closed,
    /// Anything else.
    Error(String),
}

impl From<VolumeError> for Failed {
    fn from(error: VolumeError) -> Self {
        match error.kind {
            ErrorKind::NoSpace => Failed::NoSpace,
            kind => Failed::Error(format!("{kind:?}: {}", text(error))),
        }
    }
}

/// A volume.
#[derive(Clone)]
pub enum Target {
    Direct(Env, Rc<EngineVolume>),
    Nbd(Rc<Client>),
}

type Result<T> = std::result::Result<T, Failed>;

impl Target {
    /// Bytes that can be addressed.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Target::Direct(_, volume) => volume.info().size_bytes,
            Target::Nbd(client) => client.size_bytes(),
        }
    }

    /// Whether a new one is needed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Target::Nbd(client) if client.is_closed())
    }

    pub async fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        match self {
            Target::Direct(_, volume) => {
                let views = volume.read(offset, length as u32).await?;
                Ok(views.iter().flat_map(|view| view.iter().copied()).collect())
            }
            Target::Nbd(client) => match client.ask(commands::READ, 0, offset, length, &[]).await? {
                Answer::Data(data) => Ok(data),
                _ => Err(Failed::Error("a read without data".to_owned())),
            },
        }
    }

    pub async fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<()> {
        match self {
            Target::Direct(env, volume) => {
                Ok(volume.write(offset, env.buffers.copy_of(data), WriteFlags { fua }).await?)
            }
            Target::Nbd(client) => {
                client.ask(commands::WRITE, u16::from(fua), offset, data.len() as u64, data).await.map(|_| ())
            }
        }
    }

    /// A write of which all is to be there or nothing; only of direct access.
    pub async fn write_atomic(&self, offset: u64, data: &[u8], fua: bool) -> Result<()> {
        let Target::Direct(env, volume) = self else { return Err(Failed::Closed) };
        Ok(volume.write_atomic(offset, env.buffers.copy_of(data), WriteFlags { fua }).await?)
    }

    /// Writes `data` if `expected` is what is there, and says whether it was; only of direct access.
    pub async fn exchange(&self, offset: u64, expected: &[u8], data: &[u8], fua: bool) -> Result<bool> {
        let Target::Direct(env, volume) = self else { return Err(Failed::Closed) };
        let (expected, data) = (env.buffers.copy_of(expected), env.buffers.copy_of(data));
        let done = volume.compare_and_write(offset, expected, data, WriteFlags { fua }).await?;
        Ok(done == Comparison::Written)
    }

    pub async fn write_zeroes(&self, offset: u64, length: u64, keep: bool, fua: bool) -> Result<()> {
        match self {
            Target::Direct(_, volume) => {
                let mode = if keep { ZeroMode::KeepAllocated } else { ZeroMode::MayUnmap };
                Ok(volume.write_zeroes(offset, length, mode, WriteFlags { fua }).await?)
            }
            Target::Nbd(client) => {
                let flags = (if fua { flags::FUA } else { 0 }) | if keep { flags::NO_HOLE } else { 0 };
                client.ask(commands::WRITE_ZEROES, flags, offset, length, &[]).await.map(|_| ())
            }
        }
    }

    pub async fn discard(&self, offset: u64, length: u64, fua: bool) -> Result<()> {
        match self {
            Target::Direct(_, volume) => Ok(volume.discard(offset, length, WriteFlags { fua }).await?),
            Target::Nbd(client) => {
                client.ask(commands::TRIM, u16::from(fua), offset, length, &[]).await.map(|_| ())
            }
        }
    }

    pub async fn flush(&self) -> Result<()> {
        match self {
            Target::Direct(_, volume) => Ok(volume.flush().await?),
            Target::Nbd(client) => client.ask(commands::FLUSH, 0, 0, 0, &[]).await.map(|_| ()),
        }
    }

    /// Lengths of extents from `offset` on, and whether each is a hole. Empty where the protocol cannot tell.
    pub async fn extents(&self, offset: u64, length: u64, max: usize) -> Result<Vec<(u64, bool)>> {
        match self {
            Target::Direct(_, volume) => {
                let extents = volume.extents(offset, length, max).await?;
                let hole = |kind| kind == ExtentKind::Hole;
                Ok(extents.into_iter().map(|one| (one.range.end - one.range.start, hole(one.kind))).collect())
            }
            Target::Nbd(client) if client.style() == Style::Simple => Ok(Vec::new()),
            Target::Nbd(client) => match client.ask(commands::BLOCK_STATUS, 0, offset, length, &[]).await? {
                Answer::Extents(extents) => Ok(extents),
                _ => Err(Failed::Error("a block status without extents".to_owned())),
            },
        }
    }
}
