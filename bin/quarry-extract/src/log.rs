//! A log, read: its image, its tail, and what is wrong with them.

use anyhow::Result;
use quarry_types::{LogAddress, LogId};

use crate::block;
use crate::image;
use crate::pool::Pool;
use crate::segments::Segments;
use crate::state::State;
use crate::tail;

/// See the module.
pub struct Log {
    pub id: LogId,
    pub state: State,
    pub segments: Segments,
    /// Batches behind the image.
    pub batches: u64,
}

/// The logs of a pool, and all that is missing or wrong.
pub fn open(pool: &Pool) -> Result<(Vec<Log>, Vec<String>)> {
    let (images, mut flaws) = image::images(pool)?;
    let mut logs = Vec::new();
    for image in images {
        let mut segments = match Segments::new(pool, &image) {
            Ok(segments) => segments,
            Err(wrong) => {
                flaws.push(format!("log {}: {wrong}; its volumes cannot be read", image.log));
                continue;
            }
        };
        let mut state = State::new(&image);
        let (batches, wrong) = tail::replay(pool, &image, &mut segments, &mut state)?;
        flaws.extend(wrong);
        logs.push(Log { id: image.log, state, segments, batches });
    }
    Ok((logs, flaws))
}

impl Log {
    /// The bytes of a record from the first copy, or combination of its group, whose checksum is right.
    pub fn record(
        &self,
        pool: &Pool,
        address: LogAddress,
        sectors: u8,
        checksum: u32,
    ) -> Result<Vec<u8>, String> {
        if address == LogAddress::LOST {
            return Err("the part of the map that led there was damaged on all copies".to_owned());
        }
        let Some((chunk, sector)) = self.segments.resolve(address) else {
            return Err(format!("{address:?} is not in the segment table"));
        };
        let offset = u64::from(sector) * quarry_types::SECTOR_BYTES as u64;
        let length = usize::from(sectors) * quarry_types::SECTOR_BYTES;
        self.segments.read(pool, chunk, (offset, length), |bytes| block::check(bytes, checksum))
    }
}
