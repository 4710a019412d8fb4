//! A place in a bucket as a disk on one core.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;
use quarry_env::{Buffer, Completion, Disk, DiskGeometry, DiskKind, Env, View, completion};
use quarry_types::limits::BLOCK_BYTES;
use tokio::runtime::Handle;

use crate::device::Device;
use crate::lease::Lease;
use crate::limits::OBJECT_BYTES;
use crate::places::Open;

/// See the module. Dropping it gives the claim back.
pub(crate) struct ObjectDisk {
    env: Env,
    runtime: Handle,
    device: Arc<Device>,
    holder: u128,
    geometry: DiskGeometry,
    /// Of the claim, once it is held.
    lease: RefCell<Arc<Lease>>,
    held: RefCell<Option<Open>>,
    count_open: Box<dyn Fn() -> Open>,
}

impl ObjectDisk {
    pub fn new(
        env: Env,
        (runtime, device, holder): (Handle, Arc<Device>, u128),
        size_bytes: u64,
        count_open: Box<dyn Fn() -> Open>,
    ) -> Self {
        let geometry = DiskGeometry {
            kind: DiskKind::Object,
            size_bytes,
            sector_bytes: BLOCK_BYTES as u32,
            preferred_bytes: OBJECT_BYTES as u32,
            rotational: None,
            direct: true,
            identity: None,
        };
        let (lease, held) = Default::default();
        Self { env, runtime, device, holder, geometry, lease, held, count_open }
    }

    /// Has something done by the threads that talk to servers.
    fn ask<T: Send + 'static, F: Future<Output = io::Result<T>> + Send + 'static>(
        &self,
        work: F,
    ) -> impl Future<Output = io::Result<T>> + use<T, F> {
        let (sender, receiver) = oneshot::channel();
        self.runtime.spawn(async move { _ = sender.send(work.await) });
        async move { receiver.await.unwrap_or_else(|_| Err(io::Error::other("the node is stopping"))) }
    }

    fn device_and_lease(&self) -> (Arc<Device>, Arc<Lease>) {
        (self.device.clone(), self.lease.borrow().clone())
    }

    fn check(&self, offset: u64, length: u64) -> io::Result<()> {
        match offset.checked_add(length).is_some_and(|end| end <= self.geometry.size_bytes) {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "behind the end of the device")),
        }
    }

    fn complete(
        &self,
        work: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> Completion<io::Result<()>> {
        let (completer, completion) = completion();
        let asked = self.ask(work);
        self.env.spawner.spawn(async move { completer.complete(asked.await) }).detach();
        completion
    }
}

impl Disk for ObjectDisk {
    fn geometry(&self) -> &DiskGeometry {
        &self.geometry
    }

    fn read(&self, offset: u64, mut buffer: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        let length = buffer.len() as u64;
        if let Err(error) = self.check(offset, length) {
            return Completion::ready((buffer, Err(error)));
        }
        let (completer, completion) = completion();
        let (device, lease) = self.device_and_lease();
        let asked = self.ask(async move { device.read(&lease, offset, length).await });
        let fill = async move {
            let result = asked.await.map(|pieces| {
                let mut at = 0;
                for piece in pieces {
                    buffer[at..at + piece.len()].copy_from_slice(&piece);
                    at += piece.len();
                }
            });
            completer.complete((buffer, result));
        };
        self.env.spawner.spawn(fill).detach();
        completion
    }

    fn write(&self, offset: u64, data: Vec<View>) -> Completion<io::Result<()>> {
        let length: usize = data.iter().map(|view| view.len()).sum();
        if let Err(error) = self.check(offset, length as u64) {
            return Completion::ready(Err(error));
        }
        // Memory of a core does not leave it.
        let mut bytes = BytesMut::with_capacity(length);
        data.iter().for_each(|view| bytes.extend_from_slice(view));
        let (bytes, (device, lease)): (Bytes, _) = (bytes.freeze(), self.device_and_lease());
        self.complete(async move { device.write(&lease, offset, bytes).await })
    }

    /// What was written is in the bucket.
    fn flush(&self) -> Completion<io::Result<()>> {
        Completion::ready(Ok(()))
    }

    fn hold(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + '_>> {
        let (device, holder) = (self.device.clone(), self.holder);
        Box::pin(async move {
            if self.held.borrow().is_some() {
                return Ok(());
            }
            let lease = self.ask(async move { device.hold(holder).await }).await?;
            self.lease.replace(lease);
            self.held.replace(Some((self.count_open)()));
            Ok(())
        })
    }

    fn discard(&self, offset: u64, length: u64) -> Completion<io::Result<()>> {
        if let Err(error) = self.check(offset, length) {
            return Completion::ready(Err(error));
        }
        let (device, lease) = self.device_and_lease();
        self.complete(async move { device.discard(&lease, offset, length).await })
    }
}

impl Drop for ObjectDisk {
    fn drop(&mut self) {
        let Some(open) = self.held.take() else { return };
        let (holder, (device, lease)) = (self.holder, self.device_and_lease());
        self.runtime.spawn(async move {
            device.let_go(holder, &lease).await;
            drop(open);
        });
    }
}
