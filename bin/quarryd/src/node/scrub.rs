//! Scrubs of whole pools: begun by people or by the calendar, run by each log's engine on its core. The catalog knows of one that is under
//! way, and now and then how far it is: a node that is started again goes on with it.

use std::time::Duration;

use quarry_api_types::{LostBlock, Name, Pool, Scrub, ScrubState, StartScrub, Timestamp};
use quarry_catalog::{Change, LogScrubRecord, PoolRecord, ScrubRecord};
use quarry_engine::{ScrubReport, ScrubTerms};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{ChunkId, LogId, PoolId};

use super::{DataNode, OpenPool, PoolEntry, now};

/// How often the calendar is looked at, and how far scrubs are is written down.
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
        let rate_bytes = request.rate_bytes_per_s.unwrap_or(self.settings.scrub_rate_bytes);
        self.start(open, rate_bytes).await?;
        self.describe_pool(&entry).await
    }

    async fn start(&self, open: &OpenPool, rate_bytes: u64) -> Result<()> {
        let scrub = ScrubRecord { rate_bytes, logs: Vec::new() };
        self.remember(open.shared.id, |record| record.scrub = Some(scrub.clone())).await?;
        self.spawn_scrubs(open, &scrub).await
    }

    pub(super) async fn end_scrub(&self, name: &Name) -> Result<Pool> {
        let _changing = self.changing.lock().await;
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
        self.remember(pool, |record| record.scrub = None).await?;
        self.describe_pool(&self.pool_entry(name)?).await
    }

    /// Begins the scrub of each log on its core, or goes on with it; they share the rate.
    async fn spawn_scrubs(&self, open: &OpenPool, scrub: &ScrubRecord) -> Result<()> {
        let (pool, rate) = (open.shared.id, scrub.rate_bytes / open.logs.len().max(1) as u64);
        for &(log, core) in &open.logs {
            let before = scrub.logs.iter().find(|one| one.log == log).map(report_of).unwrap_or_default();
            let terms = open.scrub_terms(log, Some(rate));
            let beginning = self.cores.call(core, move |state| async move {
                let engine = state.engine(pool, log)?;
                let scrubbing = engine.clone();
                let scrub = async move { _ = scrubbing.resume_scrub(before, terms).await };
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

    /// The scrub of a pool, its logs taken together. One that is to go on, and does not do so yet, is under way.
    pub(super) async fn scrub_of(&self, open: &OpenPool) -> Result<Option<Scrub>> {
        let reports = self.scrub_reports(open).await?;
        if !reports.is_empty() {
            return Ok(together(reports.iter().map(|(_, report)| report)));
        }
        let record = self.pools().get(&open.shared.id).and_then(|entry| entry.record.scrub.clone());
        let waiting = |record: ScrubRecord| {
            let begun = ScrubReport { began_s: now().unix_ms() / 1000, ..ScrubReport::default() };
            let reports: Vec<ScrubReport> = match record.logs.is_empty() {
                true => vec![begun],
                false => record.logs.iter().map(report_of).collect(),
            };
            together(&reports).map(|scrub| Scrub { state: ScrubState::Running, ended: None, ..scrub })
        };
        Ok(record.and_then(waiting))
    }

    async fn scrub_reports(&self, open: &OpenPool) -> Result<Vec<(LogId, ScrubReport)>> {
        let pool = open.shared.id;
        let mut reports = Vec::new();
        for &(log, core) in &open.logs {
            let asking = self.cores.call(core, move |state| async move {
                Ok::<_, NodeError>(state.engine(pool, log)?.scrub_report())
            });
            reports.extend(asking.await??.map(|report| (log, report)));
        }
        Ok(reports)
    }

    /// Goes on with scrubs that the end of the node has cut off, writes down how far they are, and scrubs each pool that was not scrubbed
    /// for as long as the settings say. Runs until the node ends.
    pub async fn scrub_by_calendar(&self) {
        loop {
            let ids: Vec<PoolId> = self.pools().keys().copied().collect();
            for id in ids {
                if let Err(error) = self.look_at_scrub(id).await {
                    tracing::warn!(%error, "a scrub that is due was not begun, or how far one is not written down");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn look_at_scrub(&self, id: PoolId) -> Result<()> {
        let _changing = self.changing.lock().await;
        let Some(PoolEntry { record, opened: Ok(open) }) = self.pools().get(&id).cloned() else {
            return Ok(());
        };
        let reports = self.scrub_reports(&open).await?;
        let scrub = together(reports.iter().map(|(_, report)| report));
        let days = u64::from(self.settings.scrub_days);
        match (&record.scrub, scrub) {
            (Some(cut_off), None) => {
                tracing::info!(pool = %record.name, "the scrub goes on that was under way when the node ended");
                return self.spawn_scrubs(&open, cut_off).await;
            }
            (Some(before), Some(scrub)) if scrub.state == ScrubState::Running => {
                let logs: Vec<LogScrubRecord> =
                    reports.iter().map(|(log, report)| record_of(*log, report)).collect();
                let now = ScrubRecord { logs, ..before.clone() };
                return self.remember(id, |record| record.scrub = record.scrub.take().map(|_| now)).await;
            }
            (under_way, Some(Scrub { ended: Some(ended), .. }))
                if under_way.is_some() || record.scrubbed.is_none_or(|last| last < ended) =>
            {
                let done = |record: &mut PoolRecord| (record.scrubbed, record.scrub) = (Some(ended), None);
                return self.remember(id, done).await;
            }
            _ => {}
        }
        let last = record.scrubbed.unwrap_or(record.created).unix_ms();
        let is_running = reports.iter().any(|(_, report)| report.running);
        if days == 0 || is_running || now().unix_ms() < last + days * DAY_MS {
            return Ok(());
        }
        tracing::info!(pool = %record.name, "scrubbing: {days} days have gone by since the last time");
        self.start(&open, self.settings.scrub_rate_bytes).await
    }

    /// Changes what the catalog knows of a pool and its scrub. Whoever calls it keeps others from changing anything.
    async fn remember(&self, id: PoolId, change: impl FnOnce(&mut PoolRecord)) -> Result<()> {
        let Some(mut record) = self.pools().get(&id).map(|entry| entry.record.clone()) else { return Ok(()) };
        change(&mut record);
        self.commit(vec![Change::PutPool(record.clone())]).await?;
        if let Some(entry) = self.pools_mut().get_mut(&id) {
            entry.record = record;
        }
        Ok(())
    }
}

impl OpenPool {
    /// How one of its logs is scrubbed: the first sees to the labels, too.
    pub(super) fn scrub_terms(&self, log: LogId, bytes_per_s: Option<u64>) -> ScrubTerms {
        let labels = self.logs.first().is_some_and(|(first, _)| *first == log);
        ScrubTerms { bytes_per_s, labels }
    }
}

fn record_of(log: LogId, report: &ScrubReport) -> LogScrubRecord {
    LogScrubRecord {
        log,
        began: seconds(report.began_s),
        ended: report.ended_s.map(seconds),
        passed: report.passed.map(|passed| passed.0),
        chunks_done: report.chunks_done,
        chunks: report.chunks,
        read_bytes: report.bytes,
        repaired: report.repaired,
        unrepaired: report.unrepaired,
        lost: report.lost,
    }
}

fn report_of(record: &LogScrubRecord) -> ScrubReport {
    let began_s = record.began.unix_ms() / 1000;
    ScrubReport {
        began_s,
        ended_s: record.ended.map(|ended| ended.unix_ms() / 1000),
        passed: record.passed.map(ChunkId),
        chunks_done: record.chunks_done,
        chunks: record.chunks,
        bytes: record.read_bytes,
        repaired: record.repaired,
        unrepaired: record.unrepaired,
        lost: record.lost,
        ..ScrubReport::default()
    }
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(seconds * 1000)
}

pub(super) fn offline(name: &Name, reason: &str) -> NodeError {
    NodeError::new(ErrorKind::Unavailable, format!("pool '{name}' is offline")).with_cause(reason)
}

fn together<'a>(reports: impl IntoIterator<Item = &'a ScrubReport>) -> Option<Scrub> {
    let reports: Vec<&ScrubReport> = reports.into_iter().collect();
    let began_s = reports.iter().map(|report| report.began_s).min()?;
    let sum = |count: fn(&ScrubReport) -> u64| reports.iter().copied().map(count).sum();
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
