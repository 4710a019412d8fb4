//! One direction of a connection: bytes that were accepted from the sender, of which a first part has arrived.

use std::collections::VecDeque;

use quarry_env::View;

/// What is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    /// This many of the bytes in the pipe.
    Data(usize),
    /// The sender sends no more (FIN).
    End,
    /// The sender has given the connection up (RST).
    Reset,
}

/// One direction. The bytes are those that arrived and were not received yet, then those in transit.
#[derive(Default)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    arrived: usize,
    transit: VecDeque<Segment>,
    /// When the last segment in transit arrives; nothing overtakes it.
    pub(super) last_at: u64,
    /// Whether the end has arrived.
    pub(super) ended: bool,
}

impl Pipe {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    pub(super) fn in_transit(&self) -> usize {
        self.transit.len()
    }

    pub(super) fn put(&mut self, segment: Segment) {
        self.transit.push_back(segment);
    }

    /// Appends bytes of the sender.
    pub(super) fn accept(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next segment arrives.
    pub(super) fn arrive(&mut self) -> Option<Segment> {
        let segment = self.transit.pop_front()?;
        if let Segment::Data(bytes) = segment {
            self.arrived += bytes;
        }
        Some(segment)
    }

    /// Moves bytes that have arrived to the receiver.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) {
        let (front, back) = self.bytes.as_slices();
        let split = buffer.len().min(front.len());
        let (first, second) = buffer.split_at_mut(split);
        first.copy_from_slice(&front[..split]);
        second.copy_from_slice(&back[..second.len()]);
        self.bytes.drain(..buffer.len());
        self.arrived -= buffer.len();
    }

    /// Throws away what has arrived.
    pub(super) fn discard_arrived(&mut self) {
        self.bytes.drain(..self.arrived);
        self.arrived = 0;
    }

    /// Throws away what has not arrived.
    pub(super) fn lose_transit(&mut self) {
        self.bytes.truncate(self.arrived);
        self.transit.clear();
    }
}

/// The rest of a send.
pub(super) struct Unsent {
    data: Vec<View>,
    view: usize,
    within: usize,
    remaining: usize,
}

impl Unsent {
    pub(super) fn new(data: Vec<View>) -> Self {
        let remaining = data.iter().map(|view| view.len()).sum();
        Self { data, view: 0, within: 0, remaining }
    }

    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    /// Moves the next `bytes` (at most what remains) into the pipe.
    pub(super) fn move_to(&mut self, pipe: &mut Pipe, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let here = &self.data[self.view][self.within..];
            let part = here.len().min(left);
            pipe.accept(&here[..part]);
            left -= part;
            self.within += part;
            if self.within == self.data[self.view].len() {
                self.view += 1;
                self.within = 0;
            }
        }
        self.remaining -= bytes;
    }
}
