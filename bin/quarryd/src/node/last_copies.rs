//! A device that cannot be read and holds the last copies of something is not given up: whose they are is said.

use std::time::Duration;

use quarry_engine::Losses;
use quarry_node_api::{ErrorKind, NodeError, Result};

use super::membership::Member;
use super::{DataNode, OpenPool};

/// How long it is looked for whose they are.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// The most names in a message.
const NAMES_MAX: usize = 20;

impl DataNode {
    /// Refuses to remove a device that cannot be read and holds the last copy of something.
    pub(super) async fn check_last_copies(&self, member: &Member) -> Result<()> {
        if !member.open.shared.is_failed(member.status.index) {
            return Ok(());
        }
        let rehoming = self.rehoming(&member.open).await?;
        let segments: u64 = rehoming.iter().map(|log| log.lost_chunks).sum();
        if segments == 0 {
            return Ok(());
        }
        let losses = self.losses(&member.open).await?;
        let (pool, path) = (&member.entry.record.name, member.status.path.display());
        let what = format!(
            "{path} is not removed: it may hold the last copies of {segments} segments of pool '{pool}', {}",
            whose(&losses)
        );
        Err(NodeError::new(ErrorKind::Conflict, what)
            .with_cause("no copy of them can be read now; removing the device would make that final")
            .with_next_step(format!(
                "Bring it back (`quarry device return {pool} {path}`), or delete what it held: `quarry pool scrub {pool}` names the blocks."
            )))
    }

    async fn losses(&self, open: &OpenPool) -> Result<Losses> {
        let (pool, mut all) = (open.shared.id, Losses::default());
        for &(log, core) in &open.logs {
            let asking = self.cores.call(core, move |state| async move {
                Ok::<_, NodeError>(state.engine(pool, log)?.losses(LOOK_WITHIN).await)
            });
            let losses = asking.await??;
            all.names.extend(losses.names);
            all.not_looked_at.extend(losses.not_looked_at);
        }
        Ok(all)
    }
}

fn whose(Losses { names, not_looked_at }: &Losses) -> String {
    match (&names[..], &not_looked_at[..]) {
        ([], []) => "in which no volume and no snapshot that is shown has anything".to_owned(),
        ([], unknown) => format!("perhaps of {}", list(unknown)),
        (names, []) => format!("of {}", list(names)),
        (names, unknown) => format!("of {}, and perhaps of {}", list(names), list(unknown)),
    }
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
