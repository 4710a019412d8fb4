//! Chunks that are read much move to faster devices, and what is cold leaves them.
//!
//! Every few seconds the log looks at how much its chunks were read ([`quarry_pool::Heat`]), tells the other logs of the pool, plans
//! ([`crate::tier_plan`]) and has chunks moved as [`crate::rehome`] moves them: copied as they are, flushed, committed. Each decision is
//! kept with what it was based on, the last [`DECISIONS_MAX`] of them. Nothing of all that is stored: after a restart heat begins
//! anew, and until something has been read nothing moves but for room.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use quarry_device::DeviceClass;
use quarry_pool::{Chunk, Duty, Group, TierSlots, heat_level, heat_of_level};
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{ChunkId, LogId, SegmentId};

use crate::rehome::Errand;
use crate::tier_plan::{Step, Terms, TierReason, Unit, heat_map, plan, wanted_tiers};
use crate::{Engine, EngineError};

/// How often heat is looked at; more seldom where so many chunks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const CHUNKS_PER_LOOK: u32 = 4096;
/// A read counts half after so long.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// What has moved stays for so long.
const REST: Duration = Duration::from_secs(60);
/// Bytes that are moved before somebody looks again.
const BUDGET_BYTES: u64 = 256 << 20;
/// A move to a faster tier pays where each half-life brings a read for so many blocks that are copied.
const BLOCKS_PER_READ: u64 = 16;
/// Decisions that are kept for those who ask why.
pub(crate) const DECISIONS_MAX: usize = 1024;

/// A chunk or a group that was moved to another tier, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct TierDecision {
    /// Counts the decisions of the log.
    pub number: u64,
    /// When, by the clock of the engine.
    pub at: Duration,
    /// The log.
    pub log: LogId,
    /// Its chunks.
    pub chunks: Vec<ChunkId>,
    /// Where it lay: the slowest tier of it.
    pub from: DeviceClass,
    /// Where it was to go.
    pub to: DeviceClass,
    /// Why.
    pub reason: TierReason,
    /// Reads of the last minutes for each slot that it takes, the recent ones counting more.
    pub heat: f32,
    /// What that was compared with: of what waits for its place, or the least that is worth a move.
    pub other_heat: f32,
    /// Free slots of the faster tier.
    pub free_slots: u64,
    /// Slots of chunks that waited for the faster tier.
    pub waiting_slots: u64,
    /// Bytes to be copied at most.
    pub bytes: u64,
    /// Whether it went there; if not, space was short, a device had failed, or it was written to.
    pub moved: bool,
}

/// What was moved between tiers since the log was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TierMoves {
    /// Chunks that went to a faster tier.
    pub promoted_chunks: u64,
    /// Chunks that went to a slower one.
    pub demoted_chunks: u64,
    /// Bytes that were copied for that.
    pub copied_bytes: u64,
}

/// The state of it.
#[derive(Default)]
pub(crate) struct Tierer {
    looked_at: Cell<Option<Duration>>,
    next_look_at: Cell<Duration>,
    moves: Cell<TierMoves>,
    next_number: Cell<u64>,
    decisions: RefCell<VecDeque<TierDecision>>,
}

/// What is to move, by name.
struct Planned {
    step: Step,
    chunks: Vec<ChunkId>,
    /// Those of them that lie elsewhere, and where.
    leaving: Vec<(ChunkId, u8)>,
    heat: f32,
    bytes: u64,
}

/// Chunks that move together.
struct Together {
    chunks: Vec<(Rc<Chunk>, Vec<SegmentId>)>,
    heat: f32,
}

impl Engine {
    /// What was moved between tiers.
    pub fn tier_moves(&self) -> TierMoves {
        self.tierer.moves.get()
    }

    /// The last decisions for which something holds, the newest first, at most so many.
    pub fn tier_decisions(&self, max: usize, holds: impl Fn(&TierDecision) -> bool) -> Vec<TierDecision> {
        let decisions = self.tierer.decisions.borrow();
        decisions.iter().rev().filter(|decision| holds(decision)).take(max).cloned().collect()
    }

