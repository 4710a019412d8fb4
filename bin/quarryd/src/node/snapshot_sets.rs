//! Sets of snapshots: several volumes, of any logs and pools, at one point in time.
//!
//! Taking one: the writes of all volumes are held back, each on the core that owns it; when all hold, the snapshots are taken;
//! then the writes go on. While every hold stands no write of any of the volumes is appended, so the snapshots are of one
//! point in time, although they are records of different logs. A hold ends by itself after a few seconds, so that hosts do not
//! hang on a node that got stuck. Therefore each core says at the end whether it still held: if one did not, a write may lie
//! between two of the snapshots, and they are forgotten.
//!
//! All or none, whenever the power goes: logs do not commit together. So each member's record carries the set's id, and once all
//! are durable and the holds stood, one member is marked as settled: that is the moment at which the set has been taken. Then
//! the others are marked. What the opening of the pools finds tells what happened:
//! - A settled member: the set was taken. The others are settled now. (Some may have been deleted since.)
//! - No settled member: it was not taken. What there is of it is forgotten, locked or not: nobody was told of it.
//!
//! As long as a pool is offline the settled member may be in it: a set without one is left alone.

use std::collections::BTreeMap;

use quarry_api_types::{CreateSnapshot, CreateSnapshotSet, Name, Snapshot, Timestamp};
use quarry_engine::NewSnapshot;
use quarry_format::record::SnapshotSet;
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{LogId, PoolId, SnapshotId, SnapshotSetId, VolumeId};

use super::DataNode;
use super::engine_error::engine_error;
use super::snapshots::{FoundSnapshot, lock_end};

/// A member of a set where it lives.
#[derive(Clone, Copy)]
struct Member {
    core: usize,
    pool: PoolId,
    log: LogId,
    id: SnapshotId,
    set: SnapshotSet,
}

impl DataNode {
    pub(super) async fn make_snapshot_set(&self, request: CreateSnapshotSet) -> Result<Vec<Snapshot>> {
        request.check()?;
        let CreateSnapshotSet { name, volumes, locked_until } = request;
        if let [volume] = &volumes[..] {
            return Ok(vec![self.make_snapshot(volume, CreateSnapshot { name, locked_until }).await?]);
        }
        self.take_set(name, &volumes, locked_until).await
    }

    /// Takes snapshots of some volumes, or of one, as a set.
    pub(super) async fn take_set(
        &self,
        name: Name,
        volumes: &[Name],
        locked_until: Option<Timestamp>,
    ) -> Result<Vec<Snapshot>> {
        let locked_until_s = lock_end(locked_until)?.unwrap_or(0);
        let mut found = Vec::with_capacity(volumes.len());
        for volume in volumes {
            let volume = self.find_volume(volume).await?;
            found.push(FoundSnapshot { volume, id: SnapshotId(uuid::Uuid::new_v4()) });
        }
        self.take_found_set(&name, &found, locked_until_s).await?;
        let mut shown = Vec::with_capacity(found.len());
        for snapshot in found {
            shown.push(self.describe_found(snapshot).await?);
        }
        Ok(shown)
    }

    /// Takes snapshots that have their ids already, as a set.
    pub(super) async fn take_found_set(
        &self,
        name: &Name,
        found: &[FoundSnapshot],
        locked_until_s: u64,
    ) -> Result<()> {
        let set = SnapshotSet {
            id: SnapshotSetId(uuid::Uuid::new_v4()),
            members: found.len() as u16,
            settled: false,
        };
        let new = |snapshot: &FoundSnapshot| NewSnapshot {
            id: snapshot.id,
            name: name.as_str().to_owned(),
            locked_until_s,
            set: Some(set),
        };
        let new: Vec<NewSnapshot> = found.iter().map(new).collect();
        self.take_together(set, found, new).await
    }

    /// Holds all volumes, takes all snapshots, lets go, and settles or forgets what was taken.
    async fn take_together(
        &self,
        set: SnapshotSet,
        found: &[FoundSnapshot],
        new: Vec<NewSnapshot>,
    ) -> Result<()> {
        let mut by_core: BTreeMap<usize, Vec<(PoolId, LogId, VolumeId)>> = BTreeMap::new();
        for FoundSnapshot { volume, .. } in found {
            by_core.entry(volume.core).or_default().push((volume.pool, volume.log, volume.status.id));
        }
        let cores: Vec<usize> = by_core.keys().copied().collect();
        let holding = by_core.into_iter().map(|(core, volumes)| {
            self.cores.call(core, move |state| async move { state.hold(set.id, &volumes) })
        });
        let held: Result<Vec<()>> =
            futures::future::join_all(holding).await.into_iter().map(Result::flatten).collect();
        let taken = match held {
            Ok(_) => {
                let taking = found.iter().zip(new).map(|(snapshot, new)| self.take_member(snapshot, new));
                futures::future::join_all(taking).await
            }
            Err(error) => vec![Err(error)],
        };
        let releasing = cores
            .into_iter()
            .map(|core| self.cores.call(core, move |state| async move { state.release(set.id) }));
        let released = futures::future::join_all(releasing).await;
        let all_held = released.into_iter().all(|held| held.unwrap_or(false));
        let made: Vec<Member> = taken.iter().filter_map(|taken| taken.as_ref().ok().copied()).collect();
        let failure = match taken.into_iter().find_map(Result::err) {
            None if all_held => match self.settle_first(&made).await {
                Ok(()) => {
                    self.settle(&made[1..]).await;
                    return Ok(());
                }
                // Whether it is settled nobody knows. Only if it can be taken back nothing of the set stays.
                Err(error) => {
                    if self.forget(&made[..1]).await {
                        self.forget(&made[1..]).await;
                    }
                    return Err(error);
                }
            },
            None => held_too_briefly(),
            Some(error) => error,
        };
        self.forget(&made).await;
        Err(failure)
    }

