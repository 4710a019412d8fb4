//! A connected queue: one task that receives PDUs, begins commands, and sends answers.
//!
//! Each time it is woken it sends what is done in one go, takes what has arrived, and begins what it may. A command that the
//! volume answers at once costs no further wake-up. Commands that need more memory than there is wait in order, while data
//! for those before them is still received: a host that waits for one command is never held up by another one.

mod answer;
mod arrival;
mod ending;
mod parse;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use quarry_env::{Completion, Env, Stream, View};
use quarry_nvme::Transfer;
use quarry_nvme_wire::Status;
use quarry_target::{Receiver, Session, Share, Stopped};

use crate::limits::{RECEIVE, STALL_CHECK_TIME};
use crate::outbox::Outbox;
use crate::queue::Queue;
use crate::slots::{Admitted, Arrival, Done, Slots, State};
use quarry_nvme_wire::pdu::{DataHeader, Fatal, Link};

use arrival::Incoming;

/// Rounds of receive and parse in one poll, after which other tasks have their turn.
const ROUNDS_MAX: usize = 16;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the host disconnected the queue")]
    Disconnected,
    #[error("the host closed the connection")]
    Closed,
    #[error("asked to stop")]
    Stopped,
    #[error("the controller was reset, shut down or has ended")]
    Reset,
    #[error("commands did not finish in time when asked to stop")]
    Abandoned,
    #[error("the host was silent for longer than its keep-alive time-out")]
    Silent,
    #[error("data that the host was asked for did not come")]
    Stalled,
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the host has ended the connection because of an error")]
    Terminated,
    #[error("the host sent what it must not: {0}")]
    Fatal(Fatal),
}

/// Why parsing came to a halt.
enum Halt {
    /// This many bytes in one piece are needed.
    Needs(usize),
    /// The session holds as much as it may; it goes on when something is done or sent.
    Full,
    /// The budget of the core is used up.
    NoMemory,
}

/// A batch on its way.
struct Sending {
    completion: Completion<io::Result<()>>,
    answers: usize,
    held_bytes: u64,
}

/// How a queue begins: what was agreed on, and what came behind that.
pub(crate) struct Beginning<'a> {
    pub(crate) link: Link,
    /// How many commands the host has under way at most.
    pub(crate) entries: u16,
    /// Whether completions say how far the submission queue was read.
    pub(crate) flow_control: bool,
    /// The command that opened the queue, which is answered first.
    pub(crate) connect: u16,
    pub(crate) rest: &'a [u8],
}

pub(crate) struct Transmission<'v> {
    env: Env,
    session: &'v Session,
    stream: Rc<dyn Stream>,
    link: Link,
    queue: Queue,
    entries: u16,
    submission_head: u16,
    flow_control: bool,
    receiver: Receiver,
    slots: Slots,
    /// Commands that are done, while they are answered.
    done: Vec<Done>,
    /// Slots of commands that wait for memory, in order of arrival.
    waiting: VecDeque<usize>,
    /// The H2CData whose data is received into memory of its own.
    incoming: Option<Incoming>,
    outbox: Outbox,
    sending: Option<Sending>,
    share: Share,
    stopped: Stopped,
    queue_stopped: Option<Stopped>,
    /// Runs until the host must have been heard of, as it was when the timer began.
    deadline: Option<(Completion<()>, Duration)>,
    stop_limit: Option<Completion<()>>,
    out_of_time: bool,
    stall_check: Option<Completion<()>>,
    /// Runs while data is awaited; with the count of receives when it began.
    transfer_check: Option<(Completion<()>, u64)>,
    receives: u64,
    /// Set when no further command is taken: what was begun finishes, then the session ends.
    ended: Option<Ended>,
    /// The host cannot be reached any more.
    deaf: bool,
}

impl<'v> Transmission<'v> {
    pub(crate) fn new(
        env: Env,
        session: &'v Session,
        stream: Rc<dyn Stream>,
        queue: Queue,
        share: Share,
        beginning: &Beginning<'_>,
    ) -> Self {
        let buffers = env.buffers.clone();
        let mut transmission = Self {
            session,
            link: beginning.link,
            entries: beginning.entries,
            submission_head: 0,
            flow_control: beginning.flow_control,
            receiver: Receiver::new(stream.clone(), buffers.clone(), beginning.rest, RECEIVE),
            slots: Slots::new(),
            done: Vec::new(),
            waiting: VecDeque::new(),
            incoming: None,
            outbox: Outbox::new(buffers, beginning.link),
            sending: None,
            share,
            stopped: session.stop().stopped(),
            queue_stopped: queue.stop().map(|stop| stop.stopped()),
            deadline: None,
            stop_limit: None,
            out_of_time: false,
            stall_check: None,
            transfer_check: None,
            receives: 0,
            ended: None,
            deaf: false,
            stream,
            queue,
            env,
        };
        transmission.take_entry();
        let controller = u64::from(transmission.queue.controller().id());
        let entry = transmission.entry(beginning.connect, Status::SUCCESS, controller);
        transmission.outbox.response(&entry);
        transmission
    }

