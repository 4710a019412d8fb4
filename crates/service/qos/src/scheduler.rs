//! Which request goes on next: pure code, times in, order out.
//!
//! mClock (Gulati and others, OSDI 2010) with what others have learnt from it. Each client has a queue, and its head three tags:
//!
//! - **limit**: when it may go on at the earliest: the latest of the places that it has booked in the paces of its scopes;
//! - **reservation**: when it is promised: the earliest of its places in those of its reservations. When it goes on before that,
//!   by its weight, the place is given back: what is promised comes on top of what weight gives;
//! - **share**: virtual time, by weight (start-time fair queueing). A client that was idle begins where the others are: it has saved
//!   nothing up, and owes nothing. Volumes that have a weight together share what that gives ([`Families`]).
//!
//! What is promised and due goes first, whatever is under way; then, while there is room below, the smallest share. What goes on by a
//! reservation takes no room: so promises that are more than the devices can keep leave others slow, but never without a turn. Tags are
//! made when a request becomes the head, not when it arrives: so changes of settings count at once, and requests that are given up
//! cost nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smallvec::SmallVec;

use crate::cost::Cost;
use crate::family::Families;
use crate::scope::Share;
use crate::statistics::Cause;

/// Virtual time of one unit of cost at weight 1; weights are at most 1000.
const SHARE_SCALE: u64 = 1 << 16;

/// A queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(u32);

/// A request that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// A request that goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dispatched<T> {
    /// Whose it is.
    pub client: ClientId,
    /// What it costs.
    pub cost: Cost,
    /// The room that it takes below, in units of cost; to be given to [`Scheduler::complete`] when it has ended.
    pub room_units: u64,
    /// How long it has waited, in nanoseconds; 0 when it has not.
    pub waited_ns: u64,
    /// For what.
    pub cause: Cause,
    /// What the caller knows it by.
    pub token: T,
}

/// What is to be done now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<T> {
    /// This request goes on. Ask again.
    Go(Dispatched<T>),
    /// Nothing goes on before this time, unless something arrives or ends.
    Until(u64),
    /// Nothing goes on before something arrives or ends.
    Idle,
}

struct Queued<T> {
    ticket: u64,
    cost: Cost,
    arrived_ns: u64,
    token: T,
}

/// The tags of the first request of a queue.
struct Head {
    /// When each of its limits lets it go on.
    eligible_ns: u64,
    cause: Cause,
    /// When each of its reservations is due, in the order of its scopes.
    reserved_ns: SmallVec<[u64; 2]>,
    share_tag: u64,
    /// Whether its limits let it go on, as far as has been looked.
    is_ready: bool,
}

impl Head {
    fn due_ns(&self) -> Option<u64> {
        self.reserved_ns.iter().min().copied()
    }
}

struct Client<T> {
    share: Share,
    queue: VecDeque<Queued<T>>,
    head: Option<Head>,
    /// Where its share begins next, in virtual time.
    share_next: u64,
    /// For what the head before has waited: those behind it have waited for that, too.
    cause_before: Cause,
}

/// See the module.
pub struct Scheduler<T> {
    clients: BTreeMap<ClientId, Client<T>>,
    next_client: u32,
    next_ticket: u64,
    /// Heads that their limits keep back, by the time until which they do.
    waiting: BTreeSet<(u64, ClientId)>,
    /// The others, by share.
    ready: BTreeSet<(u64, ClientId)>,
    /// Those of these that have reservations, by the time at which that is due.
    reserved: BTreeSet<(u64, ClientId)>,
    virtual_time: u64,
    in_flight_units: u64,
    window_units: u64,
    families: Families,
}

impl<T> Default for Scheduler<T> {
    fn default() -> Self {
        Self {
            clients: BTreeMap::new(),
            next_client: 0,
            next_ticket: 0,
            waiting: BTreeSet::new(),
            ready: BTreeSet::new(),
            reserved: BTreeSet::new(),
            virtual_time: 0,
            in_flight_units: 0,
            window_units: u64::MAX,
            families: Families::default(),
        }
    }
}

