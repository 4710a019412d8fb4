//! Write: whole blocks go to the log as they are, parts of blocks are merged with what is there first. Atomic writes are whole
//! blocks that stay together.

use std::ops::Range;

use quarry_env::{Buffer, View};
use quarry_log::{Appended, LogError};
use quarry_types::limits::{ATOMIC_BYTES_MAX, BLOCK_BYTES, REQUEST_BYTES_MAX};
use quarry_volume::{ErrorKind, Result, Stage, VolumeError, WriteFlags};

use crate::EngineVolume;
use crate::admit::Admitted;
use crate::course::Course;
use crate::flush::log_error;
use crate::usage::InFlight;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A piece of a write that was appended.
struct Piece {
    appended: Appended,
    in_flight: Option<InFlight>,
}

impl Piece {
    /// Waits until it counts.
    async fn counted(self) -> std::result::Result<(), LogError> {
        let Self { appended, in_flight: _in_flight } = self;
        appended.await
    }
}

impl EngineVolume {
    pub(crate) async fn write_range(
        &self,
        course: &Course<'_>,
        offset: u64,
        data: View,
        flags: WriteFlags,
    ) -> Result<()> {
        self.check_change("write", offset, data.len() as u64)?;
        if data.len() > REQUEST_BYTES_MAX {
            let what = format!("{} bytes at once; at most {REQUEST_BYTES_MAX}", data.len());
            return Err(VolumeError::new(ErrorKind::Invalid, "write", what));
        }
        let bytes = data.len() as u64;
        if (offset | bytes).is_multiple_of(BLOCK) {
            self.write_blocks(course, offset / BLOCK, &data, true).await?;
        } else {
            self.write_parts(course, offset, &data).await?;
        }
        let written = &self.engine.statistics.written_bytes;
        written.set(written.get() + bytes);
        self.settle(course, "write", flags).await
    }

    /// Writes whole blocks by one batch: recovery takes that whole or not at all, and it is published at once.
    pub(crate) async fn write_whole(
        &self,
        course: &Course<'_>,
        offset: u64,
        data: View,
        flags: WriteFlags,
    ) -> Result<()> {
        const OPERATION: &str = "atomic write";
        let blocks = self.check_change(OPERATION, offset, data.len() as u64)?;
        let bytes = data.len() as u64;
        if !(offset | bytes).is_multiple_of(BLOCK) || data.len() > ATOMIC_BYTES_MAX {
            let what = format!(
                "{bytes} bytes at {offset}: both are multiples of {BLOCK}, and at most {ATOMIC_BYTES_MAX} are written"
            );
            return Err(VolumeError::new(ErrorKind::Invalid, OPERATION, what));
        }
        let Admitted { charge, in_flight: _in_flight } = self.admit(OPERATION, &blocks).await?;
        let prepared = self.prepare(&data, true).await;
        self.wait_for_turn(&blocks).await;
        self.check_again(offset, bytes)?;
        self.engine.log.keep_together((blocks.end - blocks.start) as usize);
        let appended = self.append_prepared(blocks.start, prepared);
        drop(charge);
        course.reach(Stage::Queue);
        appended.await.map_err(|error| log_error(OPERATION, error))?;
        course.reach(Stage::Log);
        let written = &self.engine.statistics.written_bytes;
        written.set(written.get() + bytes);
        self.settle(course, OPERATION, flags).await
    }

