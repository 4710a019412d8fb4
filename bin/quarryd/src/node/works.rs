//! What goes on for longer than a request waits, and what becomes of the jobs that stand for it. Nothing tells when work in a pool begins
//! or ends; it is seen, again and again, in what pools show. A migration says so itself; how far it is, is seen.

use quarry_api_types::{
    Job, JobKind, JobState, MigrationState, Name, Pool, PoolDevice, PoolDeviceState, PoolState, Rebuild,
    Scrub, ScrubState, Timestamp, VolumeMigration,
};

/// Work as it is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Work {
    pub(super) kind: JobKind,
    pub(super) object: String,
    pub(super) state: JobState,
    /// What is left and, where that is known, what there is in all.
    pub(super) left: u64,
    pub(super) total: Option<u64>,
    pub(super) unit: &'static str,
    pub(super) left_s: Option<u64>,
    pub(super) message: Option<String>,
    pub(super) can_be_cancelled: bool,
    /// When it began, where the pool knows that.
    pub(super) began: Option<Timestamp>,
}

/// What goes on, or has ended since the node was started, in a pool that is open.
pub(super) fn works(pool: &Pool) -> Vec<Work> {
    let mut all: Vec<Work> = pool.scrub.as_ref().map(|one| scrub(pool, one)).into_iter().collect();
    all.extend((!pool.rebuild.is_done()).then(|| rebuild(pool, &pool.rebuild)));
    all.extend(pool.devices.iter().filter_map(drain));
    if !pool.freeing.is_done() {
        let left = pool.freeing.left_bytes();
        all.push(Work { left, ..running(JobKind::Freeing, pool.name.to_string(), "bytes") });
    }
    all
}

fn running(kind: JobKind, object: String, unit: &'static str) -> Work {
    Work {
        kind,
        object,
        state: JobState::Running,
        left: 0,
        total: None,
        unit,
        left_s: None,
        message: None,
        can_be_cancelled: false,
        began: None,
    }
}

fn scrub(pool: &Pool, scrub: &Scrub) -> Work {
    let found = match (scrub.repaired, scrub.lost) {
        (0, 0) => None,
        (repaired, lost) => Some(format!("{repaired} bad copies mended, {lost} blocks without a good copy")),
    };
    Work {
        state: match scrub.state {
            ScrubState::Running => JobState::Running,
            ScrubState::Done => JobState::Done,
            ScrubState::Stopped => JobState::Cancelled,
        },
        left: scrub.chunks.saturating_sub(scrub.chunks_done),
        total: Some(scrub.chunks),
        message: found,
        can_be_cancelled: scrub.state == ScrubState::Running,
        began: Some(scrub.began),
        ..running(JobKind::Scrub, pool.name.to_string(), "chunks")
    }
}

fn rebuild(pool: &Pool, rebuild: &Rebuild) -> Work {
    let message = match (rebuild.stuck, rebuild.exposed_chunks) {
        (true, _) => {
            Some("it does not get on: there is no space, or what is to be copied cannot be read".to_owned())
        }
        (false, 0) => None,
        (false, exposed) => Some(format!("{exposed} segments have fewer good copies than they should")),
    };
    let (left, left_s) = (rebuild.left_bytes, rebuild.left_s);
    Work { left, left_s, message, ..running(JobKind::Rebuild, pool.name.to_string(), "bytes") }
}

fn drain(device: &PoolDevice) -> Option<Work> {
    if device.state != PoolDeviceState::Draining && !device.removing {
        return None;
    }
    let message = device.removing.then(|| "it leaves the pool then".to_owned());
    let can_be_cancelled = true;
    let of_device = running(JobKind::Drain, device.path.clone(), "bytes");
    Some(Work { left: device.used_bytes, message, can_be_cancelled, ..of_device })
}

