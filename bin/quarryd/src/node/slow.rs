//! Requests that took too long: gathered from the cores, kept for who asks, told in the process's log and, now and then, as an event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use quarry_api_types::{
    EventKind, EventSeverity, HostOperation, ObjectKind, RequestStage, SlowRequest, SlowRequests, StageTime,
    Timestamp,
};
use quarry_events::NewEvent;
use quarry_node_api::Result;
use quarry_volume::{SlowRequest as Noted, Stage, Verb};
use tokio::time::Instant;

use super::{DataNode, now};

/// Requests that are kept.
const KEPT_MAX: usize = 1000;
/// Lines in the process's log for each time that the cores are asked, every two seconds.
const LINES_MAX: usize = 5;
/// Between two events.
const EVENT_PAUSE: Duration = Duration::from_secs(60);

/// What is kept.
#[derive(Default)]
pub(super) struct SlowKeeper(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    requests: VecDeque<SlowRequest>,
    count: u64,
    last_event: Option<Instant>,
}

impl SlowKeeper {
    /// How many there were since the start.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().expect("nobody panics with this lock").count
    }
}

impl DataNode {
    /// Asks the cores for what was slow since they were asked last.
    pub(super) async fn gather_slow(&self) -> Result<()> {
        let threshold = self.settings.slow_after;
        let asked = (0..self.cores.count()).map(|core| {
            self.cores.call(core, move |state| async move {
                let (mut count, mut noted) = (0, Vec::new());
                let mut take = |log: &quarry_volume::SlowLog| {
                    log.set_threshold(threshold);
                    let (more, requests) = log.take();
                    count += more;
                    noted.extend(requests);
                };
                state.engines().iter().for_each(|(_, engine)| take(engine.slow()));
                state.places.images().iter().for_each(|(_, image)| take(image.slow()));
                (count, noted, state.env.clock.now())
            })
        });
        let (mut count, mut requests) = (0, Vec::new());
        let names = self.slow_names().await?;
        for answer in futures::future::join_all(asked).await {
            let (more, noted, core_now) = answer?;
            count += more;
            let shown = |noted: Noted| {
                let ago = core_now.saturating_sub(noted.ended);
                let at = Timestamp::from_unix_ms(now().unix_ms().saturating_sub(ago.as_millis() as u64));
                shown(noted, at, &names)
            };
            requests.extend(noted.into_iter().map(shown));
        }
        if count > 0 {
            requests.sort_by_key(|request| request.at);
            self.keep_slow(count, requests).await;
        }
        Ok(())
    }

    /// Volumes and snapshots by the text of their ids.
    async fn slow_names(&self) -> Result<BTreeMap<uuid::Uuid, String>> {
        let mut names: BTreeMap<uuid::Uuid, String> =
            self.images().iter().map(|(id, image)| (id.0, image.record.name.to_string())).collect();
        for volume in self.volumes_of(None).await? {
            names.insert(volume.status.id.0, volume.status.name);
        }
        Ok(names)
    }

    async fn keep_slow(&self, count: u64, requests: Vec<SlowRequest>) {
        for request in requests.iter().take(LINES_MAX) {
            let SlowRequest { volume, operation, offset, length, took_us, failed, .. } = request;
            let stages = stages_of(request);
            tracing::warn!(%volume, %operation, offset, length, took_us, stages, failed, "slow request");
        }
        let more = count.saturating_sub(LINES_MAX as u64);
        if more > 0 {
            tracing::warn!(more, "further slow requests");
        }
        let worst = requests.iter().max_by_key(|request| request.took_us).cloned();
        let is_news = {
            let mut kept = self.slow.0.lock().expect("nobody panics with this lock");
            kept.count += count;
            kept.requests.extend(requests);
            let beyond = kept.requests.len().saturating_sub(KEPT_MAX);
            kept.requests.drain(..beyond);
            let is_news = kept.last_event.is_none_or(|last| last.elapsed() >= EVENT_PAUSE);
            if is_news {
                kept.last_event = Some(Instant::now());
            }
            is_news
        };
        if let Some(worst) = worst.filter(|_| is_news) {
            self.record(vec![event(count, &worst, self.settings.slow_after)], Vec::new()).await;
        }
    }

    pub(super) async fn describe_slow(&self) -> Result<SlowRequests> {
        self.gather_slow().await?;
        let kept = self.slow.0.lock().expect("nobody panics with this lock");
        Ok(SlowRequests {
            threshold_ms: self.settings.slow_after.as_millis() as u64,
            count: kept.count,
            requests: kept.requests.iter().cloned().collect(),
        })
    }
}

fn shown(noted: Noted, at: Timestamp, names: &BTreeMap<uuid::Uuid, String>) -> SlowRequest {
    let stage = |(stage, took): &(Stage, Duration)| StageTime {
        stage: stage_word(*stage),
        us: took.as_micros() as u64,
    };
    SlowRequest {
        at,
        volume: names.get(&noted.volume.0).cloned().unwrap_or_else(|| noted.volume.to_string()),
        operation: match noted.verb {
            Verb::Read => HostOperation::Read,
            Verb::Write => HostOperation::Write,
            Verb::Zero => HostOperation::Zero,
            Verb::Discard => HostOperation::Discard,
            Verb::Flush => HostOperation::Flush,
        },
        offset: noted.offset,
        length: noted.length,
        took_us: noted.took.as_micros() as u64,
        stages: noted.stages.iter().map(stage).collect(),
        failed: !noted.is_done,
    }
}

pub(super) fn stage_word(stage: Stage) -> RequestStage {
    match stage {
        Stage::Queue => RequestStage::Queue,
        Stage::Log => RequestStage::Log,
        Stage::Flush => RequestStage::Flush,
        Stage::Lookup => RequestStage::Lookup,
        Stage::Device => RequestStage::Device,
    }
}

fn stages_of(request: &SlowRequest) -> String {
    let stage = |time: &StageTime| format!("{} {} us", time.stage, time.us);
    request.stages.iter().map(stage).collect::<Vec<_>>().join(", ")
}

fn event(count: u64, worst: &SlowRequest, slow_after: Duration) -> NewEvent {
    let longest = worst.stages.iter().max_by_key(|time| time.us);
    let next_step = match longest.map(|time| time.stage) {
        Some(RequestStage::Queue) => {
            "It waited for space or for its turn: look at the pool with `quarry pool show`, and at what else writes there with `quarry top`."
        }
        Some(_) => {
            "It waited for devices: `quarry top` shows their latencies, `quarry slow-requests` what was slow."
        }
        None => "`quarry slow-requests` shows what was slow.",
    };
    let volume = &worst.volume;
    NewEvent {
        severity: EventSeverity::Warning,
        kind: EventKind::RequestsSlow,
        object_kind: ObjectKind::Volume,
        object: volume.clone(),
        message: format!(
            "{count} requests took longer than {} ms; the longest one, a {} of volume '{volume}', {} ms",
            slow_after.as_millis(),
            worst.operation,
            worst.took_us / 1000
        ),
        cause: (!worst.stages.is_empty()).then(|| stages_of(worst)),
        next_step: Some(next_step.to_owned()),
    }
}
