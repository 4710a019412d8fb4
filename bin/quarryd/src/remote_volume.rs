//! Volumes of other cores, for sessions that reach several volumes over one connection.
//!
//! What it is: a [`Volume`] that sends each operation to the core that owns the volume and brings the answer back. Buffers
//! belong to their core, so data is copied twice: out of the buffers of one core, into those of the other. What it is not: no
//! cache and no queue; whatever the owner promises when an operation completes holds when it completes here.
//!
//! Invariants:
//! - Of one core's operations on the volumes of another one, at most [`BUDGET_BYTES`] are on their way; others wait, in order.
//!   They count until their answer has been taken, or until the owner has dropped them.
//! - An operation whose future is dropped here is dropped by the owner too, before anything begins that is asked for later: as
//!   with a volume of one's own, a write that was given up never takes effect after a later one.
//! - When the owner ends, what is on its way fails as [`ErrorKind::Unavailable`]; nothing hangs.

use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{AbortHandle, Abortable, LocalBoxFuture};
use quarry_env::{BufferPool, View};
use quarry_target::{Access, Mapping};
use quarry_types::{LogId, PoolId, VolumeId};
use quarry_volume::{
    Comparison, ErrorKind, Extent, Result, Views, Volume, VolumeError, VolumeInfo, WriteFlags, ZeroMode,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cores::Cores;

/// Bytes of one core's operations that may be on their way to one other core.
pub const BUDGET_BYTES: u32 = 64 << 20;
/// What an operation counts for at least, so that those without data are bounded as well.
const OPERATION_BYTES_MIN: u32 = 4096;

/// The way from one core to the volumes of all others.
pub struct RemoteVolumes {
    cores: Cores,
    access: Access,
    buffers: BufferPool,
    /// By the owner's number.
    budgets: Vec<Arc<Semaphore>>,
}

impl RemoteVolumes {
    /// The way of the core whose buffers these are.
    pub fn new(cores: Cores, access: Access, buffers: BufferPool) -> Rc<Self> {
        let budget = || Arc::new(Semaphore::new(BUDGET_BYTES as usize));
        let budgets = (0..cores.count()).map(|_| budget()).collect();
        Rc::new(Self { cores, access, buffers, budgets })
    }

    /// The volume with this id, if it is exported by number and another core than `core` owns it.
    pub fn volume(self: &Rc<Self>, id: VolumeId, core: usize) -> Option<Rc<dyn Volume>> {
        let generation = self.access.generation();
        let mapping = self.access.mapping_of(id).filter(|mapping| mapping.core != core)?;
        let Mapping { core: owner, volume: info, .. } = (*mapping).clone();
        Some(self.remote(id, owner, (generation, info), None))
    }

    /// The volume with this id, which core `owner` serves, however it is exported.
    pub fn volume_on(self: &Rc<Self>, id: VolumeId, owner: usize, info: VolumeInfo) -> Rc<dyn Volume> {
        self.remote(id, owner, (self.access.generation(), info), None)
    }

    /// The volume with this id in a log of core `owner`, and no other volume of that id, wherever ways to it lead.
    pub fn volume_in_pool(
        self: &Rc<Self>,
        id: VolumeId,
        owner: usize,
        info: VolumeInfo,
        log: (PoolId, LogId),
    ) -> Rc<dyn Volume> {
        self.remote(id, owner, (self.access.generation(), info), Some(log))
    }

    fn remote(
        self: &Rc<Self>,
        id: VolumeId,
        owner: usize,
        facts: (u64, VolumeInfo),
        log: Option<(PoolId, LogId)>,
    ) -> Rc<dyn Volume> {
        Rc::new(RemoteVolume { id, owner, log, way: self.clone(), facts: RefCell::new(facts) })
    }

    /// Bytes that may still be sent on their way to a core.
    #[cfg(test)]
    pub fn budget_left_bytes(&self, owner: usize) -> usize {
        self.budgets[owner].available_permits()
    }
}

/// A volume of another core.
struct RemoteVolume {
    id: VolumeId,
    owner: usize,
    /// The log that has it, where it must be that one.
    log: Option<(PoolId, LogId)>,
    way: Rc<RemoteVolumes>,
    /// What the table of mappings said of it, and at which of its generations.
    facts: RefCell<(u64, VolumeInfo)>,
}

/// An error on its way between cores, with its causes in words.
struct Carried {
    kind: ErrorKind,
    operation: &'static str,
    context: String,
}

impl From<VolumeError> for Carried {
    fn from(error: VolumeError) -> Self {
        let mut context = error.context.clone();
        let mut source = error.source();
        while let Some(cause) = source {
            context = format!("{context}: {cause}");
            source = cause.source();
        }
        Self { kind: error.kind, operation: error.operation, context }
    }
}

impl From<Carried> for VolumeError {
    fn from(carried: Carried) -> Self {
        let Carried { kind, operation, context } = carried;
        Self::new(kind, operation, context)
    }
}

/// Dropped with the future that waits for the answer.
struct GivenUp(AbortHandle);

impl Drop for GivenUp {
    fn drop(&mut self) {
        // Of what is done already, nothing changes.
        self.0.abort();
    }
}

/// An answer, and what it counts for until it is taken.
type Answer<T> = (std::result::Result<T, Carried>, OwnedSemaphorePermit);

impl RemoteVolume {
    /// Waits until an operation that carries `bytes`, there or back, may be on its way.
    async fn admit(&self, operation: &'static str, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(OPERATION_BYTES_MIN, BUDGET_BYTES);
        let admitted = self.way.budgets[self.owner].clone().acquire_many_owned(bytes).await;
        admitted.map_err(|_| VolumeError::new(ErrorKind::Unavailable, operation, "the core is stopping"))
    }

    /// Runs `task` with the volume and the buffers of its core.
    async fn call<T, F, Fut>(
        &self,
        operation: &'static str,
        admitted: OwnedSemaphorePermit,
        task: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Rc<dyn Volume>, BufferPool) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + 'static,
    {
        let (id, owner, log) = (self.id, self.owner, self.log);
        let (abort, aborted) = AbortHandle::new_pair();
        let _given_up = GivenUp(abort);
        let called = self.way.cores.call(owner, move |state| async move {
            let unavailable =
                |context: String| Err(Carried { kind: ErrorKind::Unavailable, operation, context });
            let volume = match log {
                None => state.own_volume(id),
                Some((pool, log)) => state.engine_volume_apart(pool, log, id),
            };
            let done = match volume {
                // It looks whether it was given up before each step: see the invariants.
                Some(volume) => {
                    match Abortable::new(task(volume, state.env.buffers.clone()), aborted).await {
                        Ok(done) => done.map_err(Carried::from),
                        Err(_) => unavailable("it was given up".to_owned()),
                    }
                }
                None => unavailable(format!("volume {id} is not open on core {owner}")),
            };
            let answer: Answer<T> = (done, admitted);
            answer
        });
        let (done, _admitted) = called.await.map_err(|error| {
            let what = format!("core {owner} of volume {id}: {error}");
            VolumeError::new(ErrorKind::Unavailable, operation, what)
        })?;
        done.map_err(VolumeError::from)
    }

    /// [`Self::call`] for operations that carry data to the owner.
    async fn carry<F, Fut>(&self, operation: &'static str, data: View, task: F) -> Result<()>
    where
        F: FnOnce(Rc<dyn Volume>, View) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + 'static,
    {
        check_data(operation, &[&data])?;
        let admitted = self.admit(operation, data.len()).await?;
        let bytes = data.to_vec();
        drop(data);
        self.call(operation, admitted, move |volume, buffers| {
            let data = buffers.copy_of(&bytes);
            drop(bytes);
            task(volume, data)
        })
        .await
    }

    /// [`Self::call`] for operations that carry no data.
    async fn order<F, Fut>(&self, operation: &'static str, task: F) -> Result<()>
    where
        F: FnOnce(Rc<dyn Volume>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + 'static,
    {
        let admitted = self.admit(operation, 0).await?;
        self.call(operation, admitted, move |volume, _| task(volume)).await
    }
}

/// Fails where there is nothing to carry, which no buffer can hold.
fn check_data(operation: &'static str, data: &[&View]) -> Result<()> {
    match data.iter().any(|view| view.is_empty()) {
        true => Err(VolumeError::new(ErrorKind::Invalid, operation, "no data")),
        false => Ok(()),
    }
}

/// The data of a read in one piece.
fn gather(views: &Views) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(views.iter().map(|view| view.len()).sum());
    views.iter().for_each(|view| bytes.extend_from_slice(view));
    bytes
}

impl Volume for RemoteVolume {
    fn info(&self) -> VolumeInfo {
        let mut facts = self.facts.borrow_mut();
        let generation = self.way.access.generation();
        if facts.0 != generation {
            // Once it is exported no more, what was known last has to do for those who still hold it.
            let mapping = self.way.access.mapping_of(self.id);
            let info = mapping.map_or_else(|| facts.1.clone(), |mapping| mapping.volume.clone());
            *facts = (generation, info);
        }
        facts.1.clone()
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        Box::pin(async move {
            let admitted = self.admit("read", length as usize).await?;
            let reading = self.call("read", admitted, move |volume, _| async move {
                volume.read(offset, length).await.map(|views| gather(&views))
            });
            let bytes = reading.await?;
            Ok(Views::from_iter([self.way.buffers.copy_of(&bytes)]))
        })
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(
            self.carry(
                "write",
                data,
                move |volume, data| async move { volume.write(offset, data, flags).await },
            ),
        )
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.carry("atomic write", data, move |volume, data| async move {
            volume.write_atomic(offset, data, flags).await
        }))
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        Box::pin(async move {
            let operation = "compare and write";
            check_data(operation, &[&expected, &data])?;
            let admitted = self.admit(operation, expected.len() + data.len()).await?;
            let (expected, data) = (expected.to_vec(), data.to_vec());
            self.call(operation, admitted, move |volume, buffers| async move {
                let (expected, data) = (buffers.copy_of(&expected), buffers.copy_of(&data));
                volume.compare_and_write(offset, expected, data, flags).await
            })
            .await
        })
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.order("write zeroes", move |volume| async move {
            volume.write_zeroes(offset, length, mode, flags).await
        }))
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(
            self.order("discard", move |volume| async move { volume.discard(offset, length, flags).await }),
        )
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.order("flush", |volume| async move { volume.flush().await }))
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        Box::pin(async move {
            let admitted = self.admit("extents", extents_max.saturating_mul(size_of::<Extent>())).await?;
            self.call("extents", admitted, move |volume, _| async move {
                volume.extents(offset, length, extents_max).await
            })
            .await
        })
    }
}

#[cfg(test)]
mod tests;
