//! The full feature phase of one session (RFC 7143 section 4.2): one task that receives, starts commands, and sends.
//!
//! Each time it is woken it sends what is done in one go, takes what has arrived, and starts what it may. A command that is
//! answered at once costs no further wake-up. Nothing is received while the session has as much in flight as it may, so a slow
//! initiator only holds up itself. What units arrive as is in `commands`, what becomes of their data in `collect`.

mod commands;
mod data;
mod management;
mod parse;
mod text;
mod timers;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use quarry_env::{Completion, Env, Stream};
use quarry_scsi::{Nexus, Status};
use quarry_target::{Access, InFlight, Receiver, Session, Share, Stopped};

use crate::collect::{Collecting, Segment};
use crate::limits::{ANSWER_BYTES_MAX, MANAGEMENT_MAX, REQUESTS_MAX};
use crate::login::Agreed;
use crate::numbers::Numbers;
use crate::outbox::{Batch, Outbox};
use crate::parameters::Parameters;
use crate::request::{Done, Request, Work};
use crate::sessions::{Place, Successor};

use timers::Timers;

/// Rounds of receive and parse in one poll, after which other tasks have their turn.
const ROUNDS_MAX: usize = 16;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The initiator has logged out.
    #[error("the initiator logged out")]
    LoggedOut,
    /// The initiator closed without a logout.
    #[error("the initiator closed the connection")]
    Closed,
    /// The server stopped, or another session took the place of this one.
    #[error("asked to stop")]
    Stopped,
    /// The target was reset.
    #[error("the target was reset")]
    Reset,
    /// It sees nothing any more.
    #[error("no volume is left for the initiator")]
    Barred,
    /// Requests were still in flight when the time to stop had run out.
    #[error("requests did not finish in time when asked to stop")]
    Abandoned,
    /// The initiator does not answer.
    #[error("the initiator has been silent for too long")]
    Silent,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The two sides do not understand each other any more.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
}

/// Why parsing came to a halt.
pub(crate) enum Halt {
    /// This many bytes in one piece are needed.
    Needs(usize),
    /// The session holds as much as it may; it goes on when something is done.
    Full,
    /// The budget of the core is used up.
    NoMemory,
}

/// What is left of a session that has ended: requests which did not finish in the time that it had, and the memory that they hold.
pub(crate) struct Remains {
    in_flight: InFlight<Request, Work>,
    share: Share,
}

impl Remains {
    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Waits for the end of the requests, which comes before their next step; `place` is given up then.
    pub(crate) async fn end(mut self, place: Option<Place>) {
        self.in_flight
            .requests_mut()
            .filter_map(|request| request.course.as_ref())
            .for_each(|one| one.stop());
        poll_fn(|context| {
            self.in_flight.poll(context, |_, _| ());
            if self.in_flight.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop((self.share, place));
    }
}

/// A batch on its way.
struct Sending {
    completion: Completion<io::Result<()>>,
    held_bytes: u64,
}

/// What follows a data segment that was received to where it stays.
struct Trailer {
    padding: usize,
    segment: Segment,
}

/// What a session needs of its server.
pub(crate) struct Surroundings {
    pub(crate) env: Env,
    pub(crate) access: Access,
    pub(crate) target: Rc<str>,
    pub(crate) portals: Vec<SocketAddr>,
    /// Whether the initiator sees any unit of the target.
    pub(crate) sees_target: bool,
    /// Whether it only asks for targets.
    pub(crate) discovery: bool,
    /// The number that the initiator has given to its connection.
    pub(crate) connection: u16,
    /// Whether the initiator has logged in again.
    pub(crate) successor: Option<Successor>,
}

pub(crate) struct FullFeature<'s> {
    env: Env,
    surroundings: Surroundings,
    nexus: Rc<Nexus>,
    session: &'s Session,
    stream: Rc<dyn Stream>,
    parameters: Parameters,
    numbers: Numbers,
    receiver: Receiver,
    /// The segment that is received into the memory of its command.
    awaited: Option<Segment>,
    trailer: Option<Trailer>,
    /// Bytes of data that nobody wants and that are still to come, padding and digest among them.
    skip: usize,
    collecting: Vec<Collecting>,
    next_serial: u64,
    next_transfer_tag: u32,
    in_flight: InFlight<Request, Work>,
    outbox: Outbox,
    sending: Option<Sending>,
    share: Share,
    timers: Timers,
    stopped: Stopped,
    changed: Stopped,
    /// A command that was accepted and waits.
    held: Option<commands::Held>,
    /// A text request that goes on, or the rest of the answer to one.
    exchange: Option<text::Exchange>,
    /// The target was reset: the session ends when that is answered.
    cold_reset: bool,
    /// The task tag of a logout that waits for the end of what is in flight.
    logout: Option<u32>,
    /// Set when no further unit is taken: what is in flight finishes, then the session ends.
    ended: Option<Ended>,
    /// The initiator cannot be reached any more.
    deaf: bool,
}

impl<'s> FullFeature<'s> {
    pub(crate) fn new(
        surroundings: Surroundings,
        nexus: Rc<Nexus>,
        session: &'s Session,
        stream: Rc<dyn Stream>,
        agreed: &Agreed,
        rest: &[u8],
        share: Share,
    ) -> Self {
        let env = surroundings.env.clone();
        let changed = surroundings.access.changed_since(nexus.generation());
        Self {
            receiver: Receiver::new(
                stream.clone(),
                env.buffers.clone(),
                rest,
                quarry_target::limits::RECEIVE,
            ),
            awaited: None,
            outbox: Outbox::new(env.buffers.clone(), &agreed.parameters),
            timers: Timers::new(&env, agreed.discovery),
            nexus,
            stopped: session.stop().stopped(),
            changed,
            session,
            stream,
            parameters: agreed.parameters,
            numbers: Numbers::new(agreed.command_number, agreed.status_number),
            trailer: None,
            skip: 0,
            collecting: Vec::new(),
            next_serial: 0,
            next_transfer_tag: 0,
            in_flight: InFlight::new(REQUESTS_MAX + MANAGEMENT_MAX),
            sending: None,
            share,
            held: None,
            exchange: None,
            cold_reset: false,
            logout: None,
            ended: None,
            deaf: false,
            surroundings,
            env,
        }
    }