    /// Appends whole blocks and waits until they count. They may become holes where `may_unmap` says so.
    pub(crate) async fn write_blocks(
        &self,
        course: &Course<'_>,
        first_block: u64,
        data: &View,
        may_unmap: bool,
    ) -> Result<()> {
        let piece = self.engine.space.piece_bytes() as usize;
        if data.len() <= piece {
            let piece = self.append_piece(course, first_block, data, may_unmap).await?;
            let counted = piece.counted().await.map_err(|error| log_error("write", error));
            course.reach(Stage::Log);
            return counted;
        }
        let (mut last, mut refused) = (None, Ok(()));
        let mut in_flight = Vec::new();
        for start in (0..data.len()).step_by(piece) {
            let data = data.slice(start..(start + piece).min(data.len()));
            match self
                .append_piece(course, first_block + (start / BLOCK_BYTES) as u64, &data, may_unmap)
                .await
            {
                Ok(piece) => {
                    last = Some(piece.appended);
                    in_flight.extend(piece.in_flight);
                }
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        // Later records count later, and after one that failed no other succeeds: the last tells of all.
        if let Some(last) = last {
            last.await.map_err(|error| log_error("write", error))?;
            course.reach(Stage::Log);
        }
        refused
    }

    /// Appends a piece once there is space for it and nobody merges a part of its blocks.
    async fn append_piece(
        &self,
        course: &Course<'_>,
        first_block: u64,
        data: &View,
        may_unmap: bool,
    ) -> Result<Piece> {
        let blocks = first_block..first_block + data.len() as u64 / BLOCK;
        let Admitted { charge: _charge, in_flight } = self.admit("write", &blocks).await?;
        let prepared = self.prepare(data, may_unmap).await;
        self.wait_for_turn(&blocks).await;
        self.check_again(first_block * BLOCK, data.len() as u64)?;
        let appended = self.append_prepared(first_block, prepared);
        course.reach(Stage::Queue);
        Ok(Piece { appended, in_flight })
    }

    /// A volume that was rolled back or deleted while a write waited may be too small for it, or gone.
    fn check_again(&self, offset: u64, length: u64) -> Result<()> {
        let end = self.state.head.borrow().size_bytes.next_multiple_of(BLOCK);
        if self.state.deleted.get() || offset + length > end {
            let what =
                format!("volume {} was deleted or rolled back meanwhile", self.state.head.borrow().name);
            return Err(VolumeError::new(ErrorKind::Unavailable, "write", what));
        }
        Ok(())
    }

    /// Waits until nobody merges a part of these blocks or holds the volume's writes back. The caller must append before it
    /// waits for anything else.
    pub(crate) async fn wait_for_turn(&self, blocks: &Range<u64>) {
        let state = &self.state;
        while state.holds.is_held() || !state.locks.are_free(blocks) {
            state.holds.wait().await;
            state.locks.wait_free(blocks).await;
        }
    }

    /// Writes a range that does not begin or end with a block.
    async fn write_parts(&self, course: &Course<'_>, offset: u64, data: &View) -> Result<()> {
        let end = offset + data.len() as u64;
        let slice = |from: u64, to: u64| data.slice((from - offset) as usize..(to - offset) as usize);
        let head_end = offset.next_multiple_of(BLOCK).min(end);
        if head_end > offset {
            self.write_part(course, offset, &slice(offset, head_end)).await?;
        }
        let tail_start = (end / BLOCK * BLOCK).max(head_end);
        if tail_start > head_end {
            self.write_blocks(course, head_end / BLOCK, &slice(head_end, tail_start), true).await?;
        }
        if end > tail_start {
            self.write_part(course, tail_start, &slice(tail_start, end)).await?;
        }
        Ok(())
    }

    /// Writes a part of one block: under its lock, and after all that was appended before counts, so that what is merged
    /// is the newest.
    pub(crate) async fn write_part(&self, course: &Course<'_>, offset: u64, part: &[u8]) -> Result<()> {
        let start = (offset % BLOCK) as usize;
        let merge = |found: &mut [u8]| {
            found[start..start + part.len()].copy_from_slice(part);
            true
        };
        let block = offset / BLOCK;
        let merged = self.engine.env.buffers.allocate(BLOCK_BYTES);
        self.change_blocks(course, "write", block..block + 1, merged, merge).await
    }

    /// Reads whole blocks into `buffer`, which is as long as they are, lets `change` change what it finds, and writes that,
    /// with nothing between: under the locks of the blocks, and after all that was appended before counts, so that what is
    /// found is the newest. Where `change` says no, nothing is written.
    pub(crate) async fn change_blocks(
        &self,
        course: &Course<'_>,
        operation: &'static str,
        blocks: Range<u64>,
        mut buffer: Buffer,
        change: impl Fn(&mut [u8]) -> bool,
    ) -> Result<()> {
        let Admitted { charge, in_flight: _in_flight } = self.admit(operation, &blocks).await?;
        let _locked = self.state.locks.lock(blocks.clone()).await;
        loop {
            let rollbacks = self.state.rollbacks.get();
            self.engine.log.barrier().await.map_err(|error| log_error(operation, error))?;
            course.reach(Stage::Queue);
            let mut filled = 0;
            for view in self.read_blocks(course, blocks.clone()).await? {
                buffer[filled..filled + view.len()].copy_from_slice(&view);
                filled += view.len();
            }
            self.state.holds.wait().await;
            if self.state.rollbacks.get() == rollbacks {
                break;
            }
        }
        self.check_again(blocks.start * BLOCK, (blocks.end - blocks.start) * BLOCK)?;
        if !change(&mut buffer) {
            return Ok(());
        }
        let prepared = self.prepare_at_once(&buffer.freeze());
        self.engine.log.keep_together((blocks.end - blocks.start) as usize);
        let appended = self.append_prepared(blocks.start, prepared);
        drop(charge);
        course.reach(Stage::Queue);
        let counted = appended.await.map_err(|error| log_error(operation, error));
        course.reach(Stage::Log);
        counted
    }
}
