//! The transmission phase of one session (proto.md, "Transmission"): one task that receives, starts requests, and sends.
//!
//! Each time it is woken it sends what is done in one go, takes what has arrived, and starts what it may. A request that
//! the volume answers at once costs no further wake-up. Nothing is received while the session has as much in flight as it
//! may, so a slow client only holds up itself.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use quarry_env::{Completion, Env, Stream, View};
use quarry_target::{Counters, InFlight, Member, Receiver, Session, Share, Shortage, Stopped};
use quarry_volume::{Volume, VolumeError};

use crate::limits::{PAYLOAD_BYTES_DIRECT, RECEIVE, REQUESTS_MAX, STALL_CHECK_TIME, STOP_TIME_MAX};
use crate::perform;
use crate::reply::{Batch, Failure, Outbox, unheld};
use crate::request::{RESERVED, Refusal, STOPPING, Terms};
use crate::status::errno;
use crate::wire::{BadMagic, RequestHeader};
use crate::work::{Admitted, Outcome, Work};

/// Rounds of receive and parse in one poll, after which other tasks have their turn.
const ROUNDS_MAX: usize = 16;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client sent `DISC`.
    #[error("the client disconnected")]
    Disconnected,
    /// The client closed without `DISC`.
    #[error("the client closed the connection")]
    Closed,
    /// The server stopped.
    #[error("asked to stop")]
    Stopped,
    /// Requests were still in flight when the time to stop had run out.
    #[error("requests did not finish in time when asked to stop")]
    Abandoned,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The client and the server do not understand each other any more.
    #[error("not a request")]
    BadMagic(#[from] BadMagic),
    /// A payload longer than was agreed.
    #[error("a payload of {bytes} bytes")]
    PayloadTooLong {
        /// Its length.
        bytes: u64,
    },
}

/// A refused request whose payload must pass before the client can understand the reply.
struct Refused {
    header: RequestHeader,
    refusal: Refusal,
    payload_left: u64,
}

/// Why parsing came to a halt.
enum Halt {
    /// This many bytes in one piece are needed.
    Needs(usize),
    /// The session holds as much as it may; it goes on when something is done.
    Full,
    /// The budget of the core is used up.
    NoMemory,
}

/// A batch on its way.
struct Sending {
    completion: Completion<io::Result<()>>,
    requests: usize,
    held_bytes: u64,
}

/// Who a connection is for its core.
pub(crate) struct Client<'v> {
    pub(crate) session: &'v Session,
    /// Its place among those who reserve the volume.
    pub(crate) member: Member,
    pub(crate) share: Share,
}

pub(crate) struct Transmission<'v> {
    env: Env,
    volume: &'v Rc<dyn Volume>,
    counters: &'v Counters,
    stream: Rc<dyn Stream>,
    terms: Terms,
    receiver: Receiver,
    /// The request whose payload is received into memory of its own.
    awaited: Option<Admitted>,
    refused: Option<Refused>,
    in_flight: InFlight<Admitted, Work<'v>>,
    outbox: Outbox,
    sending: Option<Sending>,
    /// Requests that were begun and whose reply has not been sent.
    requests: usize,
    member: Member,
    share: Share,
    stopped: Stopped,
    stop_limit: Option<Completion<()>>,
    stall_check: Option<Completion<()>>,
    /// Set when no further request is taken: what is in flight finishes, then the session ends.
    ended: Option<Ended>,
    /// The client cannot be reached any more.
    deaf: bool,
}

impl<'v> Transmission<'v> {
    pub(crate) fn new(
        env: Env,
        volume: &'v Rc<dyn Volume>,
        client: Client<'v>,
        stream: Rc<dyn Stream>,
        terms: Terms,
        rest: &[u8],
    ) -> Self {
        let Client { session, member, share } = client;
        let buffers = env.buffers.clone();
        Self {
            volume,
            counters: session.counters(),
            receiver: Receiver::new(stream.clone(), buffers.clone(), rest, RECEIVE),
            awaited: None,
            stream,
            terms,
            refused: None,
            in_flight: InFlight::new(REQUESTS_MAX),
            outbox: Outbox::new(buffers, terms.style),
            sending: None,
            requests: 0,
            member,
            share,
            stopped: session.stop().stopped(),
            stop_limit: None,
            stall_check: None,
            ended: None,
            deaf: false,
            env,
        }
    }

