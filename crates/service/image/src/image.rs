//! The volume: what it knows, how requests are checked, and how changes are carried out.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use quarry_env::{Disk, DiskGeometry, DiskKind, Env, View, completion};
use quarry_types::limits::{BLOCK_BYTES, REQUEST_BYTES_MAX, SECTOR_BYTES, VOLUME_BYTES_MAX};
use quarry_types::{Durability, VolumeId};
use quarry_volume::{
    Comparison, ErrorKind, Extent, ExtentKind, Figures, FiguresSeen, RangeQueue, RangeTurn, Result, SlowLog,
    SlowRequest, Verb, Views, Volume, VolumeError, VolumeInfo, WriteFlags, ZeroMode,
};

use crate::ImageError;
use crate::error::volume_error;

/// Most bytes of one compare and write, which lie in memory twice.
pub(crate) const COMPARE_BYTES_MAX: usize = 64 << 10;

/// What is decided about a volume when its device is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageOptions {
    /// Its id.
    pub id: VolumeId,
    /// Its name.
    pub name: String,
    /// Its size; the device may be larger. `None` for the size of the device.
    pub size_bytes: Option<u64>,
    /// What its disk is called, if it was called something when it was seen first ([`DiskGeometry::identity`]).
    pub identity: Option<String>,
    /// When a write is safe.
    pub durability: Durability,
    /// Whether it refuses changes.
    pub read_only: bool,
    /// No change is sent to the device before this time of the env's clock.
    pub changes_after: Duration,
}

/// What hosts have done since the device was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImageStats {
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

/// What the operations of a volume share.
pub(crate) struct Image {
    pub(crate) env: Env,
    disk: RefCell<Option<Rc<dyn Disk>>>,
    pub(crate) geometry: DiskGeometry,
    pub(crate) options: ImageOptions,
    pub(crate) size_bytes: u64,
    queue: Rc<RangeQueue>,
    /// Why it takes no change any more.
    failed: RefCell<Option<String>>,
    stats: Cell<ImageStats>,
    slow: SlowLog,
}

/// A volume on a device of somebody else, and where its requests are counted. Clones are the same volume; the device is closed with the last of them, or by
/// [`ImageVolume::close`], when the last operation has ended.
#[derive(Clone)]
pub struct ImageVolume(pub(crate) Rc<Image>, Rc<Figures>);

impl ImageVolume {
    /// A volume on an open disk.
    pub fn new(env: Env, disk: Rc<dyn Disk>, options: ImageOptions) -> std::result::Result<Self, ImageError> {
        let (device_bytes, sector_bytes) = (disk.geometry().size_bytes, disk.geometry().sector_bytes);
        let size_bytes = options.size_bytes.unwrap_or(device_bytes);
        let unit = u64::from(sector_bytes);
        if let Some(expected) = &options.identity
            && disk.geometry().identity.as_ref() != Some(expected)
        {
            let found = disk.geometry().identity.clone();
            return Err(ImageError::AnotherDisk { expected: expected.clone(), found });
        }
        if size_bytes == 0 {
            return Err(ImageError::Empty);
        }
        if size_bytes > VOLUME_BYTES_MAX {
            return Err(ImageError::TooLarge { size_bytes });
        }
        if device_bytes < size_bytes {
            return Err(ImageError::TooSmall { size_bytes: device_bytes, volume_bytes: size_bytes });
        }
        // A volume that is smaller than its device may end within a sector of it.
        let reachable_bytes = device_bytes - device_bytes % unit;
        if size_bytes > reachable_bytes || !size_bytes.is_multiple_of(SECTOR_BYTES as u64) {
            return Err(ImageError::Size { size_bytes: device_bytes, sector_bytes });
        }
        let (failed, stats, slow) = (RefCell::default(), Cell::default(), SlowLog::default());
        let (queue, geometry) = (Rc::default(), disk.geometry().clone());
        let disk = RefCell::new(Some(disk));
        Ok(Self(
            Rc::new(Image { env, disk, geometry, options, size_bytes, queue, failed, stats, slow }),
            Rc::default(),
        ))
    }

    /// What hosts have done with it.
    pub fn stats(&self) -> ImageStats {
        self.0.stats.get()
    }

    /// The same volume for the node's own purposes: what is done this way is not what hosts have done.
    pub fn apart(&self) -> Self {
        Self(self.0.clone(), Rc::default())
    }

    /// What hosts have done with it.
    pub fn figures(&self) -> FiguresSeen {
        self.1.look()
    }

    /// Requests that took too long.
    pub fn slow(&self) -> &SlowLog {
        &self.0.slow
    }

