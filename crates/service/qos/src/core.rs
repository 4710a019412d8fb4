//! A scheduler at work on one core: gates in front of volumes, the clock, the window.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use quarry_env::{Env, Signal, Work};
use quarry_types::VolumeId;

use crate::board::Board;
use crate::cost::Cost;
use crate::scheduler::{ClientId, Decision, Dispatched, Scheduler, Ticket};
use crate::scope::Share;
use crate::statistics::{Cause, Counters, GateStats};
use crate::window::Window;
use crate::work;

/// How often a core looks at what others say of latency, at most.
const BOARD_EVERY_NS: u64 = 10_000_000;

/// What the node has decided about every volume. Cores share one.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Whether somebody on the node has a weight, a reservation or a latency target: then everything takes turns.
    pub is_sharing: bool,
    /// What is known of volumes. One that is not named has the default.
    pub volumes: BTreeMap<VolumeId, Place>,
}

impl Table {
    /// Whether another one is the very same, down to the clocks of its limits.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same = |a: &Place, b: &Place| {
            let shares = match (&a.share, &b.share) {
                (Some(a), Some(b)) => a.is_same(b),
                (None, None) => true,
                _ => false,
            };
            a.core == b.core && shares
        };
        let (ours, theirs) = (&self.volumes, &other.volumes);
        self.is_sharing == other.is_sharing
            && ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|((a, ours), (b, theirs))| a == b && is_same(ours, theirs))
    }
}

/// A volume in a [`Table`].
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The core that serves it. Another one has but a way to it, and counts nothing: what goes that way is counted there.
    pub core: Option<usize>,
    /// What it gets, where that is not the default.
    pub share: Option<Share>,
}

/// The scheduler of one core. Cheap to clone.
#[derive(Clone)]
pub struct CoreQos(Rc<Inner>);

struct Inner {
    env: Env,
    core: usize,
    board: Board,
    scheduler: RefCell<Scheduler<Rc<Waiting>>>,
    window: RefCell<Window>,
    table: RefCell<Arc<Table>>,
    gates: RefCell<BTreeMap<VolumeId, Rc<Gate>>>,
    work: RefCell<BTreeMap<Work, Rc<Gate>>>,
    is_sharing: Cell<bool>,
    hurry_until_ns: Cell<u64>,
    board_looked_ns: Cell<u64>,
    /// When the timer is to look next.
    armed_ns: Cell<u64>,
    rearmed: Rc<Signal>,
}

/// In front of one volume: the requests of all who use it on this core.
pub struct Gate {
    core: Weak<Inner>,
    /// Nothing waits here.
    is_open: Cell<bool>,
    /// Once something has been scheduled.
    client: Cell<Option<ClientId>>,
    latency_target: Cell<Option<Duration>>,
    counters: Counters,
}

/// A request that waits, as the scheduler knows it.
struct Waiting {
    gate: Rc<Gate>,
    /// Once its turn has come: the room that it takes.
    granted: Cell<Option<u64>>,
    waker: RefCell<Option<Waker>>,
}

/// A request that goes on, until it has ended.
#[must_use = "its turn is over when it is dropped"]
pub struct Turn {
    gate: Rc<Gate>,
    cost: Cost,
    room_units: u64,
    begun_ns: u64,
}

impl CoreQos {
    /// For the core of this number; nothing is scheduled yet.
    pub fn new(env: Env, core: usize, board: Board) -> Self {
        let inner = Rc::new(Inner {
            env: env.clone(),
            core,
            board,
            scheduler: RefCell::default(),
            window: RefCell::default(),
            table: RefCell::default(),
            gates: RefCell::default(),
            work: RefCell::default(),
            is_sharing: Cell::new(false),
            hurry_until_ns: Cell::new(0),
            board_looked_ns: Cell::new(0),
            armed_ns: Cell::new(u64::MAX),
            rearmed: Rc::default(),
        });
        env.spawner.spawn(keep_time(Rc::downgrade(&inner), inner.rearmed.clone(), env.clone())).detach();
        Self(inner)
    }

    /// The gate of a volume, or of whatever is served under its id.
    pub fn gate(&self, id: VolumeId) -> Rc<Gate> {
        let inner = &self.0;
        if let Some(gate) = inner.gates.borrow().get(&id) {
            return gate.clone();
        }
        let gate = inner.new_gate();
        inner.configure(&gate, inner.table.borrow().volumes.get(&id));
        let mut gates = inner.gates.borrow_mut();
        // Those that nobody holds and that count nothing.
        gates.retain(|_, gate| Rc::strong_count(gate) > 1 || !gate.is_open.get());
        gates.insert(id, gate.clone());
        gate
    }

