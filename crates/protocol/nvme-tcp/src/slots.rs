//! The commands of a queue, in slots that one task polls. The number of a slot is the tag of its transfer.

use std::task::{Context, Poll, Waker};

use quarry_env::{Buffer, View};
use quarry_nvme::{Outcome, Transfer, Work};
use quarry_nvme_wire::Command;
use quarry_target::Woken;

use crate::limits::COMMANDS_MAX;
use crate::queue::Prepared;

/// A command that was admitted, until it is answered.
pub(crate) struct Admitted {
    pub(crate) command: Command,
    pub(crate) transfer: Transfer,
    pub(crate) prepared: Prepared,
    /// The data that came with the command, if it did.
    pub(crate) payload: Option<View>,
    /// Bytes of the budget that it holds, or waits for.
    pub(crate) held_bytes: u64,
}

/// What has come of the data that the host was asked for.
#[derive(Default)]
pub(crate) struct Arrival {
    pub(crate) received: u32,
    /// Memory of its own, from the first PDU that does not bring everything on.
    pub(crate) buffer: Option<Buffer>,
    /// A digest was wrong: all of it is thrown away.
    pub(crate) damaged: bool,
}

/// How far a command is.
pub(crate) enum State {
    Free,
    /// For memory.
    Waits(Admitted),
    /// For its data.
    Receives(Admitted, Arrival),
    /// The namespace works on it.
    Works {
        command: Command,
        transfer: Transfer,
        held_bytes: u64,
    },
}

struct Slot {
    waker: Waker,
    work: Work,
    state: State,
}

/// At most [`COMMANDS_MAX`] commands.
pub(crate) struct Slots {
    woken: Woken,
    table: Table,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// How many are in [`State::Receives`].
    receiving: usize,
    /// How many are in [`State::Works`].
    working: usize,
}

/// A command that is done.
pub(crate) struct Done {
    pub(crate) command: Command,
    pub(crate) transfer: Transfer,
    pub(crate) held_bytes: u64,
    pub(crate) outcome: Outcome,
}

impl Table {
    fn take(&mut self, index: usize) -> State {
        let state = std::mem::replace(&mut self.slots[index].state, State::Free);
        match state {
            State::Receives(..) => self.receiving -= 1,
            State::Works { .. } => self.working -= 1,
            State::Free | State::Waits(_) => {}
        }
        state
    }

    fn put(&mut self, index: usize, state: State) {
        match state {
            State::Receives(..) => self.receiving += 1,
            State::Works { .. } => self.working += 1,
            State::Free => self.free.push(index),
            State::Waits(_) => {}
        }
        self.slots[index].state = state;
    }

    fn poll(&mut self, index: usize) -> Option<Done> {
        let slot = &mut self.slots[index];
        // A waker may outlive the command that it was for.
        if !matches!(slot.state, State::Works { .. }) {
            return None;
        }
        let Poll::Ready(outcome) = slot.work.poll(&mut Context::from_waker(&slot.waker)) else { return None };
        let State::Works { command, transfer, held_bytes } = self.take(index) else {
            unreachable!("it was just looked at")
        };
        self.put(index, State::Free);
        Some(Done { command, transfer, held_bytes, outcome })
    }
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self { woken: Woken::new(COMMANDS_MAX), table: Table::default() }
    }

    /// How many commands there are.
    pub(crate) fn used(&self) -> usize {
        self.table.slots.len() - self.table.free.len()
    }

    /// How many of them wait for data of the host.
    pub(crate) fn receiving(&self) -> usize {
        self.table.receiving
    }

    /// How many of them are worked on.
    pub(crate) fn working(&self) -> usize {
        self.table.working
    }

    /// A slot that is not free any more, as if its state had been taken.
    pub(crate) fn reserve(&mut self) -> usize {
        let table = &mut self.table;
        table.free.pop().unwrap_or_else(|| {
            let index = table.slots.len();
            assert!(index < COMMANDS_MAX, "a queue takes no more commands than it has slots");
            let (waker, work) = (self.woken.waker(index), Work::default());
            table.slots.push(Slot { waker, work, state: State::Free });
            index
        })
    }

    /// The state of a slot.
    pub(crate) fn state(&mut self, index: usize) -> Option<&mut State> {
        self.table.slots.get_mut(index).map(|slot| &mut slot.state)
    }

    /// Takes the state out of a slot, which goes on with [`Self::put`] or [`Self::start`].
    pub(crate) fn take(&mut self, index: usize) -> State {
        self.table.take(index)
    }

    /// Puts a state into a slot that was taken.
    pub(crate) fn put(&mut self, index: usize, state: State) {
        self.table.put(index, state);
    }

    /// Begins the work of a slot that was taken, which `begin` puts into its place; the command, if it is done at once.
    pub(crate) fn start(
        &mut self,
        index: usize,
        (command, transfer, held_bytes): (Command, Transfer, u64),
        begin: impl FnOnce(&mut Work),
    ) -> Option<Done> {
        begin(&mut self.table.slots[index].work);
        self.table.put(index, State::Works { command, transfer, held_bytes });
        self.table.poll(index)
    }

    /// Goes on with every command that was woken, and passes on what is done. `context` is woken for the others.
    pub(crate) fn poll(&mut self, context: &Context<'_>, mut done: impl FnMut(Done)) {
        let table = &mut self.table;
        self.woken.take(context, |index| {
            if let Some(command) = table.poll(index) {
                done(command);
            }
        });
    }

    /// Drops what was not begun: nothing of it has had an effect. Returns what it holds; what waits for memory has none.
    pub(crate) fn drop_unbegun(&mut self) -> u64 {
        let mut held = 0;
        for index in 0..self.table.slots.len() {
            match &self.table.slots[index].state {
                State::Receives(admitted, _) => held += admitted.held_bytes,
                State::Waits(_) => {}
                State::Free | State::Works { .. } => continue,
            }
            self.table.take(index);
            self.table.put(index, State::Free);
        }
        held
    }
}
