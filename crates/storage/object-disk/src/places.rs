//! The places in buckets that this process uses, and the threads that talk to their servers.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::address::BucketAddress;
use crate::bucket::{Bucket, BucketStats};
use crate::device::Device;

/// Threads for requests to all buckets.
const THREADS: usize = 2;

/// What the cores of a process share. Cheap to clone.
#[derive(Clone, Default)]
pub struct Buckets(Arc<Inner>);

#[derive(Default)]
struct Inner {
    devices: Mutex<BTreeMap<String, Arc<Device>>>,
    /// Made with the first device.
    runtime: Mutex<Option<Runtime>>,
    holder: OnceLock<u128>,
    /// Disks whose claim has not been given back.
    open: AtomicUsize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // It may be dropped where nobody may wait.
        if let Some(runtime) = self.runtime.get_mut().expect("no panic under it").take() {
            runtime.shutdown_background();
        }
    }
}

/// A disk that is open: it counts until its claim has been given back.
pub(crate) struct Open(Arc<Inner>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Buckets {
    /// What was asked of each place.
    pub fn stats(&self) -> Vec<(String, BucketStats)> {
        let devices = self.0.devices.lock().expect("no panic under it");
        devices.iter().map(|(place, device)| (place.clone(), device.bucket.stats())).collect()
    }

    /// Whether the claims of all disks that were closed have been given back.
    pub fn are_closed(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn count_open(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Open(self.0.clone())
    }

    /// The number of this process in claims.
    pub(crate) fn holder(&self, draw: impl FnOnce() -> u128) -> u128 {
        *self.0.holder.get_or_init(draw)
    }

    pub(crate) fn device(&self, address: &BucketAddress) -> io::Result<Arc<Device>> {
        let mut devices = self.0.devices.lock().expect("no panic under it");
        if let Some(device) = devices.get(&address.place()) {
            return Ok(device.clone());
        }
        let device = Arc::new(Device::new(Bucket::open(address)?));
        devices.insert(address.place(), device.clone());
        Ok(device)
    }

    pub(crate) fn runtime(&self) -> io::Result<Handle> {
        let mut runtime = self.0.runtime.lock().expect("no panic under it");
        if runtime.is_none() {
            let builder = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("buckets")
                .enable_all()
                .build();
            *runtime = Some(builder?);
        }
        Ok(runtime.as_ref().expect("it was just made").handle().clone())
    }
}
