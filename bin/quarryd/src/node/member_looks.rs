//! What no request notices of a device in use: that its path leads elsewhere, so that it is gone when it is closed, and that a copy of
//! its label is damaged, which is read only when it is opened. Both are looked at again and again.
//!
//! A file system or a device that does not answer keeps nobody else waiting, and is asked nothing more before it has.

use std::collections::BTreeMap;
use std::time::Duration;

use quarry_node_api::Result;
use quarry_types::{DeviceId, PoolId};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{DataNode, OpenPool};

/// How often paths are looked at.
const PATHS_EVERY: Duration = Duration::from_secs(5);
/// How often labels are read.
const LABELS_EVERY: Duration = Duration::from_secs(60);

/// What was asked of each device, and of the labels of each pool.
#[derive(Default)]
pub(super) struct Looks {
    paths: BTreeMap<DeviceId, Look<Option<bool>>>,
    labels: BTreeMap<PoolId, Look<()>>,
}

/// A question and when it was asked.
struct Look<T> {
    asked: Instant,
    /// Until its answer was taken.
    answer: Option<JoinHandle<Result<T>>>,
}

impl<T> Look<T> {
    fn new(answer: JoinHandle<Result<T>>) -> Self {
        Self { asked: Instant::now(), answer: Some(answer) }
    }

    fn is_answered(&self) -> bool {
        self.answer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What was found, once.
    async fn take(&mut self) -> Option<T> {
        self.answer.take_if(|answer| answer.is_finished())?.await.ok()?.ok()
    }
}

/// Whether it is time to ask again.
fn is_due<T>(look: Option<&Look<T>>, every: Duration) -> bool {
    look.is_none_or(|look| look.is_answered() && look.asked.elapsed() >= every)
}

impl DataNode {
    /// Takes the answers that have come, and asks what is due.
    pub(super) async fn look_at_members(&self, looks: &mut Looks) {
        let pools: Vec<OpenPool> =
            self.pools().values().filter_map(|entry| entry.opened.as_ref().ok().cloned()).collect();
        for (&device, look) in &mut looks.paths {
            if let Some(Some(is_there)) = look.take().await {
                self.note_path(device, is_there);
            }
        }
        let mut in_use = Vec::new();
        for open in &pools {
            let devices = open.shared.devices().into_iter().filter(|status| status.failure.is_none());
            for status in devices {
                in_use.push(status.id);
                if is_due(looks.paths.get(&status.id), PATHS_EVERY) {
                    looks.paths.insert(status.id, self.ask_for_path(open, status.index));
                }
            }
            if is_due(looks.labels.get(&open.shared.id), LABELS_EVERY) {
                looks.labels.insert(open.shared.id, self.ask_for_labels(open));
            }
        }
        looks.paths.retain(|device, _| in_use.contains(device));
        looks.labels.retain(|pool, _| pools.iter().any(|open| open.shared.id == *pool));
        self.strayed.lock().expect("no panic under it").retain(|device| in_use.contains(device));
    }

    fn note_path(&self, device: DeviceId, is_there: bool) {
        let mut strayed = self.strayed.lock().expect("no panic under it");
        match is_there {
            true => strayed.remove(&device),
            false => strayed.insert(device),
        };
    }

    /// Whether the path of a device in use was seen to lead elsewhere.
    pub(super) fn has_strayed(&self, device: DeviceId) -> bool {
        self.strayed.lock().expect("no panic under it").contains(&device)
    }

    fn ask_for_path(&self, open: &OpenPool, index: u16) -> Look<Option<bool>> {
        let (cores, pool, core) = (self.cores.clone(), open.shared.id, open.home());
        Look::new(tokio::spawn(async move {
            let asking = cores.call(core, move |state| async move {
                let device = state.opened_pool(pool)?.device(index)?;
                device.is_at_its_path().await.ok()
            });
            asking.await
        }))
    }

    fn ask_for_labels(&self, open: &OpenPool) -> Look<()> {
        let (cores, pool, core) = (self.cores.clone(), open.shared.id, open.home());
        Look::new(tokio::spawn(async move {
            let mending = cores.call(core, move |state| async move {
                if let Some(pool) = state.opened_pool(pool) {
                    pool.mend_labels().await;
                }
            });
            mending.await
        }))
    }
}

#[cfg(test)]
mod tests;
