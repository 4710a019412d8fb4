//! Write zeroes and discard. The caller has its turn in the queue.

use futures::stream::{self, StreamExt, TryStreamExt};
use quarry_env::{DiskKind, View};
use quarry_types::limits::BLOCK_BYTES;
use quarry_volume::Result;

use crate::image::Image;

/// Bytes of one write of zeroes, or of one read that looks for anything else.
const PIECE_BYTES: u64 = 1 << 20;
/// How many of them may be on their way.
const PIECES_IN_FLIGHT_MAX: usize = 4;

impl Image {
    /// Writes zeroes to `[start, end)`.
    pub(crate) async fn zero(&self, operation: &'static str, start: u64, end: u64) -> Result<()> {
        let sector = self.sector();
        let first = start.next_multiple_of(sector).min(end);
        let last = (end - end % sector).max(first);
        let zeroes = self.env.buffers.allocate_zeroed((end - start).min(PIECE_BYTES) as usize).freeze();
        if first > start {
            self.put(operation, start, zeroes.slice(0..(first - start) as usize)).await?;
        }
        let put = |(start, end): (u64, u64)| {
            let piece: View = zeroes.slice(0..(end - start) as usize);
            self.put(operation, start, piece)
        };
        in_pieces(first, last).map(put).buffer_unordered(PIECES_IN_FLIGHT_MAX).try_collect::<()>().await?;
        if end > last {
            self.put(operation, last, zeroes.slice(0..(end - last) as usize)).await?;
        }
        Ok(())
    }

    /// Gives the whole blocks of a range back to the device; they read as zeroes afterwards. The end of the volume ends a block.
    pub(crate) async fn discard_blocks(&self, offset: u64, length: u64) -> Result<()> {
        let (block, end) = (BLOCK_BYTES as u64, offset + length);
        let start = offset.next_multiple_of(block);
        let end = if end == self.size_bytes { end } else { end - end % block };
        if start >= end {
            return Ok(());
        }
        let sector = self.sector();
        let (first, last) = (start.next_multiple_of(sector).min(end), end - end % sector);
        if last > first {
            let discarded = self.disk("discard")?.discard(first, last - first).await;
            discarded.map_err(|error| self.error("discard", error))?;
        }
        if self.geometry.kind == DiskKind::File && (first, last) == (start, end) {
            // A hole that was punched into a file reads as zeroes.
            return Ok(());
        }
        self.clear_range("discard", start, end).await
    }

    /// Writes zeroes where there is anything else: what a thin device has no space for gets none.
    pub(crate) async fn clear_range(&self, operation: &'static str, start: u64, end: u64) -> Result<()> {
        in_pieces(start, end)
            .map(|(start, end)| self.clear(operation, start, end))
            .buffer_unordered(PIECES_IN_FLIGHT_MAX)
            .try_collect::<()>()
            .await
    }

    async fn clear(&self, operation: &'static str, start: u64, end: u64) -> Result<()> {
        let found = self.read_part(operation, start, end).await?;
        match found.iter().all(|&byte| byte == 0) {
            true => Ok(()),
            false => self.zero(operation, start, end).await,
        }
    }
}

fn in_pieces(start: u64, end: u64) -> impl stream::Stream<Item = (u64, u64)> {
    stream::iter((start..end).step_by(PIECE_BYTES as usize).map(move |at| (at, end.min(at + PIECE_BYTES))))
}