impl<T> Scheduler<T> {
    /// So much may be under way below, in units of cost, that no reservation lets go on; no bound at first.
    pub fn set_window(&mut self, units: u64) {
        self.window_units = units;
    }

    /// A new queue.
    pub fn add(&mut self, share: Share) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let (queue, share_next, cause_before) = (VecDeque::new(), self.virtual_time, Cause::Share);
        let client = Client { share, queue, head: None, share_next, cause_before };
        self.clients.insert(id, client);
        id
    }

    /// The client gets something else from now on; what it has booked does not count any more.
    pub fn set_share(&mut self, id: ClientId, share: Share, now_ns: u64) {
        self.drop_head(id);
        if let Some(client) = self.clients.get_mut(&id) {
            client.share = share;
        }
        self.make_head(id, now_ns);
    }

    /// What a client gets.
    pub fn share(&self, id: ClientId) -> Option<&Share> {
        self.clients.get(&id).map(|client| &client.share)
    }

    /// Ends a queue; gives back what waited in it.
    pub fn remove(&mut self, id: ClientId) -> Vec<T> {
        self.drop_head(id);
        let client = self.clients.remove(&id);
        client.into_iter().flat_map(|client| client.queue).map(|queued| queued.token).collect()
    }

    /// How many requests wait in a queue.
    pub fn waiting(&self, id: ClientId) -> usize {
        self.clients.get(&id).map_or(0, |client| client.queue.len())
    }

    /// The room that is taken below, in units of cost.
    pub fn in_flight_units(&self) -> u64 {
        self.in_flight_units
    }

    /// A request arrives.
    ///
    /// # Panics
    /// When the client was removed.
    pub fn arrive(&mut self, id: ClientId, cost: Cost, token: T, now_ns: u64) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let client = self.clients.get_mut(&id).expect("a client lives as long as requests come");
        client.queue.push_back(Queued { ticket, cost, arrived_ns: now_ns, token });
        if client.queue.len() == 1 {
            self.make_head(id, now_ns);
        }
        Ticket(ticket)
    }

    /// A request that waits is given up; says whether it waited.
    pub fn cancel(&mut self, id: ClientId, ticket: Ticket, now_ns: u64) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let Ok(index) = client.queue.binary_search_by_key(&ticket.0, |queued| queued.ticket) else {
            return false;
        };
        if index == 0 {
            self.drop_head(id);
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.queue.remove(index);
        }
        if index == 0 {
            self.make_head(id, now_ns);
        }
        true
    }

    /// A request has ended that went on and took so much room.
    pub fn complete(&mut self, room_units: u64) {
        self.in_flight_units = self.in_flight_units.saturating_sub(room_units);
    }

    /// Lets everything go on that waits in a queue, whatever its tags say.
    pub fn hurry(&mut self, id: ClientId, now_ns: u64) -> Vec<Dispatched<T>> {
        let mut all = Vec::new();
        while self.waiting(id) > 0 {
            all.extend(self.go(id, true, now_ns));
        }
        all
    }

    /// What goes on now.
    pub fn next(&mut self, now_ns: u64) -> Decision<T> {
        while let Some(&(until_ns, id)) = self.waiting.first().filter(|(until_ns, _)| *until_ns <= now_ns) {
            self.waiting.remove(&(until_ns, id));
            self.make_ready(id);
        }
        let due = self.reserved.first().copied();
        if let Some((_, id)) = due.filter(|(due_ns, _)| *due_ns <= now_ns) {
            return self.go(id, true, now_ns).map_or(Decision::Idle, Decision::Go);
        }
        // One request always goes on: a window may be smaller than it.
        let has_room = self.in_flight_units == 0 || self.in_flight_units < self.window_units;
        if let Some(&(share_tag, id)) = self.ready.first().filter(|_| has_room) {
            self.virtual_time = self.virtual_time.max(share_tag);
            return self.go(id, false, now_ns).map_or(Decision::Idle, Decision::Go);
        }
        let until_ns =
            [self.waiting.first(), self.reserved.first()].into_iter().flatten().map(|(ns, _)| *ns).min();
        until_ns.map_or(Decision::Idle, Decision::Until)
    }

    /// The head of a queue goes on: by a reservation that is due, or by its share.
    fn go(&mut self, id: ClientId, by_reservation: bool, now_ns: u64) -> Option<Dispatched<T>> {
        let client = self.clients.get(&id)?;
        let units = client.queue.front().map_or(0, |queued| queued.cost.units);
        let took = self.families.virtual_time(&client.share, units * SHARE_SCALE);
        self.take_out(id);
        let client = self.clients.get_mut(&id)?;
        let head = client.head.take()?;
        client.cause_before = head.cause;
        let queued = client.queue.pop_front()?;
        let reservations = client.share.scopes.iter().flat_map(|scope| &scope.reservations);
        for (bound, due_ns) in reservations.zip(&head.reserved_ns) {
            if !by_reservation || *due_ns > now_ns {
                bound.pace.give_back(bound.amount(queued.cost));
            }
        }
        if !by_reservation {
            client.share_next = head.share_tag + took;
        }
        let room_units = if by_reservation { 0 } else { queued.cost.units };
        self.in_flight_units += room_units;
        self.make_head(id, now_ns);
        let waited_ns = now_ns.saturating_sub(queued.arrived_ns);
        Some(Dispatched {
            client: id,
            cost: queued.cost,
            room_units,
            waited_ns,
            cause: head.cause,
            token: queued.token,
        })
    }

    /// Tags for the first request of a queue, if there is one.
    fn make_head(&mut self, id: ClientId, now_ns: u64) {
        let virtual_time = self.virtual_time;
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(first) = client.queue.front() else { return };
        let (cost, has_waited) = (first.cost, first.arrived_ns < now_ns);
        let (mut eligible_ns, mut cause) = (0, if has_waited { client.cause_before } else { Cause::Share });
        for scope in &client.share.scopes {
            for bound in &scope.limits {
                let due_ns = bound.pace.book(bound.amount(cost), now_ns);
                if due_ns > eligible_ns && due_ns > now_ns {
                    cause = scope.kind.into();
                }
                eligible_ns = eligible_ns.max(due_ns);
            }
        }
        let reservations = client.share.scopes.iter().flat_map(|scope| &scope.reservations);
        let reserved_ns = reservations.map(|bound| bound.pace.book(bound.amount(cost), now_ns)).collect();
        let share_tag = client.share_next.max(virtual_time);
        let is_ready = eligible_ns <= now_ns;
        client.head = Some(Head { eligible_ns, cause, reserved_ns, share_tag, is_ready: false });
        match is_ready {
            true => self.make_ready(id),
            false => _ = self.waiting.insert((eligible_ns, id)),
        }
    }

    /// The limits of a head let it go on.
    fn make_ready(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(head) = client.head.as_mut() else { return };
        head.is_ready = true;
        self.families.enter(&client.share);
        self.ready.insert((head.share_tag, id));
        if let Some(due_ns) = head.due_ns() {
            self.reserved.insert((due_ns, id));
        }
    }

    /// A head is in no order any more.
    fn take_out(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else { return };
        let Some(head) = client.head.as_ref() else { return };
        match head.is_ready {
            true => {
                self.families.leave(&client.share);
                self.ready.remove(&(head.share_tag, id));
                if let Some(due_ns) = head.due_ns() {
                    self.reserved.remove(&(due_ns, id));
                }
            }
            false => _ = self.waiting.remove(&(head.eligible_ns, id)),
        }
    }

    /// The head of a queue goes away without going on. Its places in limits are lost: given back, they could be taken twice.
    fn drop_head(&mut self, id: ClientId) {
        self.take_out(id);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(head) = client.head.take() else { return };
        let Some(cost) = client.queue.front().map(|queued| queued.cost) else { return };
        let reservations = client.share.scopes.iter().flat_map(|scope| &scope.reservations);
        reservations.zip(&head.reserved_ns).for_each(|(bound, _)| bound.pace.give_back(bound.amount(cost)));
    }
}

#[cfg(test)]
mod tests;