    /// Serves until the initiator goes, the server stops or the connection breaks.
    pub(crate) async fn run(mut self) -> (Ended, Remains) {
        let ended = poll_fn(|context| self.poll(context)).await;
        (ended, Remains { in_flight: self.in_flight, share: self.share })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_stop(context) {
            return Poll::Ready(ended);
        }
        self.poll_changes(context);
        self.poll_timers(context);
        if self.nexus.signal().take(context.waker()) {
            self.heed_others();
        }
        self.poll_in_flight(context);
        for _ in 0..ROUNDS_MAX {
            self.poll_sending(context);
            let halt = self.parse();
            self.finish_logout();
            let freed = self.send(context);
            if self.ended.is_some() {
                return self.poll_ended();
            }
            if freed && !matches!(halt, Halt::Needs(_)) {
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

    fn poll_in_flight(&mut self, context: &mut Context<'_>) {
        let (outbox, numbers, share, session) =
            (&mut self.outbox, &mut self.numbers, &self.share, self.session);
        self.in_flight.poll(context, |request, done| {
            answer(outbox, numbers, share, session, request, done);
        });
    }

    /// What goes on without the session is not waited for any more.
    fn leave_courses(&mut self) {
        self.in_flight
            .requests_mut()
            .filter_map(|request| request.course.as_ref())
            .for_each(|one| one.leave());
    }

    fn poll_ended(&mut self) -> Poll<Ended> {
        self.leave_courses();
        let quiet = self.in_flight.is_empty() && self.outbox.is_empty() && self.sending.is_none();
        if !quiet {
            return Poll::Pending;
        }
        Poll::Ready(self.ended.take().expect("it is set when no further unit is taken"))
    }

    /// Receives more, if that is what parsing waits for.
    fn poll_input(&mut self, halt: Halt, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let receives = matches!(halt, Halt::Needs(_));
        self.timers.set_receives(receives);
        // What it was asked for cannot come while nothing is received.
        self.share.set_awaits(receives && !self.collecting.is_empty());
        match halt {
            Halt::Full => Poll::Pending,
            Halt::NoMemory => self.poll_memory(context).map(Ok),
            Halt::Needs(wanted) => match self.receiver.poll_more(wanted, context) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(Ended::Closed)),
                Poll::Ready(Ok(_)) => {
                    self.timers.heard();
                    if self.receiver.awaits_payload() {
                        self.share.arrived();
                    }
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(Ended::Io(error))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Begins work; its answer is put out at once if it has one.
    fn start(&mut self, request: Request, work: Work) {
        if let Some((request, done)) = self.in_flight.start(request, work) {
            answer(&mut self.outbox, &mut self.numbers, &self.share, self.session, request, done);
        }
    }

    /// Whether the initiator has to take its answers first.
    fn owes_answers(&self) -> bool {
        self.outbox.waiting_bytes() > ANSWER_BYTES_MAX && self.sending.is_some()
    }

    /// Whether as many requests are under way as may be, beside those that end others.
    fn is_crowded(&self) -> bool {
        self.in_flight.len() + self.collecting.len() >= REQUESTS_MAX
    }

    fn has_no_place_for_management(&self) -> bool {
        self.in_flight.len() + self.collecting.len() >= REQUESTS_MAX + MANAGEMENT_MAX
    }

    /// Ends the send under way, if it is done.
    fn poll_sending(&mut self, context: &mut Context<'_>) -> bool {
        let Some(sending) = &mut self.sending else { return false };
        let Poll::Ready(result) = Pin::new(&mut sending.completion).poll(context) else { return false };
        let Sending { held_bytes, .. } = self.sending.take().expect("just polled");
        self.share.send_ended();
        self.share.give_back(held_bytes);
        if let Err(error) = result {
            self.deaf = true;
            self.ended.get_or_insert(Ended::Io(error));
        }
        true
    }

    /// Sends what is done, one batch at a time; whether a batch is through already.
    fn send(&mut self, context: &mut Context<'_>) -> bool {
        let mut through = false;
        while self.sending.is_none() {
            let Some(Batch { views, held_bytes, .. }) = self.outbox.take() else { break };
            if self.deaf {
                self.share.give_back(held_bytes);
                continue;
            }
            self.share.send_began();
            self.sending = Some(Sending { completion: self.stream.send(views), held_bytes });
            through |= self.poll_sending(context);
        }
        through
    }
}

/// Puts the answer to a request into the outbox, unless it was given up.
fn answer(
    outbox: &mut Outbox,
    numbers: &mut Numbers,
    share: &Share,
    session: &Session,
    request: Request,
    done: Done,
) {
    if !request.immediate {
        numbers.close();
    }
    if request.aborted {
        share.give_back(request.held_bytes);
        return;
    }
    match done {
        Done::Command(reply) => {
            if reply.status != Status::Good {
                session.counters().error();
            }
            outbox.reply(numbers, &request, reply);
        }
        Done::Management(response) => management::respond(outbox, numbers, request.task_tag, response),
    }
}
