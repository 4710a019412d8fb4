//! Operations in flight, and the slab that owns them until the kernel has answered.

use std::io;

use io_uring::squeue::Entry;

use crate::disk::{Control, Read, Write};
use crate::listener::Accept;
use crate::network::Connect;
use crate::peer_event::{Signal, Watch};
use crate::stream::{Receive, ReceiveFiles, Send, SendFile};

/// An operation with everything that the kernel reads or writes on its behalf.
pub(crate) enum Op {
    Read(Read),
    Write(Write),
    Control(Control),
    Receive(Receive),
    Send(Send),
    Accept(Accept),
    Connect(Connect),
    ReceiveFiles(ReceiveFiles),
    SendFile(SendFile),
    Watch(Watch),
    Signal(Signal),
}

impl Op {
    /// The submission for what remains to be done. Pointers in it are to memory that moves neither with `self` nor with
    /// the slab.
    pub(crate) fn entry(&mut self) -> Entry {
        match self {
            Op::Read(op) => op.entry(),
            Op::Write(op) => op.entry(),
            Op::Control(op) => op.entry(),
            Op::Receive(op) => op.entry(),
            Op::Send(op) => op.entry(),
            Op::Accept(op) => op.entry(),
            Op::Connect(op) => op.entry(),
            Op::ReceiveFiles(op) => op.entry(),
            Op::SendFile(op) => op.entry(),
            Op::Watch(op) => op.entry(),
            Op::Signal(op) => op.entry(),
        }
    }

    /// Takes the kernel's answer: delivers the result, or returns the operation when a part remains to be done.
    pub(crate) fn complete(self, result: io::Result<u32>, flags: u32) -> Option<Op> {
        match self {
            Op::Read(op) => op.complete(result).map(Op::Read),
            Op::Write(op) => op.complete(result).map(Op::Write),
            Op::Control(op) => {
                op.complete(result);
                None
            }
            Op::Receive(op) => {
                op.complete(result, flags);
                None
            }
            Op::Send(op) => op.complete(result).map(Op::Send),
            Op::Accept(op) => {
                op.complete(result);
                None
            }
            Op::Connect(op) => {
                op.complete(result);
                None
            }
            Op::ReceiveFiles(op) => {
                op.complete(result);
                None
            }
            Op::SendFile(op) => {
                op.complete(result);
                None
            }
            Op::Watch(op) => op.complete(result).map(Op::Watch),
            Op::Signal(op) => op.complete(&result).map(Op::Signal),
        }
    }

    /// Takes an answer of the kernel that is not the last one.
    pub(crate) fn progress(&self, result: i32) {
        if let Op::Watch(op) = self {
            op.progress(result);
        }
    }

    /// Whether it ends by itself soon, and does not wait for what a peer may never do.
    pub(crate) fn is_prompt(&self) -> bool {
        matches!(self, Op::Read(_) | Op::Write(_) | Op::Control(_))
    }
}

/// Operations by slot; a slot's number is the `user_data` of its submission.
#[derive(Default)]
pub(crate) struct Slab {
    slots: Vec<Option<Op>>,
    free: Vec<u32>,
}

impl Slab {
    pub(crate) fn insert(&mut self, op: Op) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(op);
                slot
            }
            None => {
                self.slots.push(Some(op));
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Takes the operation out and keeps its slot, for [`Self::put_back`] or [`Self::release`].
    pub(crate) fn take(&mut self, slot: u32) -> Op {
        self.slots[slot as usize].take().expect("a completion names an operation in flight")
    }

    pub(crate) fn put_back(&mut self, slot: u32, op: Op) {
        self.slots[slot as usize] = Some(op);
    }

    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Op {
        self.slots[slot as usize].as_mut().expect("the slot was filled just now")
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots of the operations that may wait for ever.
    pub(crate) fn waiting(&self) -> Vec<u32> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, op)| op.as_ref().is_some_and(|op| !op.is_prompt()))
            .map(|(slot, _)| slot as u32)
            .collect()
    }
}
