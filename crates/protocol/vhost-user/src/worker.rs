//! A queue at work: one task that takes requests, has the volume do them, and answers.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use quarry_env::Completion;
use quarry_target::InFlight;
use quarry_volume::Result as VolumeResult;

use crate::device::{Device, Handle};
use crate::error::QueueError;
use crate::limits::{TURN_REQUESTS_MAX, TURN_ROUNDS_MAX};
use crate::memory::is_lost;
use crate::request::{Request, Status, Verb, deliver};
use crate::virtqueue::Virtqueue;
use crate::work::{Outcome, Work};

/// Why no request is taken at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Halt {
    /// None is there.
    Empty,
    /// As many are under way as the queue has descriptors.
    Full,
    /// There is no memory left for one more: other queues of the device, or other devices, have it.
    NoMemory,
    /// Others have their turn.
    Turn,
}

struct Worker<'v> {
    device: &'v Device,
    handle: &'v Handle,
    queue: Virtqueue,
    in_flight: InFlight<Request, Work<'v>>,
    /// A request for which there was no memory yet.
    waiting: Option<Request>,
    kicked: Option<Completion<io::Result<()>>>,
    /// Answers were given that the driver may want to be told of.
    has_answered: bool,
    /// Set when the queue cannot be used any more; what is under way ends.
    broken: Option<QueueError>,
}

/// Serves a queue until its handle says stop; returns the available ring's index of the next request. A queue that cannot be used
/// takes no requests any more.
pub(crate) async fn run(device: Rc<Device>, handle: Rc<Handle>, queue: Virtqueue) -> u16 {
    let slots = usize::from(queue.size());
    let mut worker = Worker {
        device: &device,
        handle: &handle,
        queue,
        in_flight: InFlight::new(slots),
        waiting: None,
        kicked: None,
        has_answered: false,
        broken: None,
    };
    poll_fn(|context| worker.poll(context)).await;
    worker.queue.base()
}

impl Worker<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let changed = &self.handle.changed;
        // Never ready: the version is that of now. It wakes the task when something changes.
        let _ = pin!(changed.after(changed.version())).as_mut().poll(context);
        self.finish_work(context);
        let served = match self.broken {
            None => self.serve(context),
            Some(_) => Ok(()),
        };
        if let Err(error) = served.and_then(|()| self.tell()) {
            self.give_up(error);
        }
        let is_done = self.handle.is_stopping.get() && self.in_flight.is_empty();
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    }

    fn finish_work(&mut self, context: &mut Context<'_>) {
        let mut done = Vec::new();
        self.in_flight.poll(context, |request, result| done.push((request, result)));
        for (request, result) in done {
            self.finish(&request, result);
        }
    }

    /// Takes requests until there are none, or no more may be under way.
    fn serve(&mut self, context: &mut Context<'_>) -> Result<(), QueueError> {
        if self.handle.is_stopping.get() {
            // It was taken from the ring, so it has to be answered: with whatever memory there is.
            return self.waiting.take().map_or(Ok(()), |request| self.begin_regardless(request));
        }
        if !self.handle.is_enabled.get() {
            return Ok(());
        }
        for _ in 0..TURN_ROUNDS_MAX {
            self.poll_kick(context);
            match self.take_requests()? {
                Halt::Empty if self.queue.want_kicks(&self.device.map())? => {}
                Halt::Empty if self.poll_kick(context) => {}
                Halt::Empty | Halt::Full => return Ok(()),
                Halt::NoMemory => {
                    self.device.share.wait(context.waker());
                    return Ok(());
                }
                Halt::Turn => break,
            }
        }
        context.waker().wake_by_ref();
        Ok(())
    }

    /// Whether the driver has said that requests are there; it is listened to from now on.
    fn poll_kick(&mut self, context: &mut Context<'_>) -> bool {
        let mut kicked = false;
        loop {
            let waiting = self.kicked.get_or_insert_with(|| self.handle.kick.wait());
            match Pin::new(waiting).poll(context) {
                Poll::Ready(Ok(())) => (self.kicked, kicked) = (None, true),
                // The signal cannot be waited for: the front end's own loss, and no reason to try again and again.
                Poll::Ready(Err(_)) => {
                    self.kicked = None;
                    return false;
                }
                Poll::Pending => return kicked,
            }
        }
    }

    fn take_requests(&mut self) -> Result<Halt, QueueError> {
        let memory = self.device.map();
        self.queue.ignore_kicks(&memory)?;
        for _ in 0..TURN_REQUESTS_MAX {
            if self.in_flight.len() >= usize::from(self.queue.size()) {
                return Ok(Halt::Full);
            }
            let request = match self.waiting.take() {
                Some(request) => request,
                None => match self.queue.take(&memory)? {
                    Some(chain) => Request::parse(chain)?,
                    None => return Ok(Halt::Empty),
                },
            };
            match self.device.share.try_take(request.held_bytes()) {
                Ok(()) => self.begin(request)?,
                Err(_) => {
                    self.waiting = Some(request);
                    return Ok(Halt::NoMemory);
                }
            }
        }
        Ok(Halt::Turn)
    }

    fn begin_regardless(&mut self, request: Request) -> Result<(), QueueError> {
        self.device.share.take(request.held_bytes());
        self.begin(request)
    }

    /// Begins a request, or answers it at once. Its memory was taken.
    fn begin(&mut self, request: Request) -> Result<(), QueueError> {
        match self.work(&request) {
            Err(status) => {
                self.device.session.counters().error();
                self.answer(&request, status, 0)
            }
            Ok(None) => {
                let (status, written) = self.at_once(&request);
                self.answer(&request, status, written)
            }
            Ok(Some(work)) => {
                if let Some((request, result)) = self.in_flight.start(request, work) {
                    self.finish(&request, result);
                }
                Ok(())
            }
        }
    }
}

