//! Write zeroes and discard: whole blocks become holes by one record, parts of blocks are written.

use quarry_format::record::Record;
use quarry_types::limits::BLOCK_BYTES;
use quarry_volume::{Result, Stage, WriteFlags, ZeroMode};

use crate::EngineVolume;
use crate::course::Course;
use crate::engine::ZERO_BYTES;
use crate::flush::log_error;

const BLOCK: u64 = BLOCK_BYTES as u64;

impl EngineVolume {
    pub(crate) async fn zero_range(
        &self,
        course: &Course<'_>,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> Result<()> {
        self.check_change("write zeroes", offset, length)?;
        let end = offset + length;
        let head_end = offset.next_multiple_of(BLOCK).min(end);
        let tail_start = (end / BLOCK * BLOCK).max(head_end);
        if head_end > offset {
            self.write_part(course, offset, &self.engine.zeroes((head_end - offset) as usize)).await?;
        }
        match mode {
            ZeroMode::MayUnmap => self.make_hole(course, "write zeroes", head_end, || tail_start).await?,
            ZeroMode::KeepAllocated => self.write_zero_blocks(course, head_end, tail_start).await?,
        }
        if end > tail_start {
            self.write_part(course, tail_start, &self.engine.zeroes((end - tail_start) as usize)).await?;
        }
        self.settle(course, "write zeroes", flags).await
    }

    pub(crate) async fn discard_range(
        &self,
        course: &Course<'_>,
        offset: u64,
        length: u64,
        flags: WriteFlags,
    ) -> Result<()> {
        self.check_change("discard", offset, length)?;
        let start = offset.next_multiple_of(BLOCK);
        let asked_end = offset + length;
        // The last block of a volume whose size is no multiple of a block is whole when all of it is meant. The volume may
        // grow meanwhile, and then it is not.
        let end = || match asked_end == self.state.head.borrow().size_bytes {
            true => asked_end.next_multiple_of(BLOCK),
            false => asked_end / BLOCK * BLOCK,
        };
        self.make_hole(course, "discard", start, end).await?;
        self.settle(course, "discard", flags).await
    }

    /// Unmaps `[start, end())`, both multiples of a block; the end is the one at the moment of the append. Takes no space but
    /// that of a record.
    async fn make_hole(
        &self,
        course: &Course<'_>,
        operation: &'static str,
        start: u64,
        end: impl Fn() -> u64,
    ) -> Result<()> {
        if start >= end() {
            return Ok(());
        }
        self.engine.log.room().await;
        self.wait_for_turn(&(start / BLOCK..end() / BLOCK)).await;
        let end = end();
        if start >= end {
            return Ok(());
        }
        let blocks = start / BLOCK..end / BLOCK;
        let record = Record::Zero {
            volume: self.state.number,
            first_block: blocks.start,
            blocks: blocks.end - blocks.start,
        };
        let appended = self.engine.log.append_record(record);
        self.engine.note_append();
        course.reach(Stage::Queue);
        appended.await.map_err(|error| log_error(operation, error))?;
        course.reach(Stage::Log);
        // Somebody wants space back; blocks of zeroes that are written come back with the next checkpoint.
        self.engine.volumes.freed.raise();
        Ok(())
    }

    /// Writes zeroes as data.
    async fn write_zero_blocks(&self, course: &Course<'_>, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while at < end {
            let bytes = (end - at).min(ZERO_BYTES as u64);
            self.write_blocks(course, at / BLOCK, &self.engine.zeroes(bytes as usize), false).await?;
            at += bytes;
        }
        Ok(())
    }
}
