//! Write, and write after a comparison: whole sectors as they are, parts of sectors merged with what is there. The caller has its
//! turn in the queue, so nothing changes these sectors meanwhile.

use quarry_env::View;
use quarry_volume::{Comparison, ErrorKind, Result, VolumeError};

use crate::image::Image;

impl Image {
    /// Writes `data` at `offset`.
    pub(crate) async fn put(&self, operation: &'static str, offset: u64, data: View) -> Result<()> {
        let sector = self.sector();
        if !(offset | data.len() as u64).is_multiple_of(sector) {
            let (first, merged) = self.merge(operation, offset, &data).await?;
            return self.put_sectors(operation, first, merged).await;
        }
        self.put_sectors(operation, offset, data).await
    }

    async fn put_sectors(&self, operation: &'static str, offset: u64, data: View) -> Result<()> {
        // A device that bypasses the cache takes memory that is aligned as its sectors are, and a host's data may begin anywhere.
        let aligned = (data.as_ptr() as u64).is_multiple_of(self.sector());
        let data = if aligned { data } else { self.env.buffers.copy_of(&data) };
        let written = self.disk(operation)?.write(offset, vec![data]).await;
        written.map_err(|error| self.error(operation, error))
    }

    /// The sectors that hold `data`, the rest of them as it is on the device, and where they begin.
    async fn merge(&self, operation: &'static str, offset: u64, data: &View) -> Result<(u64, View)> {
        let (sector, end) = (self.sector(), offset + data.len() as u64);
        let first = offset - offset % sector;
        let last_end = end.next_multiple_of(sector);
        let mut buffer = self.env.buffers.allocate((last_end - first) as usize);
        let at = (offset - first) as usize;
        if offset > first {
            let head = self.read_part(operation, first, offset).await?;
            buffer[..head.len()].copy_from_slice(&head);
        }
        if last_end > end {
            let tail = self.read_part(operation, end, last_end).await?;
            let start = buffer.len() - tail.len();
            buffer[start..].copy_from_slice(&tail);
        }
        buffer[at..at + data.len()].copy_from_slice(data);
        Ok((first, buffer.freeze()))
    }

    pub(crate) async fn compare_and_put(
        &self,
        operation: &'static str,
        offset: u64,
        expected: &View,
        data: View,
    ) -> Result<Comparison> {
        if expected.len() != data.len() {
            let what =
                format!("{} bytes after a comparison of {}; they are as many", data.len(), expected.len());
            return Err(VolumeError::new(ErrorKind::Invalid, operation, what));
        }
        let found = self.read_part(operation, offset, offset + data.len() as u64).await?;
        if let Some(at) = found.iter().zip(expected.iter()).position(|(found, expected)| found != expected) {
            return Ok(Comparison::Differs { at: at as u32 });
        }
        self.note_written(data.len() as u64);
        self.put(operation, offset, data).await?;
        Ok(Comparison::Written)
    }
}
