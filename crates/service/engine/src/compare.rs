//! Compare and write: a write that happens only if what is there is what the caller expects.

use std::cell::Cell;

use quarry_env::View;
use quarry_types::limits::{ATOMIC_BYTES_MAX, BLOCK_BYTES};
use quarry_volume::{Comparison, ErrorKind, Result, VolumeError, WriteFlags};

use crate::EngineVolume;
use crate::course::Course;

/// Most bytes of one request: hosts compare a sector or a few, and all of them lie in memory twice.
pub(crate) const COMPARE_BYTES_MAX: usize = 64 << 10;

const BLOCK: u64 = BLOCK_BYTES as u64;

// What is compared may begin and end inside of a block.
const _: () = assert!(COMPARE_BYTES_MAX + BLOCK_BYTES <= ATOMIC_BYTES_MAX);

impl EngineVolume {
    pub(crate) async fn compare_and_write_range(
        &self,
        course: &Course<'_>,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> Result<Comparison> {
        const OPERATION: &str = "compare and write";
        let blocks = self.check_change(OPERATION, offset, data.len() as u64)?;
        if data.len() > COMPARE_BYTES_MAX || expected.len() != data.len() {
            let what = format!(
                "{} bytes after a comparison of {}; they are as many, and at most {COMPARE_BYTES_MAX}",
                data.len(),
                expected.len()
            );
            return Err(VolumeError::new(ErrorKind::Invalid, OPERATION, what));
        }
        let start = (offset % BLOCK) as usize;
        let outcome = Cell::new(Comparison::Written);
        let replace = |found: &mut [u8]| {
            let found = &mut found[start..start + data.len()];
            let differs = found.iter().zip(expected.iter()).position(|(found, expected)| found != expected);
            match differs {
                Some(at) => outcome.set(Comparison::Differs { at: at as u32 }),
                None => found.copy_from_slice(&data),
            }
            differs.is_none()
        };
        let buffer = self.engine.env.buffers.allocate((blocks.end - blocks.start) as usize * BLOCK_BYTES);
        self.change_blocks(course, OPERATION, blocks, buffer, replace).await?;
        if outcome.get() == Comparison::Written {
            let written = &self.engine.statistics.written_bytes;
            written.set(written.get() + data.len() as u64);
            self.settle(course, OPERATION, flags).await?;
        }
        Ok(outcome.get())
    }
}
