//! A connection of two ends: sending, arriving, receiving, closing and being cut.
//!
//! Invariants:
//! - Bytes arrive in the order of their sending, without gaps; an end arrives behind all bytes.
//! - A direction holds at most `limit_bytes`; a sender with more waits.
//! - Whoever is to be told is collected in [`Told`] and told when the network is no longer borrowed.

use std::io;

use quarry_env::{Buffer, Completer, View};
use smallvec::SmallVec;

use crate::agenda::Event;
use crate::shared::Shared;
use crate::slab::Key;

use super::pipe::{Pipe, Segment, Unsent};
use super::state::Accepted;

/// One of the two ends: the one that connected, or the one that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

pub(super) type ReceiveCompleter = Completer<(Buffer, io::Result<usize>)>;

struct Receive {
    buffer: Buffer,
    filled: usize,
    completer: ReceiveCompleter,
}

struct Send {
    unsent: Unsent,
    completer: Completer<io::Result<()>>,
}

/// An operation that has ended.
pub(crate) enum Notice {
    Received(ReceiveCompleter, Buffer, io::Result<usize>),
    Sent(Completer<io::Result<()>>, io::Result<()>),
    NotAccepted(Completer<Accepted>),
}

/// Operations that have ended.
#[derive(Default)]
pub(crate) struct Told(SmallVec<[Notice; 2]>);

impl Told {
    pub(super) fn add(&mut self, notice: Notice) {
        self.0.push(notice);
    }

    pub(crate) fn tell(self) {
        for notice in self.0 {
            match notice {
                Notice::Received(completer, buffer, result) => completer.complete((buffer, result)),
                Notice::Sent(completer, result) => completer.complete(result),
                Notice::NotAccepted(completer) => completer.complete(Err(io::ErrorKind::InvalidInput.into())),
            }
        }
    }
}

#[derive(Default)]
struct End {
    process: u32,
    /// Whether no stream and no place in a listener's queue stands for it any more.
    closed: bool,
    /// Whether this end has ended both directions.
    shut: bool,
    /// Whether the other end, or the network, has cut it off.
    reset: bool,
    receive: Option<Receive>,
    send: Option<Send>,
    service_due: bool,
}

/// A connection.
pub(super) struct Connection {
    key: Key,
    ends: [End; 2],
    /// By receiver.
    pipes: [Pipe; 2],
    limit_bytes: usize,
    segment_bytes_max: u64,
    /// Segments that still arrive before everything stops, for a connection that dies silently.
    segments_left: Option<u64>,
    pub(super) frozen: bool,
}

impl Connection {
    pub(super) fn new(shared: &Shared, client: u32, server: u32) -> Self {
        let config = &shared.config.network;
        let dice = &shared.dice;
        let maxima = &config.segment_bytes_max;
        let half_dead = shared.faults.borrow().enabled && dice.chance(config.half_dead);
        let end = |process| End { process, ..End::default() };
        Self {
            key: Key { index: u32::MAX, generation: 0 },
            ends: [end(client), end(server)],
            pipes: Default::default(),
            limit_bytes: dice.within(&config.socket_bytes).max(1) as usize,
            segment_bytes_max: maxima.get(dice.index(maxima.len())).copied().unwrap_or(65_536),
            segments_left: half_dead.then(|| dice.below(1_000)),
            frozen: false,
        }
    }

    pub(super) fn set_key(&mut self, key: Key) {
        self.key = key;
    }

    pub(super) fn belongs_to(&self, side: Side, process: u32) -> bool {
        let end = &self.ends[side as usize];
        end.process == process && !end.closed
    }

