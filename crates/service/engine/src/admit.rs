//! Leave for a host's write: the volume's quota first, then the pool's space.
//!
//! Most writes need neither a look at the map nor a wait. Near the quota, and when the pool has no space to spare, the blocks are
//! looked up: which are new, which replace what the volume holds alone and so free as much as they take, which replace what a
//! snapshot or another block holds, too, and so take more.

use std::ops::Range;

use futures::FutureExt;
use quarry_format::node::Entry;
use quarry_map::Run;
use quarry_types::ByteSize;
use quarry_types::limits::BLOCK_BYTES;
use quarry_volume::{ErrorKind, Result, VolumeError};

use crate::flush::log_error;
use crate::space::{Charge, Waiting, with_overhead};
use crate::usage::{InFlight, holes_in};
use crate::{Engine, EngineVolume};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Leave for a write of some blocks.
pub(crate) struct Admitted<'a> {
    /// To be kept until the write is in a batch.
    pub(crate) charge: Charge<'a>,
    /// To be kept until it counts.
    pub(crate) in_flight: Option<InFlight>,
}

/// What may entitle a write to go below what hosts may have.
struct Claim<'a> {
    volume: &'a EngineVolume,
    blocks: &'a Range<u64>,
    in_flight: &'a mut Option<InFlight>,
}

impl Engine {
    /// Charges something that is no write of a volume, as [`EngineVolume::admit`] does.
    pub(crate) async fn admit(&self, operation: &'static str, bytes: u64) -> Result<Charge<'_>> {
        self.log.room().await;
        match self.charge_at_once(bytes) {
            Some(charge) => Ok(charge),
            None => self.wait_for_space(operation, bytes, None).await,
        }
    }

    async fn wait_for_space(
        &self,
        operation: &'static str,
        bytes: u64,
        mut claim: Option<Claim<'_>>,
    ) -> Result<Charge<'_>> {
        let space = &self.space;
        loop {
            let (version, progress) = (space.changed.version(), self.log.progress.version());
            self.check_open(operation)?;
            if self.has_room_in_tail() {
                space.update(self);
                if let Some(charge) = space.charge(bytes, None) {
                    return Ok(charge);
                }
                let debt = match &mut claim {
                    Some(claim) => claim.volume.debt_bytes(claim.blocks, claim.in_flight).await?,
                    None => None,
                };
                if let Some(charge) = space.charge(bytes, debt) {
                    return Ok(charge);
                }
                if space.is_full(self, debt.is_some()) {
                    return Err(self.no_space(operation));
                }
            }
            self.check_progress(operation)?;
            self.wake.raise();
            // What is to gain space, or keeps a checkpoint from beginning, must not wait for its turn behind those who wait here.
            self.store.pool.hurry();
            let _waiting = Waiting::begin(space);
            futures::select_biased! {
                () = space.changed.after(version).fuse() => {}
                () = self.log.progress.after(progress).fuse() => {}
            }
        }
    }
}

impl EngineVolume {
    /// Charges a write of at most [`crate::space::Space::piece_bytes`]; waits while space or the tail is being dealt with.
    /// No space: the quota of the volume is used up, or the pool is full.
    pub(crate) async fn admit(&self, operation: &'static str, blocks: &Range<u64>) -> Result<Admitted<'_>> {
        let mut in_flight = match self.state.usage.is_tracked() {
            true => Some(Box::pin(self.keep_quota(operation, blocks)).await?),
            false => None,
        };
        let engine = &self.engine;
        let bytes = (blocks.end - blocks.start) * BLOCK;
        engine.log.room().await;
        let charge = match engine.charge_at_once(bytes) {
            Some(charge) => charge,
            None => {
                let claim = Claim { volume: self, blocks, in_flight: &mut in_flight };
                Box::pin(engine.wait_for_space(operation, bytes, Some(claim))).await?
            }
        };
        Ok(Admitted { charge, in_flight })
    }

    /// Whether the write keeps the quota; what it may add counts from now on.
    async fn keep_quota(&self, operation: &'static str, blocks: &Range<u64>) -> Result<InFlight> {
        let (usage, map) = (&self.state.usage, &self.state.map);
        let count = blocks.end - blocks.start;
        let mut is_sure = false;
        loop {
            let quota_bytes = self.state.head.borrow().settings.quota_bytes;
            let quota = if quota_bytes == 0 { u64::MAX } else { quota_bytes / BLOCK };
            if usage.expected_blocks(map) + count <= quota {
                return Ok(usage.begin(count));
            }
            let new = holes_in(&self.lookup(blocks.clone()).await?);
            if new == 0 || usage.expected_blocks(map) + new <= quota {
                return Ok(usage.begin(new));
            }
            if is_sure {
                return Err(self.over_quota(operation, quota_bytes));
            }
            // Some of what is in flight may turn out to be overwrites, and an upper bound to be too high.
            is_sure = true;
            self.engine.log.barrier().await.map_err(|error| log_error(operation, error))?;
            if !usage.is_exact()
                && let Err(error) = self.engine.checkpoint().await
            {
                tracing::warn!(volume = %self.state.id, %error, "what a volume maps cannot be counted now");
            }
        }
    }

    fn over_quota(&self, operation: &'static str, quota_bytes: u64) -> VolumeError {
        let head = self.state.head.borrow();
        self.state.quota_refusals.set(self.state.quota_refusals.get() + 1);
        let what = format!(
            "volume {} has reached its quota of {}; discard something or raise the quota",
            head.name,
            ByteSize(quota_bytes)
        );
        VolumeError::new(ErrorKind::NoSpace, operation, what)
    }

    /// How far below what hosts may have the write may go: it frees as much as it takes, or takes what is kept for the
    /// volume. `None` for a write that may not.
    async fn debt_bytes(&self, blocks: &Range<u64>, in_flight: &mut Option<InFlight>) -> Result<Option<u64>> {
        let runs = self.lookup(blocks.clone()).await?;
        let parent = self.state.parent.get();
        let references = &self.engine.volumes.references;
        let is_held = |entry: &Entry| entry.birth <= parent || references.is_shared(entry.address);
        if runs.iter().any(|run| matches!(run, Run::Data(mapped) if is_held(&mapped.entry))) {
            return Ok(None);
        }
        let (new, space) = (holes_in(&runs), &self.engine.space);
        if let Some(in_flight) = in_flight {
            in_flight.set(new);
        }
        if new == 0 {
            return Ok(Some(space.working_bytes()));
        }
        let own = in_flight.as_ref().map_or(0, |in_flight| in_flight.blocks() * BLOCK);
        let settings = self.state.head.borrow().settings;
        let used = (self.state.usage.expected_blocks(&self.state.map) * BLOCK).saturating_sub(own);
        let unused = settings.reserved_bytes.saturating_sub(used);
        Ok((new * BLOCK <= unused).then(|| space.working_bytes() + with_overhead(unused)))
    }
}
