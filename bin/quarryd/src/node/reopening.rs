//! Pools that did not open when the node was started: they are tried again until they do, and served then as at the start.

use std::collections::BTreeMap;
use std::time::Duration;

use quarry_catalog::PoolRecord;
use quarry_node_api::Result;
use quarry_types::PoolId;
use tokio::time::Instant;

use super::DataNode;

/// How often it is looked whether one is to be tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Until one is tried again; each time twice as long, up to the second.
const TRY_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
/// What to do about a pool that does not open.
pub(super) const BRING_BACK: &str =
    "Bring its devices back: it is tried again each minute and opens by itself.";

/// When to try a pool again, and how long it was waited for that.
type Attempts = BTreeMap<PoolId, (Instant, Duration)>;

impl DataNode {
    /// Runs until the node ends.
    pub(super) async fn open_offline_pools(&self) {
        let mut attempts = Attempts::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let offline = self.offline_pools();
            attempts.retain(|id, _| offline.iter().any(|(_, record)| record.id == *id));
            for (home, mut record) in offline {
                let [least, most] = TRY_AGAIN_AFTER;
                let (at, after) = *attempts.entry(record.id).or_insert((Instant::now() + least, least));
                if Instant::now() < at {
                    continue;
                }
                if let Err(error) = self.open_again(home, &mut record).await {
                    tracing::debug!(pool = %record.name, %error, "a pool does not open yet");
                    let after = (2 * after).min(most);
                    attempts.insert(record.id, (Instant::now() + after, after));
                }
            }
        }
    }

    /// The pools that are not open, and the first core of each.
    fn offline_pools(&self) -> Vec<(usize, PoolRecord)> {
        let pools = self.pools();
        let numbered = pools.values().enumerate().filter(|(_, entry)| entry.opened.is_err());
        numbered.map(|(number, entry)| (number % self.cores.count(), entry.record.clone())).collect()
    }

    async fn open_again(&self, home: usize, record: &mut PoolRecord) -> Result<()> {
        let opened = self.open_pool(home, record).await;
        // What belongs to several pools is not looked at while somebody makes it.
        let _changing = self.changing.lock().await;
        let refused = opened.as_ref().err().cloned();
        if let Some(entry) = self.pools_mut().get_mut(&record.id) {
            entry.record = record.clone();
            entry.opened = opened.map_err(|error| error.to_string());
        }
        if let Some(error) = refused {
            return Err(error);
        }
        tracing::info!(pool = %record.name, "a pool that was offline is open");
        if let Err(error) = self.finish_sets().await {
            tracing::warn!(%error, "sets of snapshots are looked at again at the next start");
        }
        self.unlock_volumes().await;
        self.spread_qos_soon().await;
        self.load_exports().await
    }
}

#[cfg(test)]
mod tests;
