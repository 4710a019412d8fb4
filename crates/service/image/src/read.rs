//! Read: whole sectors of the device, of which the caller gets the part that it wants.

use std::rc::Rc;

use futures::future::join_all;
use quarry_env::View;
use quarry_types::limits::REQUEST_BYTES_MAX;
use quarry_volume::{Result, Views};

use crate::image::{Image, check_length};

/// Most bytes of one read of the device: buffers up to this size are pooled.
const PIECE_BYTES: u64 = 1 << 20;

impl Image {
    pub(crate) async fn read_range(self: &Rc<Self>, offset: u64, length: u32) -> Result<Views> {
        self.check("read", offset, u64::from(length))?;
        check_length("read", length as usize, REQUEST_BYTES_MAX)?;
        // A device may have half of a sector that is being written: an NBD server over a page cache does.
        let turn = self.turn(offset, u64::from(length));
        turn.begin().await;
        let end = offset + u64::from(length);
        let pieces = (offset..end)
            .step_by(PIECE_BYTES as usize)
            .map(|start| self.read_part("read", start, end.min(start + PIECE_BYTES)));
        let mut views = Views::new();
        for view in join_all(pieces).await {
            views.push(view?);
        }
        self.note_read(u64::from(length));
        Ok(views)
    }

    /// The bytes `[start, end)`.
    pub(crate) async fn read_part(&self, operation: &'static str, start: u64, end: u64) -> Result<View> {
        let sector = self.sector();
        let first = start - start % sector;
        let length = (end.next_multiple_of(sector) - first) as usize;
        let (buffer, read) = self.disk(operation)?.read(first, self.env.buffers.allocate(length)).await;
        read.map_err(|error| self.error(operation, error))?;
        Ok(buffer.freeze().slice((start - first) as usize..(end - first) as usize))
    }
}