    /// Serves until the client goes, the server stops or the connection breaks.
    pub(crate) async fn run(mut self) -> Ended {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_stop(context) {
            return Poll::Ready(ended);
        }
        let (outbox, counters, fast) = (&mut self.outbox, self.counters, perform::is_fast_zero);
        self.in_flight.poll(context, |request, result| {
            answer(outbox, counters, &request, result, fast(&request.header));
        });
        for _ in 0..ROUNDS_MAX {
            self.poll_sending(context);
            let halt = self.parse();
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

    fn poll_stop(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        if self.ended.is_none() && Pin::new(&mut self.stopped).poll(context).is_ready() {
            self.stop_limit = Some(self.env.clock.sleep(STOP_TIME_MAX));
            self.ended = Some(Ended::Stopped);
            self.refuse_arrived();
        }
        match &mut self.stop_limit {
            Some(limit) => Pin::new(limit).poll(context).map(|()| Ended::Abandoned),
            None => Poll::Pending,
        }
    }

    fn poll_ended(&mut self) -> Poll<Ended> {
        let quiet = self.in_flight.is_empty() && self.outbox.is_empty() && self.sending.is_none();
        if !quiet {
            return Poll::Pending;
        }
        Poll::Ready(self.ended.take().expect("it is set when no further request is taken"))
    }

    /// Receives more, if that is what parsing waits for.
    fn poll_input(&mut self, halt: Halt, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        // The rest of a payload for which memory is held.
        self.share.set_awaits(self.awaited.is_some() && matches!(halt, Halt::Needs(_)));
        match halt {
            Halt::Full => Poll::Pending,
            Halt::NoMemory => self.poll_memory(context).map(Ok),
            Halt::Needs(wanted) => match self.receiver.poll_more(wanted, context) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(Ended::Closed)),
                Poll::Ready(Ok(_)) => {
                    self.share.arrived();
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(Ended::Io(error))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Waits for memory, and looks from time to time for clients that hold it for nothing.
    fn poll_memory(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.share.wait(context.waker());
        let clock = &self.env.clock;
        let check = self.stall_check.get_or_insert_with(|| clock.sleep(STALL_CHECK_TIME));
        if Pin::new(check).poll(context).is_pending() {
            return Poll::Pending;
        }
        self.stall_check = None;
        // A session whose own client takes nothing has no claim on the memory of others.
        if self.sending.is_none() {
            self.share.cut_off_stalled(self.env.clock.now());
        }
        Poll::Ready(())
    }

    /// Starts every request that has arrived and may be started.
    fn parse(&mut self) -> Halt {
        loop {
            if self.ended.is_some() {
                return Halt::Full;
            }
            match self.parse_one() {
                Ok(None) => {}
                Ok(Some(halt)) => return halt,
                Err(ended) => self.ended = Some(ended),
            }
        }
    }

    fn parse_one(&mut self) -> Result<Option<Halt>, Ended> {
        if let Some(refused) = &mut self.refused {
            refused.payload_left -= self.receiver.skip(refused.payload_left);
            if refused.payload_left > 0 {
                return Ok(Some(Halt::Needs(1)));
            }
            let Refused { header, refusal, .. } = self.refused.take().expect("it was just looked at");
            self.refuse(header, refusal);
            return Ok(None);
        }
        if let Some(request) = self.awaited {
            let Some(payload) = self.receiver.take_payload() else { return Ok(Some(Halt::Needs(1))) };
            self.awaited = None;
            // Who may write, and up to where, may have changed while it came.
            match self.check(&request.header) {
                Ok(()) => self.start(request, Some(payload.freeze())),
                Err(refusal) => self.answer_refusal(&request, refusal),
            }
            return Ok(None);
        }
        if self.requests >= REQUESTS_MAX {
            return Ok(Some(Halt::Full));
        }
        let header_bytes = self.terms.style.request_bytes();
        if self.receiver.bytes().len() < header_bytes {
            return Ok(Some(Halt::Needs(header_bytes)));
        }
        let header = RequestHeader::decode(self.terms.style, self.receiver.bytes())?;
        self.parse_request(header, header_bytes)
    }

    fn parse_request(&mut self, header: RequestHeader, header_bytes: usize) -> Result<Option<Halt>, Ended> {
        if perform::is_disconnect(&header) {
            return Err(Ended::Disconnected);
        }
        let payload_bytes = header.payload_bytes(self.terms.style);
        if payload_bytes > u64::from(self.terms.payload_bytes_max) {
            return Err(Ended::PayloadTooLong { bytes: payload_bytes });
        }
        if let Err(refusal) = self.check(&header) {
            self.receiver.advance(header_bytes);
            self.requests += 1;
            self.refused = Some(Refused { header, refusal, payload_left: payload_bytes });
            return Ok(None);
        }
        let (payload, arrived) = (payload_bytes as usize, self.receiver.bytes().len() - header_bytes);
        if arrived < payload && payload < PAYLOAD_BYTES_DIRECT {
            return Ok(Some(Halt::Needs(header_bytes + payload)));
        }
        let held_bytes = match payload {
            0 => perform::held_bytes(&header),
            // A small payload keeps the whole receive from being used again; charge for a part of that.
            _ => payload.max(self.receiver.pinned_bytes() / 8) as u64,
        };
        match self.share.try_take(held_bytes) {
            Ok(()) => {}
            Err(Shortage::Session) => return Ok(Some(Halt::Full)),
            Err(Shortage::Core) => return Ok(Some(Halt::NoMemory)),
        }
        self.receiver.advance(header_bytes);
        self.requests += 1;
        let request = Admitted { header, held_bytes };
        match payload {
            0 => self.start(request, None),
            _ if arrived >= payload => {
                let payload = self.receiver.take(payload);
                self.start(request, Some(payload));
            }
            _ => {
                self.awaited = Some(request);
                self.receiver.begin_payload(self.env.buffers.allocate(payload), 0, payload);
            }
        }
        Ok(None)
    }

    /// Whether the request may be carried out, by the size that the volume has now.
    fn check(&mut self, header: &RequestHeader) -> Result<(), Refusal> {
        match self.terms.check(header) {
            Err(Refusal { beyond: Some(_), .. }) => {
                self.terms.size_bytes = self.volume.info().size_bytes;
                self.terms.check(header)
            }
            verdict => verdict,
        }?;
        match perform::is_allowed(&self.member, header) {
            true => Ok(()),
            false => Err(RESERVED),
        }
    }

    fn start(&mut self, mut request: Admitted, payload: Option<View>) {
        if request.header.is_filtered_status() {
            let payload = payload.as_deref().unwrap_or_default();
            let header = request.header.with_status_payload(payload);
            match header.and_then(|header| self.check(&header).map(|()| header)) {
                Ok(header) => request.header = header,
                Err(refusal) => return self.answer_refusal(&request, refusal),
            }
        }
        perform::count(self.counters, &request.header);
        match perform::work(self.volume, &request.header, payload) {
            None => self.outbox.success(&request),
            Some(work) => self.start_work(request, work),
        }
    }

    fn start_work(&mut self, request: Admitted, work: Work<'v>) {
        if let Some((request, result)) = self.in_flight.start(request, work) {
            let fast_zero = perform::is_fast_zero(&request.header);
            answer(&mut self.outbox, self.counters, &request, result, fast_zero);
        }
    }

    fn refuse(&mut self, header: RequestHeader, refusal: Refusal) {
        self.answer_refusal(&unheld(header), refusal);
    }

    fn answer_refusal(&mut self, request: &Admitted, refusal: Refusal) {
        self.counters.error();
        let Refusal { error, message, beyond } = refusal;
        // An offset must lie in the range, and an empty range has none.
        let offset = beyond.filter(|_| request.header.length > 0);
        self.outbox.failure(request, &Failure { error, message, offset });
    }

    /// Refuses the requests that are there in full when the server stops; nothing more is received.
    fn refuse_arrived(&mut self) {
        let (style, header_bytes) = (self.terms.style, self.terms.style.request_bytes());
        if self.receiver.awaits_payload() || self.refused.is_some() {
            return;
        }
        while self.requests < REQUESTS_MAX && self.receiver.bytes().len() >= header_bytes {
            let Ok(header) = RequestHeader::decode(style, self.receiver.bytes()) else { return };
            let payload = header.payload_bytes(style);
            if perform::is_disconnect(&header)
                || payload > (self.receiver.bytes().len() - header_bytes) as u64
            {
                return;
            }
            self.receiver.advance(header_bytes + payload as usize);
            self.requests += 1;
            self.refuse(header, STOPPING);
        }
    }

    /// Ends the send under way, if it is done; whether it is.
    fn poll_sending(&mut self, context: &mut Context<'_>) -> bool {
        let Some(sending) = &mut self.sending else { return false };
        let Poll::Ready(result) = Pin::new(&mut sending.completion).poll(context) else { return false };
        let Sending { requests, held_bytes, .. } = self.sending.take().expect("just polled");
        self.share.send_ended();
        self.forget(requests, held_bytes);
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
            let Some(Batch { views, requests, held_bytes }) = self.outbox.take() else { break };
            if self.deaf {
                self.forget(requests, held_bytes);
                continue;
            }
            self.share.send_began();
            self.sending = Some(Sending { completion: self.stream.send(views), requests, held_bytes });
            through |= self.poll_sending(context);
        }
        through
    }

    fn forget(&mut self, requests: usize, held_bytes: u64) {
        self.requests -= requests;
        self.share.give_back(held_bytes);
    }
}

/// Puts the reply to a request that the volume has dealt with into the outbox.
fn answer(
    outbox: &mut Outbox,
    counters: &Counters,
    request: &Admitted,
    result: Result<Outcome, VolumeError>,
    fast_zero: bool,
) {
    match result {
        Ok(Outcome::Read(views)) => {
            let length: usize = views.iter().map(|view| view.len()).sum();
            assert_eq!(length as u64, request.header.length, "a volume returns as much as it was asked for");
            outbox.data(request, views);
        }
        Ok(Outcome::Changed) => outbox.success(request),
        Ok(Outcome::Status(extents)) => {
            let extents = perform::fit(extents, &request.header);
            outbox.extents(request, &extents);
        }
        Err(error) => {
            counters.error();
            log_failure(counters, request, &error);
            let message = error.to_string();
            let error = errno(error.kind, fast_zero);
            outbox.failure(request, &Failure { error, message: &message, offset: None });
        }
    }
}

/// Logs the first failures of a session and ever fewer of those that follow: a full pool fails every write.
fn log_failure(counters: &Counters, request: &Admitted, error: &VolumeError) {
    let failures = counters.traffic().errors;
    if failures.is_power_of_two() {
        let RequestHeader { offset, length, .. } = request.header;
        tracing::warn!(offset, length, failures, %error, "request failed");
    }
}