    /// From now on this counts; what waits goes on as it says.
    pub fn apply(&self, table: Arc<Table>) {
        let inner = &self.0;
        *inner.table.borrow_mut() = table.clone();
        inner.is_sharing.set(table.is_sharing);
        let here = table.volumes.values().filter(|place| place.core.is_none_or(|core| core == inner.core));
        let has_target =
            here.filter_map(|place| place.share.as_ref()).any(|share| share.latency_target.is_some());
        inner.window.borrow_mut().set_target(has_target);
        for (id, gate) in &*inner.gates.borrow() {
            inner.configure(gate, table.volumes.get(id));
        }
        inner.gates.borrow_mut().retain(|id, gate| {
            Rc::strong_count(gate) > 1 || table.volumes.get(id).is_some_and(|place| place.share.is_some())
        });
        let now_ns = inner.now_ns();
        inner.set_window(now_ns);
        inner.pump(now_ns);
    }

    /// Figures of every volume here whose requests are scheduled.
    pub fn stats(&self) -> Vec<(VolumeId, GateStats)> {
        let (gates, now_ns) = (self.0.gates.borrow(), self.0.now_ns());
        let closed = gates.iter().filter(|(_, gate)| !gate.is_open.get());
        closed.map(|(id, gate)| (*id, gate.counters.show(now_ns))).collect()
    }

    /// How much may be under way below, in units of cost, that no reservation lets go on; `None` when nothing is scheduled.
    pub fn window_units(&self) -> Option<u64> {
        self.is_sharing().then(|| self.0.window.borrow().units())
    }

    pub(crate) fn is_sharing(&self) -> bool {
        self.0.is_sharing.get()
    }

    pub(crate) fn is_hurrying(&self) -> bool {
        self.0.now_ns() < self.0.hurry_until_ns.get()
    }

    pub(crate) fn gate_of_work(&self, work: Work) -> Rc<Gate> {
        let inner = &self.0;
        let new = || {
            let gate = inner.new_gate();
            inner.configure(&gate, Some(&work::share(work, inner.now_ns())));
            gate
        };
        inner.work.borrow_mut().entry(work).or_insert_with(new).clone()
    }

    /// For so long these pass at once, beginning with what waits.
    pub(crate) fn hurry_for(&self, time: Duration, works: impl Iterator<Item = Work>) {
        let inner = &self.0;
        let now_ns = inner.now_ns();
        inner.hurry_until_ns.set(now_ns + time.as_nanos() as u64);
        for work in works {
            let client = inner.work.borrow().get(&work).and_then(|gate| gate.client.get());
            let Some(client) = client else { continue };
            let all = inner.scheduler.borrow_mut().hurry(client, now_ns);
            all.into_iter().for_each(grant);
        }
    }
}

impl Inner {
    fn now_ns(&self) -> u64 {
        self.env.clock.now().as_nanos() as u64
    }

    fn new_gate(self: &Rc<Self>) -> Rc<Gate> {
        Rc::new(Gate {
            core: Rc::downgrade(self),
            is_open: Cell::new(true),
            client: Cell::new(None),
            latency_target: Cell::new(None),
            counters: Counters::new(self.now_ns()),
        })
    }

    fn configure(&self, gate: &Gate, place: Option<&Place>) {
        let is_here = place.is_none_or(|place| place.core.is_none_or(|core| core == self.core));
        let share = place.and_then(|place| place.share.clone()).filter(|_| is_here).unwrap_or_default();
        let mut scheduler = self.scheduler.borrow_mut();
        gate.is_open.set(!is_here || !self.is_sharing.get() && !share.is_limited());
        gate.latency_target.set(share.latency_target);
        match gate.client.get() {
            None if gate.is_open.get() => {}
            None => gate.client.set(Some(scheduler.add(share))),
            Some(client) if scheduler.share(client).is_some_and(|known| known.is_same(&share)) => {}
            Some(client) => scheduler.set_share(client, share, self.now_ns()),
        }
    }

    /// What this core and others want to be under way at most.
    fn set_window(&self, now_ns: u64) {
        self.board_looked_ns.set(now_ns);
        let units = match self.is_sharing.get() {
            false => u64::MAX,
            true => {
                let mut window = self.window.borrow_mut();
                window.pass(now_ns);
                let own = window.units();
                self.board.least_of_others(self.core, now_ns).map_or(own, |least| least.min(own))
            }
        };
        self.scheduler.borrow_mut().set_window(units);
    }

    /// Lets everything go on that may.
    fn pump(&self, now_ns: u64) {
        if self.is_sharing.get() && now_ns.saturating_sub(self.board_looked_ns.get()) > BOARD_EVERY_NS {
            self.set_window(now_ns);
        }
        loop {
            let decision = self.scheduler.borrow_mut().next(now_ns);
            match decision {
                Decision::Go(dispatched) => grant(dispatched),
                Decision::Until(until_ns) if until_ns < self.armed_ns.get() => {
                    self.armed_ns.set(until_ns);
                    return self.rearmed.raise();
                }
                Decision::Until(_) | Decision::Idle => return,
            }
        }
    }

    fn complete(&self, gate: &Gate, (cost, room_units): (Cost, u64), begun_ns: u64) {
        let now_ns = self.now_ns();
        self.scheduler.borrow_mut().complete(room_units);
        gate.counters.end(cost.ios, cost.bytes, now_ns);
        if let Some(target) = gate.latency_target.get() {
            let took = Duration::from_nanos(now_ns.saturating_sub(begun_ns));
            let judged = self.window.borrow_mut().note(took, target, now_ns);
            if let Some(units) = judged {
                self.board.write(self.core, units, now_ns);
                self.set_window(now_ns);
            }
        }
        self.pump(now_ns);
    }
}

