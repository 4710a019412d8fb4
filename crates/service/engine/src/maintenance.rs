//! The engine's own tasks: checkpoints when the tail is long, cleaning when space is low, fresh chunks when the reserve is.

use std::rc::{Rc, Weak};
use std::time::Duration;

use futures::FutureExt;
use quarry_pool::{PoolError, PoolShared};
use quarry_types::LogId;

use crate::cleaning::Balance;
use crate::engine::Tasks;
use crate::history::keep_history;
use crate::rehome::keep_rehoming;
use crate::{Engine, EngineError};

/// Without a reason to look the tasks look this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Freed space is credited after so long, with all that is freed meanwhile.
const CREDIT_AFTER: Duration = Duration::from_millis(400);
/// After a failure they wait before they try again, longer after each up to so many.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
const FAILURES_COUNTED: u32 = 5;
/// So many rounds of cleaning in vain, one after the other, show that there is nothing to gain.
const ROUNDS_IN_VAIN_MAX: usize = 4;
/// Where other logs share the pool, they are asked to look and to clean before this one calls it full, and waited for in
/// pauses, but not for ever: one that is stuck must not keep hosts from being told.
const PAUSES_FOR_OTHERS: usize = 160;
const PAUSE_FOR_OTHERS: Duration = Duration::from_millis(50);
/// How soon a log notices that another one asks.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(200);
/// How long groups are made when space is short, before hosts that wait for it get what was gained.
const GROUPING_TIME: Duration = Duration::from_millis(200);

impl Engine {
    /// Starts the tasks; they end when the engine is closed.
    pub(crate) fn start_tasks(self: &Rc<Self>) {
        let spawner = &self.env.spawner;
        let tasks = Tasks {
            maintain: spawner.spawn(maintain(Rc::downgrade(self))),
            keep_reserve: spawner.spawn(keep_reserve(Rc::downgrade(self))),
            keep_rehoming: spawner.spawn(keep_rehoming(Rc::downgrade(self))),
        };
        *self.tasks.borrow_mut() = Some(tasks);
        spawner.spawn(keep_history(Rc::downgrade(self))).detach();
    }

    /// One look at what there is to do; for hosts of other logs, too, where `is_asked`.
    async fn maintain_once(&self, is_asked: bool) -> Result<(), EngineError> {
        self.space.update(self);
        let (shared, log) = (&self.store.pool.shared, self.store.log);
        let (mut rounds_in_vain, mut balance) = (0, Balance::default());
        let (mut errand, mut request, mut pauses) = (Errand::new(shared), None, 0);
        loop {
            if self.tail_cost_bytes() >= self.space.tail_bytes_max()
                || self.volumes.overlay_bytes() >= self.limits.get().overlay_bytes
                || self.layered.replace(false)
            {
                self.checkpoint().await?;
            }
            let is_low = self.spare_chunks() < self.space.low_chunks(self) || self.is_short_of_slots();
            if self.closing.get() || !(is_low || is_asked || self.is_waited_for()) {
                return Ok(());
            }
            let before = self.space.before_attempt(self);
            if self.clean_round(&mut balance).await? {
                (rounds_in_vain, request) = (0, None);
                self.space.update(self);
                errand.note_round(shared, log);
                continue;
            }
            rounds_in_vain += 1;
            // Others look while this one tries again.
            if request.is_none() && self.is_waited_for() {
                request = Some(shared.want_space());
            }
            if rounds_in_vain < ROUNDS_IN_VAIN_MAX && (is_asked || self.is_waited_for()) {
                continue;
            }
            shared.note_looked(log, errand.request);
            // Nobody waits for space, so nobody needs to know that there is none.
            if !self.is_waited_for() {
                return Ok(());
            }
            let request = *request.get_or_insert_with(|| shared.want_space());
            if shared.have_others_looked(log, request) || pauses == PAUSES_FOR_OTHERS {
                self.space.set_full(before);
                return Ok(());
            }
            pauses += 1;
            errand = Errand::new(shared);
            self.env.clock.sleep(PAUSE_FOR_OTHERS).await;
            self.space.update(self);
        }
    }

    /// Whether hosts wait for space.
    fn is_waited_for(&self) -> bool {
        self.space.has_waiting() && self.space.is_held()
    }

    /// Waits until another log asks for space again.
    async fn wait_until_asked(&self, before: u64) {
        if self.limits.get().logs < 2 {
            return std::future::pending().await;
        }
        while self.store.pool.shared.wanted_space() == before {
            self.env.clock.sleep(LOOK_FOR_OTHERS).await;
        }
    }

