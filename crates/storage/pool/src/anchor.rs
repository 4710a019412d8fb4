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
