//! Anchors: reading the newest of a log and writing the next.

use std::collections::BTreeMap;

use futures::future::join_all;
use quarry_format::anchor::{ANCHOR_BYTES, Anchor};
use quarry_format::label::{ANCHORS_PER_LOG, anchor_offset};
use quarry_types::LogId;
use quarry_types::limits::LOGS_MAX;

use crate::{Pool, PoolError};

impl Pool {
    /// For each log, its valid anchor with the highest sequence over all devices. Two have the same when a device that had got one as
    /// the only one was missing at the next opening: then what has been opened later counts.
    pub(crate) async fn newest_anchors(&self) -> BTreeMap<LogId, Anchor> {
        let start = anchor_offset(LogId(0), 0);
        let bytes = usize::from(LOGS_MAX) * ANCHORS_PER_LOG * ANCHOR_BYTES;
        let devices = self.healthy_devices();
        let reads = devices.iter().map(|(_, device)| device.read(start, self.env.buffers.allocate(bytes)));
        let mut newest: BTreeMap<LogId, Anchor> = BTreeMap::new();
        for area in join_all(reads).await.into_iter().flatten() {
            let anchors = area.chunks(ANCHOR_BYTES).filter_map(|bytes| Anchor::decode(bytes).ok());
            for anchor in anchors.filter(|anchor| anchor.pool == self.shared.id) {
                let age = |anchor: &Anchor| (anchor.sequence, anchor.incarnation);
                if newest.get(&anchor.log).is_none_or(|known| age(known) < age(&anchor)) {
                    newest.insert(anchor.log, anchor);
                }
            }
        }
        newest
    }

    /// Writes an anchor to every device in use and flushes them; whoever fails is out of use. Durable on return.
    pub(crate) async fn write_anchor(&self, anchor: &Anchor) -> Result<(), PoolError> {
        let view = self.env.buffers.copy_of(&anchor.encode());
        let offset = anchor_offset(anchor.log, (anchor.sequence % 2) as usize);
        let writes = self.healthy_devices().into_iter().map(async |(index, device)| {
            let result = match device.write(offset, vec![view.clone()]).await {
                Ok(()) => device.flush().await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => true,
                Err(error) => {
                    self.shared.fail_device(index, format!("anchor could not be written: {error}"));
                    false
                }
            }
        });
        let written = join_all(writes).await.into_iter().filter(|&done| done).count();
        if written == 0 { Err(PoolError::NoDevice { log: anchor.log }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use quarry_device::{FormatRequest, format_devices};
    use quarry_env_sim::{Config, DiskSpec, World};
    use quarry_types::{Incarnation, PoolId, Protection};

    use super::*;

    #[test]
    fn of_two_anchors_with_one_sequence_that_of_the_later_opening_counts() {
        let world = World::new(1, Config::default());
        let paths: Vec<PathBuf> = (0..2).map(|index| PathBuf::from(format!("/dev/{index}"))).collect();
        paths.iter().for_each(|path| _ = world.add_disk(path, DiskSpec::of_size(64 << 20)));
        let request = FormatRequest {
            pool: PoolId::from_random(3),
            pool_name: "tank".to_owned(),
            protection: Protection::Copies(2),
            paths,
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let process = world.process(1);
        let env = process.env(0);
        let test = async move {
            let pool = crate::from_devices(&env, format_devices(&env, &request).await.expect("blank disks"));
            let anchor = |log: u16, sequence: u64, opening: u64| Anchor {
                pool: pool.shared.id,
                log: LogId(log),
                sequence,
                incarnation: Incarnation(opening),
                image_bytes: 0,
                image_checksum: 0,
                chunks: Vec::new(),
            };
            for (log, first) in [(0, 0), (1, 1)] {
                pool.write_anchor(&anchor(log, 3, 1)).await.expect("both");
                // The power failed when one device had the next anchor; that one was missing when the log was opened again.
                for (device, opening) in [(first, 2), (1 - first, 3)] {
                    let other = pool.device(1 - device);
                    pool.set_device(1 - device, None);
                    pool.write_anchor(&anchor(log, 4, opening)).await.expect("one");
                    pool.set_device(1 - device, other);
                }
                assert_eq!(pool.newest_anchors().await[&LogId(log)], anchor(log, 4, 3), "first {first}");
            }
        };
        world.block_on(&process, 0, test, Duration::from_secs(60)).expect("it comes to an end");
    }
}