    /// A request from its beginning to its end, counted.
    fn counted<'a, T: 'a>(
        &'a self,
        verb: Verb,
        (offset, length): (u64, u64),
        request: impl Future<Output = Result<T>> + 'a,
    ) -> LocalBoxFuture<'a, Result<T>> {
        let (begun, in_flight) = (self.0.env.clock.turn(), self.1.begin());
        Box::pin(async move {
            let done = request.await;
            let Image { env, slow, options, .. } = &*self.0;
            let (ended, is_done) = (env.clock.turn(), done.is_ok());
            let took = ended.saturating_sub(begun);
            in_flight.end(verb, took, length, is_done);
            if slow.is_slow(took) {
                let (volume, stages) = (options.id, Vec::new());
                slow.note(SlowRequest { volume, verb, offset, length, ended, took, stages, is_done });
            }
            done
        })
    }

    /// What its disk is called.
    pub fn identity(&self) -> Option<String> {
        self.0.geometry.identity.clone()
    }

    /// Whether its device is behind a network, where nothing keeps what a dead process has sent from landing.
    pub fn is_behind_network(&self) -> bool {
        matches!(self.0.geometry.kind, DiskKind::Network | DiskKind::Object)
    }

    /// Whether `path` leads to its device still.
    pub async fn is_at(&self, path: &Path) -> Result<bool> {
        let found = self.0.disk("look at its path")?.is_at(path).await;
        found.map_err(|error| volume_error("look at its path", self.0.context(), error))
    }

    /// Why it takes no change any more, if so.
    pub fn failure(&self) -> Option<String> {
        self.0.failed.borrow().clone()
    }

    /// Lets go of the device. What was begun ends; from then on nothing is served.
    pub fn close(&self) {
        self.0.disk.take();
    }

    /// Waits until every change that was begun before has ended.
    pub async fn changes_end(&self) {
        self.0.queue.enter(0..u64::MAX).begin().await;
    }

    /// Carries a change out, to its end also when nobody waits for it any more; its place in the queue is taken now.
    fn change<T: 'static, Fut>(
        &self,
        (operation, verb): (&'static str, Verb),
        (offset, length): (u64, u64),
        flags: WriteFlags,
        task: impl FnOnce(Rc<Image>) -> Fut + 'static,
    ) -> LocalBoxFuture<'_, Result<T>>
    where
        Fut: Future<Output = Result<T>> + 'static,
    {
        if let Err(error) = self.0.check_change(operation, offset, length) {
            return self.counted(verb, (offset, length), std::future::ready(Err(error)));
        }
        let turn = self.0.turn(offset, length);
        let image = self.0.clone();
        let (completer, completion) = completion();
        let whole = async move {
            turn.begin().await;
            let result = image.clone().changed(operation, flags, task).await;
            drop(turn);
            completer.complete(result);
        };
        self.0.env.spawner.spawn(whole).detach();
        self.counted(verb, (offset, length), completion)
    }
}

impl Image {
    pub(crate) fn sector(&self) -> u64 {
        u64::from(self.geometry.sector_bytes)
    }

    pub(crate) fn disk(&self, operation: &'static str) -> Result<Rc<dyn Disk>> {
        self.disk.borrow().clone().ok_or_else(|| {
            let what = format!("{} was let go of", self.context());
            VolumeError::new(ErrorKind::Unavailable, operation, what)
        })
    }

    /// A place in the queue for every sector of the device that a range touches.
    pub(crate) fn turn(&self, offset: u64, length: u64) -> RangeTurn {
        let sector = self.sector();
        self.queue.enter(offset - offset % sector..(offset + length).next_multiple_of(sector))
    }

    async fn changed<T, Fut>(
        self: Rc<Self>,
        operation: &'static str,
        flags: WriteFlags,
        task: impl FnOnce(Rc<Image>) -> Fut,
    ) -> Result<T>
    where
        Fut: Future<Output = Result<T>>,
    {
        let wait = self.options.changes_after.saturating_sub(self.env.clock.now());
        if !wait.is_zero() {
            self.env.clock.sleep(wait).await;
        }
        self.check_failure(operation)?;
        let done = task(self.clone()).await?;
        if flags.fua || self.options.durability == Durability::Always {
            self.flush(operation).await?;
        }
        Ok(done)
    }

    pub(crate) async fn flush(&self, operation: &'static str) -> Result<()> {
        self.check_failure(operation)?;
        let Err(error) = self.disk(operation)?.flush().await else { return Ok(()) };
        self.fail(format!("a flush of its device failed: {error}"));
        Err(volume_error(operation, self.context(), error))
    }

    /// From now on it takes no change: nobody knows what the device has kept.
    fn fail(&self, reason: String) {
        if self.failed.borrow().is_none() {
            tracing::error!(volume = %self.options.name, reason, "a volume in image mode takes no writes any more");
            *self.failed.borrow_mut() = Some(reason);
        }
    }

    /// An error of the device for who has asked. A server that was given up may have lost what it had answered.
    pub(crate) fn error(&self, operation: &'static str, error: std::io::Error) -> VolumeError {
        if self.geometry.kind == DiskKind::Network && error.kind() == std::io::ErrorKind::TimedOut {
            self.fail(error.to_string());
        }
        volume_error(operation, self.context(), error)
    }