    /// Gains space once. False when there was nothing to gain.
    async fn clean_round(&self, balance: &mut Balance) -> Result<bool, EngineError> {
        let _maintaining = self.maintaining.lock().await;
        // A group takes less than the copies that its chunks give up.
        if self.group_some(GROUPING_TIME, true).await?.chunks > 0 || self.clean(balance).await? {
            return Ok(true);
        }
        // What died since the last checkpoint does not count before the next.
        if self.tail_bytes() == 0 && !self.has_uncredited() {
            return Ok(false);
        }
        let uncredited = self.uncredited();
        let forgotten = self.checkpoint_locked().await?;
        let credited = self.uncredited() != uncredited;
        let grouped = self.group_some(GROUPING_TIME, true).await?.chunks;
        Ok(forgotten > 0 || credited || grouped > 0 || self.clean(balance).await?)
    }
}

/// What a log does for another one that has asked. When it gains space round after round and its own hosts use all of it up,
/// there is nothing to be had from it.
struct Errand {
    request: u64,
    rounds: usize,
}

impl Errand {
    fn new(shared: &PoolShared) -> Self {
        Self { request: shared.wanted_space(), rounds: 0 }
    }

    /// A round has gained something.
    fn note_round(&mut self, shared: &PoolShared, log: LogId) {
        if shared.wanted_space() != self.request {
            return *self = Self::new(shared);
        }
        self.rounds = if shared.unclaimed_chunks() > 0 { 0 } else { self.rounds + 1 };
        if self.rounds == ROUNDS_IN_VAIN_MAX {
            shared.note_looked(log, self.request);
        }
    }
}

async fn maintain(engine: Weak<Engine>) {
    let mut looked = 0;
    // What an end of the process has interrupted goes on.
    if let Some(this) = engine.upgrade().filter(|this| this.has_uncredited()) {
        credit_soon(&this, this.wake.version()).await;
    }
    loop {
        let Some(this) = engine.upgrade().filter(|this| !this.closing.get()) else { return };
        let (woken, freed) = (this.wake.version(), this.volumes.freed.version());
        let (shared, log) = (&this.store.pool.shared, this.store.log);
        let asked = shared.wanted_space();
        let maintained = this.maintain_once(asked > looked).await;
        if maintained.is_ok() {
            shared.note_looked(log, asked);
            looked = asked;
        }
        this.space.note_maintenance(&maintained);
        if let Err(error) = maintained {
            report(&this, &error, "maintenance");
            this.env.clock.sleep(AFTER_FAILURE * (1 << this.space.failures().min(FAILURES_COUNTED))).await;
            continue;
        }
        futures::select_biased! {
            () = this.wake.after(woken).fuse() => {}
            () = this.volumes.freed.after(freed).fuse() => credit_soon(&this, woken).await,
            // Who asks needs what hosts of this log were granted and do not use.
            () = this.wait_until_asked(asked).fuse() => this.space.look_for_idleness(),
            () = this.env.clock.sleep(LOOK_AGAIN).fuse() => this.space.look_for_idleness(),
        }
    }
}

/// Makes a checkpoint for what hosts have freed: several discards at once, but soon enough for people who look.
async fn credit_soon(engine: &Engine, woken: u64) {
    futures::select_biased! {
        () = engine.wake.after(woken).fuse() => {}
        () = engine.env.clock.sleep(CREDIT_AFTER).fuse() => {}
    }
    if engine.closing.get() {
        return;
    }
    loop {
        let uncredited = engine.uncredited();
        if let Err(error) = engine.checkpoint().await {
            return report(engine, &error, "crediting freed space");
        }
        // A large volume or snapshot takes several. What cannot be read now is tried again another time.
        if !engine.has_uncredited() || engine.uncredited() == uncredited || engine.closing.get() {
            return;
        }
    }
}

async fn keep_reserve(engine: Weak<Engine>) {
    let mut seen = 0;
    loop {
        let Some(this) = engine.upgrade() else { return };
        this.log.reserve_low.after(seen).await;
        seen = this.log.reserve_low.version();
        if this.log.is_closed() {
            return;
        }
        if let Err(error) = this.commit().await {
            report(&this, &error, "reserving segments");
            this.env.clock.sleep(AFTER_FAILURE).await;
            this.log.reserve_low.raise();
        } else if this.log.reserve_chunks() == 0 {
            // There is nothing to be had before something is freed.
            this.env.clock.sleep(AFTER_FAILURE).await;
        }
    }
}

fn report(engine: &Engine, error: &EngineError, what: &str) {
    match error {
        EngineError::Pool(PoolError::NoSpace) => {
            tracing::warn!(pool = %engine.store.pool.shared.name, log = %engine.store.log, what, "no space");
        }
        error => {
            let error: &dyn std::error::Error = error;
            tracing::error!(pool = %engine.store.pool.shared.name, log = %engine.store.log, what, error);
        }
    }
}