    async fn take_member(&self, snapshot: &FoundSnapshot, new: NewSnapshot) -> Result<Member> {
        let FoundSnapshot { volume, id } = snapshot;
        let (volume_id, set) = (volume.status.id, new.set);
        let what = format!("snapshot '{}@{}' was not taken, nor any other one", volume.status.name, new.name);
        let set = set.expect("a member is taken with its set");
        let (pool, log) = (volume.pool, volume.log);
        let taken = self.cores.call(volume.core, move |state| async move {
            if !state.holds(set.id) {
                return Err(held_too_briefly());
            }
            let taken = state.engine(pool, log)?.create_snapshot(volume_id, new).await;
            taken.map_err(|error| engine_error(what, &error))
        });
        taken.await??;
        Ok(Member { core: volume.core, pool: volume.pool, log: volume.log, id: *id, set })
    }

    /// Marks the first member of a set: with that it has been taken.
    async fn settle_first(&self, members: &[Member]) -> Result<()> {
        let member = members[0];
        let settling = self.cores.call(member.core, move |state| async move {
            let settled = state.engine(member.pool, member.log)?.settle_snapshot(member.id).await;
            settled.map_err(|error| engine_error("the set of snapshots was not settled".to_owned(), &error))
        });
        settling.await?
    }

    /// Marks members of a set that was taken. One that cannot be marked now is marked when its pool is opened again.
    async fn settle(&self, members: &[Member]) {
        let settling = members.iter().filter(|member| !member.set.settled).map(|&member| {
            self.cores.call(member.core, move |state| async move {
                let settled = state.engine(member.pool, member.log)?.settle_snapshot(member.id).await;
                settled
                    .map_err(|error| engine_error(format!("snapshot {} was not settled", member.id), &error))
            })
        });
        warn_of(futures::future::join_all(settling).await);
    }

    /// Deletes members of a set that was not taken. One that cannot be deleted now is when its pool is opened again. Whether all
    /// are gone.
    async fn forget(&self, members: &[Member]) -> bool {
        let forgetting = members.iter().map(|&member| {
            self.cores.call(member.core, move |state| async move {
                let forgotten = state.engine(member.pool, member.log)?.forget_snapshot(member.id).await;
                forgotten.map_err(|error| {
                    engine_error(format!("snapshot {} was not forgotten", member.id), &error)
                })
            })
        });
        warn_of(futures::future::join_all(forgetting).await)
    }

    /// Settles or forgets what an interrupted end of the node left of sets. For the start, before anything is served.
    pub(super) async fn finish_sets(&self) -> Result<()> {
        let listing = (0..self.cores.count()).map(|core| {
            self.cores.call(core, move |state| async move {
                let members = state.engines().into_iter().flat_map(|(pool, engine)| {
                    let log = engine.log_id();
                    engine.set_members().into_iter().map(move |(id, set)| Member { core, pool, log, id, set })
                });
                members.collect::<Vec<_>>()
            })
        });
        let mut sets: BTreeMap<SnapshotSetId, Vec<Member>> = BTreeMap::new();
        for listed in futures::future::join_all(listing).await {
            for member in listed? {
                sets.entry(member.set.id).or_default().push(member);
            }
        }
        let all_open = self.pools().values().all(|entry| entry.opened.is_ok());
        for (id, members) in sets {
            match verdict(members.iter().map(|member| member.set), all_open) {
                Verdict::Settle => self.settle(&members).await,
                Verdict::Forget => {
                    tracing::info!(set = %id, snapshots = members.len(), "forgetting a set of snapshots that was not completed");
                    self.forget(&members).await;
                }
                Verdict::Leave => {
                    tracing::warn!(set = %id, "a set of snapshots may be incomplete; it is looked at again once all pools are open");
                }
            }
        }
        Ok(())
    }
}

fn held_too_briefly() -> NodeError {
    NodeError::new(
        ErrorKind::Unavailable,
        "the volumes could not all be held until their snapshots were taken",
    )
    .with_next_step("Try again, with fewer volumes or when the node has less to do.")
}

/// What becomes of a set that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Settle,
    Forget,
    Leave,
}

fn verdict(mut members: impl Iterator<Item = SnapshotSet>, all_pools_open: bool) -> Verdict {
    match (members.any(|member| member.settled), all_pools_open) {
        (true, _) => Verdict::Settle,
        (false, true) => Verdict::Forget,
        (false, false) => Verdict::Leave,
    }
}

/// Whether all went well.
fn warn_of(results: Vec<Result<Result<()>>>) -> bool {
    let mut is_good = true;
    for error in results.into_iter().filter_map(|result| result.flatten().err()) {
        tracing::warn!(%error, "a member of a set of snapshots stays as it is until the next start");
        is_good = false;
    }
    is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_kept_if_it_was_taken_and_only_then() {
        let member =
            |members, settled| SnapshotSet { id: SnapshotSetId::from_bytes([1; 16]), members, settled };
        for (found, all_open, expected) in [
            (vec![member(2, false), member(2, false)], true, Verdict::Forget),
            (vec![member(2, false), member(2, false)], false, Verdict::Leave),
            (vec![member(3, true), member(3, false)], true, Verdict::Settle),
            (vec![member(3, true)], false, Verdict::Settle),
            (vec![member(2, false)], true, Verdict::Forget),
            (vec![member(3, false), member(3, false)], true, Verdict::Forget),
            (vec![member(2, false)], false, Verdict::Leave),
        ] {
            assert_eq!(verdict(found.iter().copied(), all_open), expected, "{found:?}, {all_open}");
        }
    }
}