impl<'v> Worker<'v> {
    fn work(&self, request: &Request) -> Result<Option<Work<'v>>, Status> {
        let verb = request.verb.as_ref().map_err(|status| *status)?;
        let device = self.device;
        verb.count(device.session.counters());
        if !device.reaches(verb.end()) || !verb.is_allowed(&device.member, device.read_only) {
            return Err(Status::Failed);
        }
        verb.work(&device.volume, &request.chain, &device.env.buffers, device.write_flags())
    }
}

impl Worker<'_> {
    /// What needs no volume: the serial number, and requests for nothing.
    fn at_once(&self, request: &Request) -> (Status, u64) {
        let Ok(Verb::Identify) = request.verb else { return (Status::Ok, 0) };
        let chain = &request.chain;
        let room = chain.writable.bytes().min(self.device.serial.len() as u64) as usize;
        match chain.writable.copy_from(&chain.memory, 0, &self.device.serial[..room]) {
            Ok(()) => (Status::Ok, room as u64),
            Err(_) => (Status::Failed, 0),
        }
    }

    /// Answers what the volume has done.
    fn finish(&mut self, request: &Request, result: VolumeResult<Outcome>) {
        let (status, written) = match result {
            Ok(Outcome::Changed) => (Status::Ok, 0),
            Ok(Outcome::Read(views)) => {
                let bytes: u64 = views.iter().map(|view| view.len() as u64).sum();
                let expected = request.held_bytes();
                assert_eq!(bytes, expected, "a volume returns as much as it was asked for");
                (deliver(&request.chain, &views), bytes)
            }
            Err(error) => {
                let counters = self.device.session.counters();
                counters.error();
                // The first failures and ever fewer of those that follow: a full pool fails every write.
                let failures = counters.traffic().errors;
                if failures.is_power_of_two() {
                    let session = self.device.session.id();
                    tracing::warn!(%session, verb = ?request.verb, failures, %error, "request failed");
                }
                (Status::Failed, 0)
            }
        };
        if let Err(error) = self.answer(request, status, written) {
            self.give_up(error);
        }
    }

    /// Answers a request, of whose data `written` bytes are in guest memory, and gives its memory back.
    fn answer(&mut self, request: &Request, status: Status, written: u64) -> Result<(), QueueError> {
        self.device.share.give_back(request.held_bytes());
        if self.broken.is_some() {
            return Ok(());
        }
        let chain = &request.chain;
        vm_memory::Bytes::write_obj(&*chain.memory, status as u8, request.status_at)
            .map_err(|_| QueueError::Incomplete)?;
        if is_lost(&chain.memory) || self.queue.is_lost() {
            return Err(QueueError::Lost);
        }
        self.queue.answer(&self.device.map(), chain.head, (written + 1) as u32)?;
        self.has_answered = true;
        Ok(())
    }

    /// Tells the driver that answers are there, if it wants to hear of it.
    fn tell(&mut self) -> Result<(), QueueError> {
        if self.broken.is_none() && std::mem::take(&mut self.has_answered) {
            let wanted = self.queue.wants_call(&self.device.map())?;
            if let Some(call) = self.handle.call.borrow().as_ref().filter(|_| wanted) {
                call.signal();
            }
        }
        Ok(())
    }

    /// Takes no further request from the queue, and answers none.
    fn give_up(&mut self, error: QueueError) {
        if self.broken.is_some() {
            return;
        }
        tracing::warn!(session = %self.device.session.id(), %error, "a queue is not served any further");
        self.broken = Some(error);
        self.waiting = None;
        if let Some(event) = self.handle.error.borrow().as_ref() {
            event.signal();
        }
    }
}