/// A volume of `size_bytes`, where that is known, that moves since `begun`: it is copied, and then compared.
pub(super) fn migration(
    volume: &Name,
    begun: Timestamp,
    size_bytes: Option<u64>,
    migration: &VolumeMigration,
) -> Work {
    let total = size_bytes.map(|size| 2 * size);
    let done = migration.copied_bytes + migration.verified_bytes;
    let state = match (migration.state, &migration.reason) {
        (state, Some(reason)) => format!("{state}: {reason}"),
        (state, None) => state.to_string(),
    };
    Work {
        left: total.map_or(0, |total| total.saturating_sub(done)),
        total,
        left_s: migration.left_s,
        message: Some(state),
        can_be_cancelled: !matches!(migration.state, MigrationState::Switched | MigrationState::Cancelling),
        began: Some(begun),
        ..running(JobKind::Migration, volume.to_string(), "bytes")
    }
}

/// A job that stands for work, or goes on standing for it.
pub(super) fn seen(job: &mut Job, work: &Work, now: Timestamp) {
    job.total = work.total.unwrap_or(job.total.max(job.done.saturating_add(work.left)).max(work.left));
    job.done = job.total.saturating_sub(work.left);
    job.percent = percent(job.done, job.total);
    job.message = work.message.clone();
    job.left_s = work.left_s.or_else(|| left_s(job, now));
    if work.state != JobState::Running {
        end(job, work.state, work.message.clone(), now);
    } else {
        job.can_be_cancelled = work.can_be_cancelled;
    }
}

/// A job has ended.
pub(super) fn end(job: &mut Job, state: JobState, message: Option<String>, now: Timestamp) {
    job.state = state;
    job.message = message;
    job.ended = Some(now);
    job.left_s = None;
    job.can_be_cancelled = false;
    if state == JobState::Done {
        (job.done, job.percent) = (job.total, 100);
    }
}

pub(super) fn percent(done: u64, total: u64) -> u8 {
    match total {
        0 => 0,
        total => (u128::from(done.min(total)) * 100 / u128::from(total)) as u8,
    }
}

/// At the pace since it began.
fn left_s(job: &Job, now: Timestamp) -> Option<u64> {
    let elapsed_ms = now.unix_ms().checked_sub(job.began.unix_ms()).filter(|&elapsed| elapsed >= 1000)?;
    let left = u128::from(job.total.saturating_sub(job.done)) * u128::from(elapsed_ms);
    (job.done > 0).then(|| u64::try_from(left / u128::from(job.done) / 1000).unwrap_or(u64::MAX))
}

/// How a job has ended whose work is not seen any more; `None` while nobody can tell, because its pool is offline.
pub(super) fn gone(job: &Job, pools: &[Pool]) -> Option<(JobState, Option<String>)> {
    let is_offline = |pool: &&Pool| pool.state == PoolState::Offline;
    match job.kind {
        // They end themselves.
        JobKind::Apply | JobKind::Migration => None,
        JobKind::Drain => {
            if pools.iter().any(|pool| is_offline(&pool)) {
                return None;
            }
            let device = pools.iter().flat_map(|pool| &pool.devices).find(|device| device.path == job.object);
            Some(match device.map(|device| device.state) {
                None => (JobState::Done, Some("it has left its pool".to_owned())),
                Some(PoolDeviceState::Drained) => (JobState::Done, None),
                Some(state) => (JobState::Cancelled, Some(format!("the device is {state} again"))),
            })
        }
        JobKind::Scrub | JobKind::Rebuild | JobKind::Freeing => {
            let pool = pools.iter().find(|pool| pool.name.as_str() == job.object);
            match (pool, job.kind) {
                (None, _) => Some((JobState::Cancelled, Some("the pool was deleted".to_owned()))),
                (Some(pool), _) if is_offline(&pool) => None,
                (Some(_), JobKind::Scrub) => {
                    let message = "the node was started again: begin it anew, `quarry pool scrub`";
                    Some((JobState::Failed, Some(message.to_owned())))
                }
                (Some(_), _) => Some((JobState::Done, None)),
            }
        }
    }
}

#[cfg(test)]
pub(in crate::node) mod tests;
