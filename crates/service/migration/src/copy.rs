//! The copy: region after region from the source to the destination, then everything compared.

use std::rc::Rc;

use futures::future::join_all;
use quarry_env::View;
use quarry_types::limits::BLOCK_BYTES;
use quarry_volume::{ExtentKind, Views, Volume, WriteFlags, ZeroMode};

use crate::migration::Sides;
use crate::pace::Step;
use crate::{Migration, MigrationError};

type Result<T> = std::result::Result<T, MigrationError>;

/// What is copied, or compared, in one turn: changes of it wait for as long.
pub(crate) const REGION_BYTES: u64 = 4 << 20;
/// Its parts go at the same time.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;
/// What is passed over at once when nothing is stored there.
const HOLE_BYTES_MAX: u64 = 1 << 30;

impl Migration {
    /// Copies and compares until both sides are equal; from then on they stay so, until [`crate::Frozen`] ends it. After an error
    /// it may be run again: everything is compared anew.
    pub async fn run(&self) -> Result<()> {
        let sides = &self.0;
        if sides.failure.take().is_some() {
            sides.distrust(&(0..sides.size_bytes));
        }
        while !sides.is_done() {
            sides.check()?;
            // Both sides are read, or one is read and the other written.
            let passed = sides.turn(2 * REGION_BYTES).await;
            sides.check()?;
            let step = Step::begin(sides);
            let read_bytes = match sides.progress.get().copied_bytes < sides.size_bytes {
                true => sides.copy_region().await?,
                false => sides.verify_region().await?,
            };
            drop(passed);
            step.end(sides, read_bytes).await;
        }
        sides.check()
    }
}

impl Sides {
    pub(crate) fn is_done(&self) -> bool {
        let progress = self.progress.get();
        progress.copied_bytes == self.size_bytes && progress.verified_bytes == self.size_bytes
    }

    /// The next region to copy: where it ends, and whether nothing is stored there on either side.
    pub(crate) async fn region(&self, at: u64, blank_destination: bool) -> Result<(u64, bool)> {
        let end = self.size_bytes.min(at + HOLE_BYTES_MAX);
        let on_source = stored_from(&*self.source, at, end).await;
        let mut hole_end = on_source.map_err(|error| source_error(at, error))?;
        if !blank_destination && hole_end > at {
            let on_destination = stored_from(&*self.destination, at, hole_end).await;
            hole_end = on_destination.map_err(|error| destination_error(at, error))?;
        }
        match hole_end > at {
            true => Ok((hole_end, true)),
            false => Ok((self.size_bytes.min(at + REGION_BYTES), false)),
        }
    }

    /// Copies the next region; returns how much was read.
    async fn copy_region(&self) -> Result<u64> {
        let at = self.progress.get().copied_bytes;
        let (end, _) = self.region(at, self.options.destination_is_blank).await?;
        let turn = self.queue.enter(at..end);
        turn.begin().await;
        self.check()?;
        // It may be less now, and hold something where there was nothing: nothing changes from here on.
        let (end, is_hole) = self.region(at, self.options.destination_is_blank).await?;
        let end = end.min(turn.range().end);
        if !is_hole {
            all(pieces(at, end).map(|(at, end)| self.copy_piece(at, end))).await?;
        }
        self.update(|progress| progress.copied_bytes = end);
        Ok(if is_hole { 0 } else { end - at })
    }

    async fn copy_piece(&self, at: u64, end: u64) -> Result<()> {
        let data = self.source_data(at, end).await?;
        self.put(at, data, self.options.destination_is_blank).await
    }

    pub(crate) async fn source_data(&self, at: u64, end: u64) -> Result<View> {
        let views =
            self.copied().read(at, (end - at) as u32).await.map_err(|error| source_error(at, error))?;
        Ok(self.in_one(views))
    }

    pub(crate) async fn destination_data(&self, at: u64, end: u64) -> Result<View> {
        let views = self
            .destination
            .read(at, (end - at) as u32)
            .await
            .map_err(|error| destination_error(at, error))?;
        Ok(self.in_one(views))
    }

    fn in_one(&self, views: Views) -> View {
        if let [view] = &views[..] {
            return view.clone();
        }
        let mut buffer = self.env.buffers.allocate(views.iter().map(|view| view.len()).sum());
        let mut filled = 0;
        for view in &views {
            buffer[filled..filled + view.len()].copy_from_slice(view);
            filled += view.len();
        }
        buffer.freeze()
    }

    /// Writes `data` to the destination at `at`; where it is zeroes, and the destination may be something else, makes it zeroes.
    pub(crate) async fn put(&self, at: u64, data: View, is_blank: bool) -> Result<()> {
        let flags = WriteFlags::default();
        let runs = runs(&data).into_iter().filter(|run| !(run.is_zero && is_blank)).map(|run| {
            let (offset, length) = (at + run.start as u64, (run.end - run.start) as u64);
            match run.is_zero {
                true => self.destination.write_zeroes(offset, length, ZeroMode::MayUnmap, flags),
                false => self.destination.write(offset, data.slice(run.start..run.end), flags),
            }
        });
        for written in join_all(runs).await {
            written.map_err(|error| destination_error(at, error))?;
        }
        Ok(())
    }
}

/// Where the hole ends, at `end` at the latest, that begins at `at`; `at` when something is stored there.
async fn stored_from(volume: &dyn Volume, at: u64, end: u64) -> quarry_volume::Result<u64> {
    let extents = volume.extents(at, end - at, 1).await?;
    Ok(match extents.first() {
        Some(extent) if extent.kind == ExtentKind::Hole => extent.range.end.min(end),
        _ => at,
    })
}

/// Does all of it at the same time, and waits for all of it: the first error counts.
pub(crate) async fn all<T>(pieces: impl Iterator<Item = T>) -> Result<()>
where
    T: Future<Output = Result<()>>,
{
    join_all(pieces).await.into_iter().collect()
}

pub(crate) fn pieces(start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    (start..end).step_by(PIECE_BYTES as usize).map(move |at| (at, end.min(at + PIECE_BYTES)))
}

/// Bytes of a piece that are all zero, or hold something in each block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    start: usize,
    end: usize,
    is_zero: bool,
}

/// A piece as runs of blocks.
fn runs(data: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, block) in data.chunks(BLOCK_BYTES).enumerate() {
        let (start, is_zero) = (number * BLOCK_BYTES, block.iter().all(|&byte| byte == 0));
        let end = start + block.len();
        match runs.last_mut().filter(|run| run.is_zero == is_zero) {
            Some(run) => run.end = end,
            None => runs.push(Run { start, end, is_zero }),
        }
    }
    runs
}

pub(crate) fn source_error(at: u64, error: quarry_volume::VolumeError) -> MigrationError {
    MigrationError::Source { at, error: Rc::new(error) }
}

pub(crate) fn destination_error(at: u64, error: quarry_volume::VolumeError) -> MigrationError {
    MigrationError::Destination { at, error: Rc::new(error) }
}
