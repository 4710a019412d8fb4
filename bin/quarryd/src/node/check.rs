//! Verification of whole pools, at rest: segment tables against maps, slots against owners, bytes against checksums.

use std::time::Duration;

use quarry_engine::{Engine, EngineError, Finding, LostPlace, ScrubReport, ScrubTerms, verify_slots};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_pool::DeviceStatus;
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{LogId, PoolId};

use super::{DataNode, OpenPool, PoolEntry};

/// How often slots are counted before what is wrong with them counts: the cleaner may hold some for a moment.
const SLOT_COUNTS: usize = 20;
const BETWEEN_COUNTS: Duration = Duration::from_millis(250);

/// What was found in a pool.
pub struct CheckedPool {
    /// Its name.
    pub name: String,
    /// Its volumes.
    pub volumes: usize,
    /// And their snapshots.
    pub snapshots: usize,
    /// Bytes that were read, every copy counted.
    pub bytes: u64,
    /// Bad copies that were written again from a good one.
    pub repaired: u64,
    /// What is wrong, in words.
    pub findings: Vec<String>,
}

/// What one engine has found.
struct CheckedLog {
    log: LogId,
    findings: Vec<String>,
    scrubbed: ScrubReport,
}

impl DataNode {
    /// Verifies every pool of the catalog. One that does not open is a finding.
    pub async fn check_pools(&self) -> Result<Vec<CheckedPool>> {
        let entries: Vec<PoolEntry> = self.pools().values().cloned().collect();
        let mut checked = Vec::new();
        for entry in entries {
            checked.push(self.check_pool(entry).await?);
        }
        checked.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(checked)
    }

    /// Chunks that the scrubs have looked at, and all that they will.
    pub async fn scrub_progress(&self) -> (u64, u64) {
        let listing = (0..self.cores.count()).map(|core| {
            self.cores.call(core, |state| async move {
                let reports = state.engines().into_iter().filter_map(|(_, engine)| engine.scrub_report());
                reports.fold((0, 0), |(done, all), report| (done + report.chunks_done, all + report.chunks))
            })
        });
        let counted = futures::future::join_all(listing).await.into_iter().flatten();
        counted.fold((0, 0), |(done, all), (more_done, more)| (done + more_done, all + more))
    }

    async fn check_pool(&self, entry: PoolEntry) -> Result<CheckedPool> {
        let name = entry.record.name.to_string();
        let mut checked =
            CheckedPool { name, volumes: 0, snapshots: 0, bytes: 0, repaired: 0, findings: Vec::new() };
        let open = match entry.opened {
            Ok(open) => open,
            Err(reason) => {
                checked.findings.push(format!("it does not open: {reason}"));
                return Ok(checked);
            }
        };
        let id = open.shared.id;
        let volumes = self.volumes_of(Some(id)).await?;
        checked.volumes = volumes.len();
        checked.snapshots = volumes.iter().map(|volume| volume.status.snapshots).sum();
        checked.findings.extend(open.shared.devices().iter().filter_map(out_of_use));
        checked.findings.extend(open.shared.degraded_reason());
        let checking = open.logs.iter().map(|&(log, core)| {
            let terms = open.scrub_terms(log, None);
            self.cores.call(core, move |state| async move {
                let engine = state.engine(id, log)?;
                Ok::<_, NodeError>(check_log(&engine, terms).await)
            })
        });
        for log in futures::future::join_all(checking).await {
            note(&mut checked, &log??);
        }
        if checked.findings.is_empty() {
            let slots = self.count_slots(id, &open).await?;
            checked.findings.extend(slots.iter().map(Finding::to_string));
        }
        Ok(checked)
    }

    async fn count_slots(&self, id: PoolId, open: &OpenPool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for _ in 0..SLOT_COUNTS {
            let mut logs = Vec::new();
            for &(log, core) in &open.logs {
                let verified = self.cores.call(core, move |state| async move {
                    let verified = state.engine(id, log)?.verify().await;
                    verified.map_err(|error| failed(&error))
                });
                logs.push(verified.await??);
            }
            findings = verify_slots(&open.shared, &logs);
            if findings.is_empty() {
                break;
            }
            tokio::time::sleep(BETWEEN_COUNTS).await;
        }
        Ok(findings)
    }
}

/// Looks at everything, whatever is wrong with a part: who checks a pool wants to know all of it.
async fn check_log(engine: &Engine, terms: ScrubTerms) -> CheckedLog {
    let mut findings = Vec::new();
    if let Err(error) = engine.checkpoint().await {
        findings.push(failed(&error).to_string());
    }
    match engine.verify().await {
        Ok(verified) => findings.extend(verified.findings.iter().map(Finding::to_string)),
        Err(error) => findings.push(failed(&error).to_string()),
    }
    let scrubbed = engine.resume_scrub(ScrubReport::default(), terms).await;
    CheckedLog { log: engine.log_id(), findings, scrubbed }
}

/// A device that is out of use has copies, or chunks of groups, that nobody can vouch for.
fn out_of_use(device: &DeviceStatus) -> Option<String> {
    Some(format!("device {}: {}", device.path.display(), device.failure.as_ref()?))
}

fn failed(error: &EngineError) -> NodeError {
    NodeError::new(ErrorKind::Internal, "it cannot be verified").caused_by(error)
}

fn note(checked: &mut CheckedPool, log: &CheckedLog) {
    let CheckedLog { log, findings, scrubbed } = log;
    checked.bytes += scrubbed.bytes;
    checked.repaired += scrubbed.repaired;
    checked.findings.extend(findings.iter().map(|finding| format!("log {log}: {finding}")));
    if scrubbed.repaired > 0 {
        checked.findings.push(format!("{} bad copies, repaired from good ones", scrubbed.repaired));
    }
    if scrubbed.unrepaired > 0 {
        checked.findings.push(format!("{} bad copies that could not be repaired", scrubbed.unrepaired));
    }
    for lost in &scrubbed.lost_blocks {
        checked.findings.push(match &lost.place {
            Some(LostPlace { name, offset, .. }) => {
                format!(
                    "{BLOCK_BYTES} bytes at {offset} of {name} have no good copy (record {:?})",
                    lost.address
                )
            }
            None => format!("a record of no volume's data has no good copy ({:?})", lost.address),
        });
    }
    let unnamed = scrubbed.lost - (scrubbed.lost_blocks.len() as u64).min(scrubbed.lost);
    if unnamed > 0 {
        checked.findings.push(format!("{unnamed} more records have no good copy"));
    }
}