    /// Whether nobody holds it any more.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.closed)
    }

    /// Whether an operation of this end is under way.
    pub(super) fn is_busy(&self, side: Side) -> bool {
        let end = &self.ends[side as usize];
        end.receive.is_some() || end.send.is_some()
    }

    pub(super) fn receive(
        &mut self,
        shared: &Shared,
        side: Side,
        buffer: Buffer,
        filled: usize,
        completer: ReceiveCompleter,
    ) {
        assert!(filled < buffer.len(), "a receive needs room: {filled} of {}", buffer.len());
        let end = &mut self.ends[side as usize];
        assert!(end.receive.is_none(), "at most one receive of a stream at a time");
        end.receive = Some(Receive { buffer, filled, completer });
        let pipe = &self.pipes[side as usize];
        if pipe.arrived() > 0 || pipe.ended || end.reset || end.shut {
            self.service_soon(shared, side);
        }
    }

    pub(super) fn send(
        &mut self,
        shared: &Shared,
        side: Side,
        data: Vec<View>,
        completer: Completer<io::Result<()>>,
    ) {
        let end = &mut self.ends[side as usize];
        assert!(end.send.is_none(), "at most one send of a stream at a time");
        end.send = Some(Send { unsent: Unsent::new(data), completer });
        if end.reset || end.shut {
            self.service_soon(shared, side);
        } else {
            self.pump(shared, side);
        }
    }

    /// Looks after the waiting operations of an end a moment later, as a completion queue would.
    fn service_soon(&mut self, shared: &Shared, side: Side) {
        let due = &mut self.ends[side as usize].service_due;
        if !std::mem::replace(due, true) {
            let delay = shared.dice.within(&(200..5_000));
            shared.schedule(delay, Event::Service { connection: self.key, side });
        }
    }

    /// Takes as much of a waiting send as there is room for.
    fn pump(&mut self, shared: &Shared, side: Side) {
        let to = side.other();
        loop {
            let pipe = &mut self.pipes[to as usize];
            let Some(send) = &mut self.ends[side as usize].send else { return };
            let remaining = send.unsent.remaining();
            if remaining == 0 {
                return self.service_soon(shared, side);
            }
            let room = self.limit_bytes - pipe.len();
            if room == 0 {
                return;
            }
            let most = self.segment_bytes_max.min(remaining.min(room) as u64);
            let whole = shared.dice.below(2) == 0;
            let bytes = if whole { most } else { 1 + shared.dice.below(most) } as usize;
            send.unsent.move_to(pipe, bytes);
            self.put(shared, to, Segment::Data(bytes));
        }
    }

    /// Sends a segment on its way.
    fn put(&mut self, shared: &Shared, to: Side, segment: Segment) {
        let pipe = &mut self.pipes[to as usize];
        let at = (shared.now() + shared.dice.nanos(&shared.config.network.delay)).max(pipe.last_at);
        pipe.last_at = at;
        pipe.put(segment);
        shared.schedule_at(at, Event::Deliver { connection: self.key, to });
    }

    /// The next segment reaches an end.
    pub(super) fn deliver(&mut self, shared: &Shared, to: Side, told: &mut Told) {
        if let Some(left) = &mut self.segments_left {
            self.frozen |= *left == 0;
            *left = left.saturating_sub(1);
        }
        if self.frozen {
            return;
        }
        let Some(segment) = self.pipes[to as usize].arrive() else { return };
        let end = &self.ends[to as usize];
        match segment {
            Segment::Data(_) if end.closed || end.shut => {
                self.pipes[to as usize].discard_arrived();
                self.put(shared, to.other(), Segment::Reset);
            }
            Segment::Data(_) => self.service(shared, to, told),
            Segment::End => {
                self.pipes[to as usize].ended = true;
                self.service(shared, to, told);
            }
            Segment::Reset => self.reset(shared, to, told),
        }
    }

    /// Gives a waiting receive what has arrived, and ends a send that was taken whole.
    pub(super) fn service(&mut self, shared: &Shared, side: Side, told: &mut Told) {
        self.ends[side as usize].service_due = false;
        self.service_send(side, told);
        self.service_receive(shared, side, told);
    }

    fn service_send(&mut self, side: Side, told: &mut Told) {
        let end = &mut self.ends[side as usize];
        let result = match &end.send {
            Some(_) if end.reset => Err(io::ErrorKind::ConnectionReset.into()),
            Some(_) if end.shut => Err(io::ErrorKind::BrokenPipe.into()),
            Some(send) if send.unsent.remaining() == 0 => Ok(()),
            _ => return,
        };
        if let Some(send) = end.send.take() {
            told.0.push(Notice::Sent(send.completer, result));
        }
    }

    fn service_receive(&mut self, shared: &Shared, side: Side, told: &mut Told) {
        let end = &mut self.ends[side as usize];
        let pipe = &mut self.pipes[side as usize];
        let Some(mut receive) = end.receive.take() else { return };
        let result = match pipe.arrived() {
            _ if end.shut => Ok(0),
            0 if end.reset => Err(io::ErrorKind::ConnectionReset.into()),
            0 if pipe.ended => Ok(0),
            0 => {
                end.receive = Some(receive);
                return;
            }
            arrived => {
                let mut bytes = arrived.min(receive.buffer.len() - receive.filled);
                if shared.dice.chance(shared.config.network.short_receive) {
                    bytes = 1 + shared.dice.index(bytes);
                }
                pipe.receive(&mut receive.buffer[receive.filled..receive.filled + bytes]);
                Ok(bytes)
            }
        };
        let took = matches!(result, Ok(1..));
        told.0.push(Notice::Received(receive.completer, receive.buffer, result));
        if took && !self.ends[side.other() as usize].reset {
            self.pump(shared, side.other());
        }
    }

    /// This end sees the connection cut. What has arrived may still be received, or not.
    fn reset(&mut self, shared: &Shared, side: Side, told: &mut Told) {
        self.ends[side as usize].reset = true;
        self.pipes[side as usize].lose_transit();
        if shared.dice.below(2) == 0 {
            self.pipes[side as usize].discard_arrived();
        }
        self.service(shared, side, told);
    }

    /// The network cuts the connection: what is under way is lost, and both ends see a reset.
    pub(super) fn cut(&mut self, shared: &Shared, told: &mut Told) {
        for side in [Side::Client, Side::Server] {
            if !self.ends[side as usize].closed {
                self.reset(shared, side, told);
            }
        }
    }

    /// Ends both directions from one side. Bytes that were accepted still arrive.
    pub(super) fn shut(&mut self, shared: &Shared, side: Side, told: &mut Told) {
        let end = &mut self.ends[side as usize];
        if std::mem::replace(&mut end.shut, true) {
            return;
        }
        if !end.reset {
            self.put(shared, side.other(), Segment::End);
        }
        self.refuse_more(shared, side, told);
    }

    /// Throws away what this side will not receive; what is still to arrive is answered by a reset.
    fn refuse_more(&mut self, shared: &Shared, side: Side, told: &mut Told) {
        self.pipes[side as usize].discard_arrived();
        self.pump(shared, side.other());
        self.service(shared, side, told);
    }

    /// The last handle of a side is gone; `abrupt` makes the other side see a reset sooner than the end. Bytes that
    /// were not received cause a reset as well, as TCP does.
    pub(super) fn close(&mut self, shared: &Shared, side: Side, abrupt: bool, told: &mut Told) {
        let end = &mut self.ends[side as usize];
        if std::mem::replace(&mut end.closed, true) {
            return;
        }
        let unread = self.pipes[side as usize].arrived() > 0;
        if (abrupt || unread) && !end.reset && !end.shut {
            end.shut = true;
            self.put(shared, side.other(), Segment::Reset);
            self.refuse_more(shared, side, told);
        } else {
            self.shut(shared, side, told);
        }
    }

    /// The process of a side has died; nobody is told on this side.
    pub(super) fn abandon(&mut self, shared: &Shared, side: Side) {
        let end = &mut self.ends[side as usize];
        (end.receive, end.send) = (None, None);
        let mut told = Told::default();
        self.close(shared, side, shared.dice.below(2) == 0, &mut told);
        debug_assert!(told.0.is_empty(), "nothing was under way on this side");
    }

    /// Lets segments arrive again that were held up.
    pub(super) fn thaw(&mut self, shared: &Shared) {
        self.frozen = false;
        self.segments_left = None;
        for to in [Side::Client, Side::Server] {
            for _ in 0..self.pipes[to as usize].in_transit() {
                shared.schedule(0, Event::Deliver { connection: self.key, to });
            }
        }
    }
}
