//! Scrubs of whole pools: begun by people or by the calendar, run by each log's engine on its core.

use std::time::Duration;

use quarry_api_types::{LostBlock, Name, Pool, Scrub, ScrubState, StartScrub, Timestamp};
use quarry_catalog::{Change, PoolRecord};
use quarry_engine::ScrubReport;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::PoolId;

use super::{DataNode, OpenPool, now};

/// How often the calendar is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl DataNode {
    pub(super) async fn begin_scrub(&self, name: &Name, request: StartScrub) -> Result<Pool> {
        request.check()?;
        let entry = self.pool_entry(name)?;
        let open = entry.opened.as_ref().map_err(|reason| offline(name, reason))?;
        if self.scrub_of(open).await?.is_some_and(|scrub| scrub.state == ScrubState::Running) {
            return Err(NodeError::new(ErrorKind::Conflict, format!("pool '{name}' is being scrubbed"))
                .with_next_step(format!("`quarry pool show {name}` shows how far it is.")));
        }
        let rate = request.rate_bytes_per_s.unwrap_or(self.settings.scrub_rate_bytes);
        self.spawn_scrubs(open, rate).await?;
        self.describe_pool(&entry).await
    }

    pub(super) async fn end_scrub(&self, name: &Name) -> Result<Pool> {
        let entry = self.pool_entry(name)?;
        let open = entry.opened.as_ref().map_err(|reason| offline(name, reason))?;
        let pool = open.shared.id;
        for &(log, core) in &open.logs {
            let stopping = self.cores.call(core, move |state| async move {
                state.engine(pool, log)?.stop_scrub();
                Ok::<_, NodeError>(())
            });
            stopping.await??;
        }
        self.describe_pool(&entry).await
    }

    /// Begins the scrub of each log on its core; they share the rate.
    async fn spawn_scrubs(&self, open: &OpenPool, rate_bytes: u64) -> Result<()> {
        let (pool, rate) = (open.shared.id, rate_bytes / open.logs.len().max(1) as u64);
        for &(log, core) in &open.logs {
            let beginning = self.cores.call(core, move |state| async move {
                let engine = state.engine(pool, log)?;
                let scrubbing = engine.clone();
                let scrub = async move {
                    if let Err(error) = scrubbing.scrub(Some(rate)).await {
                        tracing::error!(%log, %error, "a scrub ended early");
                    }
                };
                state.env.spawner.spawn(scrub).detach();
                // Shown as running from the first moment on.
                while engine.scrub_report().is_none_or(|report| !report.running && report.ended_s.is_none()) {
                    quarry_env::yield_now().await;
                }
                Ok::<_, NodeError>(())
            });
            beginning.await??;
        }
        Ok(())
    }

    /// The scrub of a pool, its logs taken together.
    pub(super) async fn scrub_of(&self, open: &OpenPool) -> Result<Option<Scrub>> {
        let pool = open.shared.id;
        let mut reports = Vec::new();
        for &(log, core) in &open.logs {
            let asking = self.cores.call(core, move |state| async move {
                Ok::<_, NodeError>(state.engine(pool, log)?.scrub_report())
            });
            reports.extend(asking.await??);
        }
        Ok(together(&reports))
    }

    /// Scrubs each pool that was not scrubbed for as long as the settings say. Runs until the node ends.
    pub async fn scrub_by_calendar(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let open: Vec<(PoolRecord, OpenPool)> = self
                .pools()
                .values()
                .filter_map(|entry| Some((entry.record.clone(), entry.opened.as_ref().ok()?.clone())))
                .collect();
            for (record, open) in open {
                if let Err(error) = self.look_at_calendar(record, &open).await {
                    tracing::warn!(%error, "the scrub that is due was not begun");
                }
            }
        }
    }

    async fn look_at_calendar(&self, mut record: PoolRecord, open: &OpenPool) -> Result<()> {
        let scrub = self.scrub_of(open).await?;
        if let Some(ended) = scrub.as_ref().and_then(|scrub| scrub.ended)
            && record.scrubbed.is_none_or(|before| before < ended)
        {
            record.scrubbed = Some(ended);
            self.remember_scrub(record.id, ended).await?;
        }
        let days = u64::from(self.settings.scrub_days);
        let is_running = scrub.is_some_and(|scrub| scrub.state == ScrubState::Running);
        let last = record.scrubbed.unwrap_or(record.created).unix_ms();
        if days == 0 || is_running || now().unix_ms() < last + days * DAY_MS {
            return Ok(());
        }
        tracing::info!(pool = %record.name, "scrubbing: {days} days have gone by since the last time");
        self.spawn_scrubs(open, self.settings.scrub_rate_bytes).await
    }

    async fn remember_scrub(&self, id: PoolId, ended: Timestamp) -> Result<()> {
        let _changing = self.changing.lock().await;
        let changed = {
            let mut pools = self.pools_mut();
            let Some(entry) = pools.get_mut(&id) else { return Ok(()) };
            entry.record.scrubbed = Some(ended);
            entry.record.clone()
        };
        self.commit(vec![Change::PutPool(changed)]).await
    }
}

pub(super) fn offline(name: &Name, reason: &str) -> NodeError {
    NodeError::new(ErrorKind::Unavailable, format!("pool '{name}' is offline")).with_cause(reason)
}

fn together(reports: &[ScrubReport]) -> Option<Scrub> {
    let began_s = reports.iter().map(|report| report.began_s).min()?;
    let seconds = |seconds: u64| Timestamp::from_unix_ms(seconds * 1000);
    let sum = |count: fn(&ScrubReport) -> u64| reports.iter().map(count).sum();
    let is_done = reports.iter().all(|report| report.ended_s.is_some());
    let is_running = reports.iter().any(|report| report.running);
    let lost = reports.iter().flat_map(|report| &report.lost_blocks);
    Some(Scrub {
        state: match (is_running, is_done) {
            (true, _) => ScrubState::Running,
            (false, true) => ScrubState::Done,
            (false, false) => ScrubState::Stopped,
        },
        began: seconds(began_s),
        ended: reports.iter().filter_map(|report| report.ended_s).max().filter(|_| is_done).map(seconds),
        chunks_done: sum(|report| report.chunks_done),
        chunks: sum(|report| report.chunks),
        read_bytes: sum(|report| report.bytes),
        repaired: sum(|report| report.repaired),
        unrepaired: sum(|report| report.unrepaired),
        lost: sum(|report| report.lost),
        lost_blocks: lost
            .map(|lost| LostBlock {
                volume: lost.place.as_ref().map(|place| place.name.clone()),
                offset: lost.place.as_ref().map_or(0, |place| place.offset),
            })
            .collect(),
    })
}