fn grant(dispatched: Dispatched<Rc<Waiting>>) {
    let Dispatched { room_units, waited_ns, cause, token, .. } = dispatched;
    token.gate.counters.begin(cause, waited_ns);
    token.granted.set(Some(room_units));
    if let Some(waker) = token.waker.take() {
        waker.wake();
    }
}

/// Looks when something is due, and at no other time.
async fn keep_time(core: Weak<Inner>, rearmed: Rc<Signal>, env: Env) {
    loop {
        let version = rearmed.version();
        let Some(inner) = core.upgrade() else { return };
        let (armed_ns, now_ns) = (inner.armed_ns.get(), inner.now_ns());
        if armed_ns <= now_ns {
            inner.armed_ns.set(u64::MAX);
            inner.pump(now_ns);
            continue;
        }
        drop(inner);
        if armed_ns == u64::MAX {
            rearmed.after(version).await;
            continue;
        }
        futures::select_biased! {
            () = rearmed.after(version).fuse() => {}
            () = env.clock.sleep(Duration::from_nanos(armed_ns - now_ns)).fuse() => {}
        }
    }
}

impl Gate {
    /// Whether nothing waits here, so that nobody needs to ask for a turn.
    pub fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Waits for a turn. A future that is dropped gives its place up, or its turn.
    pub async fn turn(self: &Rc<Self>, cost: Cost) -> Turn {
        let mut asking = Asking::begin(self, cost);
        poll_fn(|context| {
            let Some(waiting) = &asking.waiting else { return Poll::Ready(()) };
            if waiting.granted.get().is_some() {
                return Poll::Ready(());
            }
            let mut waker = waiting.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        asking.is_over = true;
        // What it has waited for its turn is not the devices' fault, what it has waited for the core may be that of others.
        let begun_ns = asking.now_ns().saturating_sub(asking.late_ns);
        Turn { gate: self.clone(), cost, room_units: asking.room_units(), begun_ns }
    }

    /// Requests that wait here now.
    pub fn waiting(&self) -> u64 {
        self.counters.show(0).waiting
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let (Some(core), Some(client)) = (self.core.upgrade(), self.client.get())
            && let Ok(mut scheduler) = core.scheduler.try_borrow_mut()
        {
            // What waits holds the gate, so nothing does.
            drop(scheduler.remove(client));
        }
    }
}

/// A request between its arrival and its turn.
struct Asking<'a> {
    gate: &'a Rc<Gate>,
    cost: Cost,
    ticket: Option<(ClientId, Ticket)>,
    waiting: Option<Rc<Waiting>>,
    /// For how long it had been there already when the core came to it: since the core's loop turned last.
    late_ns: u64,
    /// Its turn has been taken.
    is_over: bool,
}

impl<'a> Asking<'a> {
    fn begin(gate: &'a Rc<Gate>, cost: Cost) -> Self {
        let (Some(core), Some(client)) = (gate.core.upgrade(), gate.client.get()) else {
            // It was opened meanwhile, or the core ends: nothing is scheduled, but it is counted as if it were.
            gate.counters.begin_waiting(0);
            gate.counters.begin(Cause::Share, 0);
            return Self { gate, cost, ticket: None, waiting: None, late_ns: 0, is_over: false };
        };
        let now_ns = core.now_ns();
        let late_ns = now_ns.saturating_sub(core.env.clock.turn().as_nanos() as u64);
        gate.counters.begin_waiting(now_ns);
        let waiting =
            Rc::new(Waiting { gate: gate.clone(), granted: Cell::new(None), waker: RefCell::default() });
        let ticket = core.scheduler.borrow_mut().arrive(client, cost, waiting.clone(), now_ns);
        core.pump(now_ns);
        Self { gate, cost, ticket: Some((client, ticket)), waiting: Some(waiting), late_ns, is_over: false }
    }

    fn room_units(&self) -> u64 {
        self.waiting.as_ref().and_then(|waiting| waiting.granted.get()).unwrap_or(0)
    }

    fn now_ns(&self) -> u64 {
        self.gate.core.upgrade().map_or(0, |core| core.now_ns())
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let Some(core) = self.gate.core.upgrade() else { return };
        let now_ns = core.now_ns();
        match (&self.waiting, self.ticket) {
            (Some(waiting), Some((client, ticket))) if waiting.granted.get().is_none() => {
                core.scheduler.borrow_mut().cancel(client, ticket, now_ns);
                self.gate.counters.give_up(now_ns);
                core.pump(now_ns);
            }
            // Its turn came and nobody took it.
            _ => core.complete(self.gate, (self.cost, self.room_units()), now_ns),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(core) = self.gate.core.upgrade() {
            core.complete(&self.gate, (self.cost, self.room_units), self.begun_ns);
        }
    }
}

#[cfg(test)]
mod tests;