    /// The fastest and the slowest tier of each group of coded chunks.
    pub fn groups_by_tier(&self) -> Vec<(u8, u8)> {
        let shared = &self.store.pool.shared;
        let tiers = |group: Rc<Group>| {
            let members = group.members();
            let each = members.iter().map(|chunk| shared.tiers_of_slots(&chunk.slots()));
            each.fold((u8::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)))
        };
        self.store.groups().into_iter().map(tiers).collect()
    }

    /// Looks at heat if it is time, and moves some chunks. Says whether there is more to do now.
    pub(crate) async fn tier_step(&self) -> Result<bool, EngineError> {
        let now = self.env.clock.now();
        if now < self.tierer.next_look_at.get() || self.closing.get() {
            return Ok(false);
        }
        if self.store.pool.shared.tiers().len() < 2 {
            self.tierer.next_look_at.set(now + LOOK_EVERY);
            return Ok(false);
        }
        let compacted = self.compact_tiers().await?;
        let all = self.all_chunks();
        self.tierer.next_look_at.set(now + LOOK_EVERY * (1 + all.len() as u32 / CHUNKS_PER_LOOK));
        let together = self.look_at_heat(now, all);
        let units: Vec<Unit> = together.iter().map(|together| self.unit(now, together)).collect();
        let shared = &self.store.pool.shared;
        let heat = shared.share_heat(self.store.log, heat_map(&units));
        let (tiers, terms) = self.tier_terms();
        let steps = plan(&tiers, &heat, &units, terms);
        let moved = !steps.is_empty() && self.take_steps(steps, together).await?;
        // What has left has made room.
        if moved || compacted {
            self.tierer.next_look_at.set(now);
        }
        Ok(moved || compacted)
    }

    /// What the plan goes by besides heat.
    fn tier_terms(&self) -> (Vec<TierSlots>, Terms) {
        let shared = &self.store.pool.shared;
        let tiers =
            (0..shared.tiers().len()).map(|tier| shared.tier_slots_for(self.store.log, tier as u8)).collect();
        let segment_bytes = self.store.pool.geometry().segment_bytes;
        let terms = Terms {
            pinned: shared.pinned_tier(self.store.log),
            level_min: heat_level(self.heat_min()),
            budget_slots: (BUDGET_BYTES / segment_bytes).max(1),
            logs: u64::from(self.limits.get().logs),
        };
        (tiers, terms)
    }

    /// Gains the garbage of tiers in which there would be use for the room, a few chunks of each. Says whether there was any.
    async fn compact_tiers(&self) -> Result<bool, EngineError> {
        let (tiers, terms) = self.tier_terms();
        let mut compacted = false;
        for tier in wanted_tiers(&tiers, &self.store.pool.shared.heat(), terms) {
            let began = self.env.clock.now();
            let Some(copied_bytes) = self.clean_tier(tier).await? else { continue };
            compacted = true;
            self.pause(self.env.clock.now() - began, copied_bytes).await;
        }
        Ok(compacted)
    }

    /// Less heat than this is not worth a move to a faster tier.
    pub fn heat_min(&self) -> f32 {
        (self.store.pool.geometry().segment_bytes / BLOCK_BYTES as u64 / BLOCKS_PER_READ).max(1) as f32
    }

    /// All chunks that can move, those of a group together.
    fn look_at_heat(
        &self,
        now: Duration,
        all: BTreeMap<ChunkId, (Rc<Chunk>, Vec<SegmentId>)>,
    ) -> Vec<Together> {
        let since = now.saturating_sub(self.tierer.looked_at.replace(Some(now)).unwrap_or(now));
        let remains = (-(since.as_secs_f64() / HALF_LIFE.as_secs_f64())).exp2() as f32;
        // What was written is likely to be read: it is warmer than what nobody reads, and not worth a move.
        let at_birth = self.heat_min() * 0.9;
        let mut groups: BTreeMap<ChunkId, Together> = BTreeMap::new();
        let grouped_soon = self.grouped_soon();
        for (id, (chunk, segments)) in all {
            let heat = chunk.heat.look(remains, at_birth);
            // Of one that is written to the whole is not known yet; one that is to be grouped is moved once it is.
            if grouped_soon.contains(&id) || self.is_being_written(id, &segments) {
                continue;
            }
            let key = chunk.group().map_or(id, |group| group.id());
            let together = groups.entry(key).or_insert_with(|| Together { chunks: Vec::new(), heat: 0.0 });
            together.chunks.push((chunk, segments));
            together.heat += heat;
        }
        let mut found: Vec<Together> = groups.into_values().collect();
        for together in &mut found {
            let slots: usize = together.chunks.iter().map(|(chunk, _)| chunk.slots().len()).sum();
            together.heat /= slots.max(1) as f32;
        }
        found
    }

    fn unit(&self, now: Duration, together: &Together) -> Unit {
        let shared = &self.store.pool.shared;
        let level = heat_level(together.heat);
        let mut unit = Unit { fastest: u8::MAX, slowest: 0, slots: 0, level, rested: true, bound_for: None };
        for (chunk, _) in &together.chunks {
            let slots = chunk.slots();
            let (fastest, slowest) = shared.tiers_of_slots(&slots);
            (unit.fastest, unit.slowest) = (unit.fastest.min(fastest), unit.slowest.max(slowest));
            unit.slots += slots.len() as u64;
            if let Some((at, to)) = chunk.heat.moved() {
                unit.rested &= at + REST.as_secs_f64() <= now.as_secs_f64();
                unit.bound_for = Some(to);
            }
        }
        unit
    }

    /// Moves what was planned, as far as time allows. Says whether anything has moved. Who holds a chunk holds its slots, so none is held while
    /// chunks are moved, or while hosts are given time.
    async fn take_steps(&self, steps: Vec<Step>, together: Vec<Together>) -> Result<bool, EngineError> {
        let tier_of = |chunk: &Chunk| self.store.pool.shared.tiers_of_slots(&chunk.slots());
        let mut errands = Vec::new();
        let mut planned = Vec::new();
        for step in steps {
            let unit = &together[step.unit];
            let mut leaving = Vec::new();
            for (chunk, _) in &unit.chunks {
                let (fastest, slowest) = tier_of(chunk);
                if (fastest, slowest) != (step.to, step.to) {
                    leaving.push((chunk.id(), if slowest == step.to { fastest } else { slowest }));
                    errands.push(Errand { duty: Duty::Tier, id: chunk.id(), tier: Some(step.to) });
                }
            }
            let chunks = unit.chunks.iter().map(|(chunk, _)| chunk.id()).collect();
            let bytes = unit.chunks.iter().map(|(chunk, segments)| self.bytes_of(chunk, segments)).sum();
            planned.push(Planned { step, chunks, leaving, heat: unit.heat, bytes });
        }
        drop(together);
        let began = self.env.clock.now();
        let (moved, copied_bytes) = self.move_some(&errands).await?;
        let now = self.env.clock.now();
        self.note_moves(planned, copied_bytes, now);
        self.pause(now - began, copied_bytes).await;
        Ok(moved > 0)
    }

    /// Counts what has moved, and keeps why.
    fn note_moves(&self, planned: Vec<Planned>, copied_bytes: u64, now: Duration) {
        let (shared, all) = (&self.store.pool.shared, self.all_chunks());
        let is_there = |id: ChunkId, to: u8| {
            all.get(&id).is_some_and(|(chunk, _)| shared.tiers_of_slots(&chunk.slots()) == (to, to))
        };
        let mut moves = self.tierer.moves.get();
        moves.copied_bytes += copied_bytes;
        for one in planned {
            let to = one.step.to;
            let gone = one.leaving.iter().filter(|(id, _)| is_there(*id, to)).map(|(_, from)| *from);
            let gone: Vec<u8> = gone.collect();
            let Some(&from) = gone.iter().max() else { continue };
            for id in &one.chunks {
                all.get(id).inspect(|(chunk, _)| chunk.heat.note_moved(now.as_secs_f64(), to));
            }
            let to_faster = gone.iter().filter(|&&from| from > to).count() as u64;
            moves.promoted_chunks += to_faster;
            moves.demoted_chunks += gone.len() as u64 - to_faster;
            let is_whole = one.chunks.iter().all(|&id| is_there(id, to));
            self.keep_decision(one, (from, is_whole, now));
        }
        self.tierer.moves.set(moves);
    }

    /// Keeps a decision for those who ask why.
    fn keep_decision(&self, of: Planned, (from, moved, at): (u8, bool, Duration)) {
        let tiers = self.store.pool.shared.tiers();
        let class = |tier: u8| tiers.get(usize::from(tier)).map_or(DeviceClass::Unknown, |tier| tier.class);
        let number = self.tierer.next_number.get() + 1;
        self.tierer.next_number.set(number);
        let Planned { step, chunks, heat, bytes, .. } = of;
        let decision = TierDecision {
            number,
            at,
            log: self.store.log,
            chunks,
            from: class(from),
            to: class(step.to),
            reason: step.reason,
            heat,
            other_heat: heat_of_level(step.other_level),
            free_slots: step.free_slots,
            waiting_slots: step.waiting_slots,
            bytes,
            moved,
        };
        tracing::debug!(?decision, "a chunk has moved to another tier");
        let mut decisions = self.tierer.decisions.borrow_mut();
        if decisions.len() == DECISIONS_MAX {
            decisions.pop_front();
        }
        decisions.push_back(decision);
    }
}