    /// Serves until the host goes, the server stops or the connection breaks.
    pub(crate) async fn run(mut self) -> Ended {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_end(context) {
            return Poll::Ready(ended);
        }
        self.queue.poll_changes(context);
        self.poll_slots(context);
        for _ in 0..ROUNDS_MAX {
            self.poll_sending(context);
            self.serve_waiting();
            let halt = self.parse();
            let freed = self.send(context);
            if self.ended.is_some() {
                self.wind_down();
                let freed = self.send(context);
                if freed {
                    continue;
                }
                return self.poll_ended(context);
            }
            if freed && (!matches!(halt, Halt::Needs(_)) || !self.waiting.is_empty()) {
                continue;
            }
            match self.poll_input(halt, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(ended)) => self.ended = Some(ended),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Receives more, if that is what parsing waits for.
    fn poll_input(&mut self, halt: Halt, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        // A command may just have made it shorter.
        if self.poll_deadline(context).is_ready() {
            return Poll::Ready(Err(Ended::Silent));
        }
        if self.poll_transfers(context).is_ready() {
            return Poll::Ready(Err(Ended::Stalled));
        }
        if matches!(halt, Halt::NoMemory) || !self.waiting.is_empty() {
            let memory = self.poll_memory(context);
            if memory.is_ready() || matches!(halt, Halt::NoMemory) {
                return memory.map(Ok);
            }
        }
        match halt {
            Halt::Full | Halt::NoMemory => Poll::Pending,
            Halt::Needs(wanted) => match self.receiver.poll_more(wanted, context) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(Ended::Closed)),
                Poll::Ready(Ok(_)) => {
                    self.receives += 1;
                    if self.incoming.is_some() {
                        self.share.arrived();
                    }
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(Ended::Io(error))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Waits for memory, and looks from time to time for hosts that hold it for nothing.
    fn poll_memory(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.share.wait(context.waker());
        let clock = &self.env.clock;
        let check = self.stall_check.get_or_insert_with(|| clock.sleep(STALL_CHECK_TIME));
        if Pin::new(check).poll(context).is_pending() {
            return Poll::Pending;
        }
        self.stall_check = None;
        // A session whose own host takes nothing has no claim on the memory of others.
        if self.sending.is_none() {
            self.share.cut_off_stalled(self.env.clock.now());
        }
        Poll::Ready(())
    }

    fn poll_slots(&mut self, context: &Context<'_>) {
        let mut done = std::mem::take(&mut self.done);
        self.slots.poll(context, |command| done.push(command));
        done.drain(..).for_each(|command| self.answer(command));
        self.done = done;
    }

    /// The next place in the submission queue was read.
    fn take_entry(&mut self) {
        self.submission_head = (self.submission_head + 1) % self.entries;
    }

    /// Takes memory for a command, or lets it wait for some; then begins it or asks for its data.
    fn admit(&mut self, admitted: Admitted) {
        let slot = self.slots.reserve();
        self.slots.put(slot, State::Waits(admitted));
        self.waiting.push_back(slot);
        self.serve_waiting();
        if let Some(State::Waits(Admitted { payload: Some(payload), .. })) = self.slots.state(slot) {
            // As a view it would keep the whole receive that it came with, for which nothing is held meanwhile.
            *payload = self.env.buffers.copy_of(payload);
        }
    }

    /// Begins those that have waited for memory long enough.
    fn serve_waiting(&mut self) {
        while let Some(&slot) = self.waiting.front() {
            let Some(State::Waits(admitted)) = self.slots.state(slot) else {
                unreachable!("only commands that wait are in the list")
            };
            if self.share.try_take(admitted.held_bytes).is_err() {
                return;
            }
            self.waiting.pop_front();
            self.go_on(slot);
        }
    }

    /// A command whose memory is there is begun, or its data is asked for.
    fn go_on(&mut self, slot: usize) {
        let State::Waits(mut admitted) = self.slots.take(slot) else {
            unreachable!("the caller has put it there")
        };
        match (admitted.transfer, admitted.payload.take()) {
            (Transfer::FromHost(length), None) => {
                let command = admitted.command.id();
                self.slots.put(slot, State::Receives(admitted, Arrival::default()));
                let header = DataHeader { command, tag: slot as u16, offset: 0, length };
                self.outbox.ready_to_transfer(&header);
            }
            (_, payload) => self.begin(slot, admitted, payload),
        }
    }

    /// Begins a command whose slot was taken.
    fn begin(&mut self, slot: usize, admitted: Admitted, data: Option<View>) {
        let Admitted { command, transfer, prepared, held_bytes, .. } = admitted;
        self.queue.count(&prepared, self.session.counters());
        let done = self.slots.start(slot, (command, transfer, held_bytes), |work| {
            prepared.begin(work, command, data);
        });
        if let Some(done) = done {
            self.answer(done);
        }
    }
}
