//! A cache disk as all cores of a node share it.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream;
use quarry_device::{Content, Probe, probe};
use quarry_env::{Disk, Env, OpenMode};
use quarry_format::cache_disk::{
    CACHE_BLOCK_BYTES, CACHE_REGIONS_MAX, CACHE_REGIONS_OFFSET, CacheLabel, CacheRegion,
};

use crate::CacheDiskError;
use crate::directory::Directory;

/// How many tables of regions are read at once.
const TABLES_AT_ONCE: usize = 32;
/// How long opening it may take: a node does not wait for its cache.
const OPEN_TIME_MAX: Duration = Duration::from_secs(15);
/// After so many errors in a row it is used no more.
const ERRORS_MAX: u32 = 8;

/// What a cache disk has and does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheDiskStatus {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of all its regions.
    pub size_bytes: u64,
    /// Bytes of regions that belong to a log.
    pub used_bytes: u64,
    /// Records that can be found.
    pub records: u64,
    /// Reads that it has answered.
    pub hits: u64,
    /// Reads of slow devices that it could not answer.
    pub misses: u64,
    /// Bytes that were written to it.
    pub written_bytes: u64,
    /// Operations that failed or took too long, and records that were not what they should be.
    pub errors: u64,
    /// Why it is not used any more, if so.
    pub failure: Option<String>,
}

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    errors: AtomicU64,
    errors_in_a_row: AtomicU32,
}

/// A cache disk of a node. Each log has a [`LogCache`](crate::LogCache) on it.
pub struct CacheDisk {
    path: PathBuf,
    pub(crate) label: CacheLabel,
    directory: Mutex<Directory>,
    pub(crate) figures: Figures,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl CacheDisk {
    /// Opens the disk at `path`, and makes a cache disk of it if it is empty. What it holds from before can be found by its logs.
    pub async fn open(env: &Env, path: &Path) -> Result<Arc<Self>, CacheDiskError> {
        in_time(env, path, Self::open_sometime(env, path)).await
    }

    async fn open_sometime(env: &Env, path: &Path) -> Result<Arc<Self>, CacheDiskError> {
        let failed = |done| move |source| CacheDiskError::Io { path: path.to_owned(), done, source };
        let content = match probe(env, path).await? {
            Probe::Missing => return Err(CacheDiskError::Missing(path.to_owned())),
            Probe::Directory { .. } => return Err(CacheDiskError::Directory(path.to_owned())),
            Probe::Disk(disk) => disk.content,
        };
        let disk = env.disks.open(path, OpenMode::Exclusive).await.map_err(failed("opened"))?;
        let size_bytes = disk.geometry().size_bytes;
        let small = || CacheDiskError::Small { path: path.to_owned(), size_bytes };
        let new = || CacheLabel::for_disk(env.random.next_u128(), size_bytes).ok_or_else(small);
        let bytes = read(env, &*disk, 0).await.map_err(failed("read"))?;
        if !CacheLabel::is_one(&bytes) && content != Content::Empty {
            return Err(CacheDiskError::Foreign { path: path.to_owned(), what: content.describe() });
        }
        let known = CacheLabel::decode(&bytes).ok();
        let label = match known {
            // It may have been grown, or cut off.
            Some(label) => {
                let regions = size_bytes.saturating_sub(CACHE_REGIONS_OFFSET) / u64::from(label.region_bytes);
                let regions = regions.min(CACHE_REGIONS_MAX as u64) as u32;
                if regions < 2 { new()? } else { CacheLabel { regions, ..label } }
            }
            None => new()?,
        };
        if known != Some(label) {
            let data = env.buffers.copy_of(&label.encode());
            disk.write(0, vec![data]).await.map_err(failed("written"))?;
            disk.flush().await.map_err(failed("written"))?;
        }
        let table = async |index| {
            let bytes = read(env, &*disk, label.offset(index)).await?;
            Ok(CacheRegion::decode(&bytes).ok().filter(|table| table.disk == label.disk))
        };
        let tables = stream::iter(0..label.regions).map(table).buffered(TABLES_AT_ONCE);
        let tables: Vec<io::Result<Option<CacheRegion>>> = tables.collect().await;
        let tables = tables.into_iter().collect::<io::Result<Vec<_>>>().map_err(failed("read"))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            label,
            directory: Mutex::new(Directory::new(&tables)),
            figures: Figures::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        }))
    }

    /// The disk for another core.
    pub(crate) async fn disk(&self, env: &Env) -> Result<Rc<dyn Disk>, CacheDiskError> {
        let failed = |source| CacheDiskError::Io { path: self.path.clone(), done: "opened", source };
        let opening = async { env.disks.open(&self.path, OpenMode::Exclusive).await.map_err(failed) };
        in_time(env, &self.path, opening).await
    }

    pub(crate) fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().expect("nothing under it panics")
    }

    /// What it has and does.
    pub fn status(&self) -> CacheDiskStatus {
        let region_bytes = u64::from(self.label.region_bytes);
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        CacheDiskStatus {
            path: self.path.clone(),
            size_bytes: u64::from(self.label.regions) * region_bytes,
            used_bytes: self.directory().owned() as u64 * region_bytes,
            records: of(&self.figures.records),
            hits: of(&self.figures.hits),
            misses: of(&self.figures.misses),
            written_bytes: of(&self.figures.written_bytes),
            errors: of(&self.figures.errors),
            failure: self.failure.lock().expect("nothing under it panics").clone(),
        }
    }

    /// Whether it has failed and is used no more.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// An operation has ended; `None` where it was well.
    pub(crate) fn note(&self, error: Option<&dyn std::fmt::Display>) {
        let in_a_row = &self.figures.errors_in_a_row;
        let Some(error) = error else {
            if in_a_row.load(Ordering::Relaxed) > 0 {
                in_a_row.store(0, Ordering::Relaxed);
            }
            return;
        };
        self.figures.errors.fetch_add(1, Ordering::Relaxed);
        let count = in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(path = %self.path.display(), %error, "the cache disk");
        if count >= ERRORS_MAX && !self.failed.swap(true, Ordering::Relaxed) {
            let failure = format!("{count} errors one after the other, the last: {error}");
            tracing::error!(path = %self.path.display(), failure, "the cache disk is used no more");
            *self.failure.lock().expect("nothing under it panics") = Some(failure);
        }
    }
}

/// Waits for an opening as long as a node may.
async fn in_time<T>(
    env: &Env,
    path: &Path,
    opening: impl Future<Output = Result<T, CacheDiskError>>,
) -> Result<T, CacheDiskError> {
    match select(Box::pin(opening), env.clock.sleep(OPEN_TIME_MAX)).await {
        Either::Left((opened, _)) => opened,
        Either::Right(_) => {
            let what = format!("it has not answered for {} s", OPEN_TIME_MAX.as_secs());
            let source = io::Error::new(io::ErrorKind::TimedOut, what);
            Err(CacheDiskError::Io { path: path.to_owned(), done: "opened", source })
        }
    }
}

async fn read(env: &Env, disk: &dyn Disk, offset: u64) -> io::Result<quarry_env::View> {
    let (buffer, done) = disk.read(offset, env.buffers.allocate(CACHE_BLOCK_BYTES)).await;
    done.map(|()| buffer.freeze())
}