    fn check_failure(&self, operation: &'static str) -> Result<()> {
        match &*self.failed.borrow() {
            Some(reason) => {
                let what = format!("{}: {reason}", self.context());
                Err(VolumeError::new(ErrorKind::Unavailable, operation, what))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn context(&self) -> String {
        format!("the device of volume {}", self.options.name)
    }

    pub(crate) fn check(&self, operation: &'static str, offset: u64, length: u64) -> Result<()> {
        let invalid = |what: String| Err(VolumeError::new(ErrorKind::Invalid, operation, what));
        let end = offset.checked_add(length).filter(|&end| end <= self.size_bytes);
        match end {
            Some(_) if (offset | length).is_multiple_of(SECTOR_BYTES as u64) && length > 0 => Ok(()),
            Some(_) => invalid(format!("offset {offset}, length {length}: not multiples of 512")),
            None => invalid(format!(
                "offset {offset}, length {length}: outside volume {} of {} bytes",
                self.options.name, self.size_bytes
            )),
        }
    }

    fn check_change(&self, operation: &'static str, offset: u64, length: u64) -> Result<()> {
        if self.options.read_only {
            let what = format!("volume {} is read-only", self.options.name);
            return Err(VolumeError::new(ErrorKind::ReadOnly, operation, what));
        }
        self.check(operation, offset, length)
    }

    /// What a device writes whole or not at all: a sector, where it is not smaller than a block.
    fn atomic_bytes_max(&self) -> usize {
        let sector_bytes = self.geometry.sector_bytes as usize;
        if sector_bytes >= BLOCK_BYTES { sector_bytes } else { 0 }
    }

    pub(crate) fn note_read(&self, bytes: u64) {
        let stats = self.stats.get();
        self.stats.set(ImageStats { read_bytes: stats.read_bytes + bytes, ..stats });
    }

    pub(crate) fn note_written(&self, bytes: u64) {
        let stats = self.stats.get();
        self.stats.set(ImageStats { written_bytes: stats.written_bytes + bytes, ..stats });
    }
}

/// Fails for a request with more data than one request may have.
pub(crate) fn check_length(operation: &'static str, length: usize, max: usize) -> Result<()> {
    if length > max {
        let what = format!("{length} bytes at once; at most {max}");
        return Err(VolumeError::new(ErrorKind::Invalid, operation, what));
    }
    Ok(())
}

impl Volume for ImageVolume {
    fn info(&self) -> VolumeInfo {
        let Image { options, size_bytes, geometry, .. } = &*self.0;
        VolumeInfo {
            id: options.id,
            name: options.name.clone(),
            size_bytes: *size_bytes,
            preferred_bytes: geometry.sector_bytes.max(BLOCK_BYTES as u32),
            request_bytes_max: REQUEST_BYTES_MAX as u32,
            compare_bytes_max: COMPARE_BYTES_MAX as u32,
            atomic_bytes_max: self.0.atomic_bytes_max() as u32,
            read_only: options.read_only,
            durability: options.durability,
        }
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        self.counted(Verb::Read, (offset, u64::from(length)), self.0.read_range(offset, length))
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        if let Err(error) = check_length("write", data.len(), REQUEST_BYTES_MAX) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let range = (offset, data.len() as u64);
        self.change(("write", Verb::Write), range, flags, move |image| async move {
            image.note_written(range.1);
            image.put("write", offset, data).await
        })
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let max = self.0.atomic_bytes_max();
        let is_inside = (offset % max.max(1) as u64) as usize + data.len() <= max;
        match check_length("atomic write", data.len(), max) {
            Ok(()) if is_inside => self.write(offset, data, flags),
            Ok(()) => {
                let what = format!("{} bytes at {offset} are not in one sector of the device", data.len());
                let error = VolumeError::new(ErrorKind::Invalid, "atomic write", what);
                Box::pin(std::future::ready(Err(error)))
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        const OPERATION: &str = "compare and write";
        if let Err(error) = check_length(OPERATION, data.len().max(expected.len()), COMPARE_BYTES_MAX) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let range = (offset, data.len() as u64);
        self.change((OPERATION, Verb::Write), range, flags, move |image| async move {
            image.compare_and_put(OPERATION, offset, &expected, data).await
        })
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        self.change(("write zeroes", Verb::Zero), (offset, length), flags, move |image| async move {
            image.note_written(length);
            match mode {
                ZeroMode::KeepAllocated => image.zero("write zeroes", offset, offset + length).await,
                ZeroMode::MayUnmap => image.clear_range("write zeroes", offset, offset + length).await,
            }
        })
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.change(("discard", Verb::Discard), (offset, length), flags, move |image| async move {
            image.discard_blocks(offset, length).await
        })
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        self.counted(Verb::Flush, (0, 0), self.0.flush("flush"))
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        _extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        let extent = Extent { range: offset..offset.saturating_add(length), kind: ExtentKind::Data };
        let extents = self.0.check("block status", offset, length).map(|()| vec![extent]);
        Box::pin(std::future::ready(extents))
    }
}
