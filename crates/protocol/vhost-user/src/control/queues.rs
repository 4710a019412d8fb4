//! The queues of a device: set up by messages, begun by the one that brings the signal, ended by the one that asks for the index.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use quarry_env::{Env, JoinHandle, PeerEvent, Signal};

use super::Result;
use crate::config;
use crate::device::{Device, Handle};
use crate::error::ControlError;
use crate::in_flight::DeviceInFlight;
use crate::limits::{QUEUE_SIZE_MAX, QUEUES_MAX};
use crate::message::{QueueAddresses, QueueState};
use crate::virtqueue::{Layout, Virtqueue};
use crate::worker;

type Event = Option<Rc<dyn PeerEvent>>;

/// What was said of a queue.
#[derive(Default)]
struct Queue {
    size: u16,
    addresses: Option<QueueAddresses>,
    base: u16,
    call: Event,
    error: Event,
    is_enabled: bool,
    running: Option<Running>,
}

struct Running {
    handle: Rc<Handle>,
    task: JoinHandle<u16>,
}

/// All queues of a device.
pub(super) struct Queues {
    env: Env,
    device: Rc<Device>,
    queues: Vec<Queue>,
}

impl Queues {
    pub(super) fn new(env: Env, device: Rc<Device>) -> Self {
        Self { env, device, queues: (0..QUEUES_MAX).map(|_| Queue::default()).collect() }
    }

    fn queue(&mut self, index: impl Into<u64>) -> Result<&mut Queue> {
        let index = index.into();
        let found = usize::try_from(index).ok().and_then(|index| self.queues.get_mut(index));
        found.ok_or(ControlError::NoQueue { index })
    }

    /// A queue that may be changed.
    fn idle(&mut self, index: u32) -> Result<&mut Queue> {
        let queue = self.queue(index)?;
        match queue.running {
            None => Ok(queue),
            Some(_) => Err(ControlError::Running { index: index as usize }),
        }
    }

    pub(super) fn set_size(&mut self, QueueState { index, number }: QueueState) -> Result<()> {
        let size =
            u16::try_from(number).ok().filter(|size| size.is_power_of_two() && *size <= QUEUE_SIZE_MAX);
        self.idle(index)?.size = size.ok_or(ControlError::QueueSize(number))?;
        Ok(())
    }

    pub(super) fn set_addresses(&mut self, addresses: QueueAddresses) -> Result<()> {
        self.idle(addresses.index)?.addresses = Some(addresses);
        Ok(())
    }

    pub(super) fn set_base(&mut self, QueueState { index, number }: QueueState) -> Result<()> {
        // The upper half is for packed queues, which we do not offer.
        self.idle(index)?.base = number as u16;
        Ok(())
    }

    pub(super) fn enable(&mut self, QueueState { index, number }: QueueState) -> Result<()> {
        let queue = self.queue(index)?;
        queue.is_enabled = number != 0;
        if let Some(running) = &queue.running {
            running.handle.is_enabled.set(queue.is_enabled);
            running.handle.changed.raise();
        }
        Ok(())
    }

    pub(super) fn set_call(&mut self, index: u64, event: Event) -> Result<()> {
        let queue = self.queue(index)?;
        queue.call = event.clone();
        if let Some(running) = &queue.running {
            // Answers may have been given while there was nobody to tell.
            if let Some(event) = &event {
                event.signal();
            }
            *running.handle.call.borrow_mut() = event;
        }
        Ok(())
    }

    pub(super) fn set_error(&mut self, index: u64, event: Event) -> Result<()> {
        let queue = self.queue(index)?;
        queue.error = event.clone();
        if let Some(running) = &queue.running {
            *running.handle.error.borrow_mut() = event;
        }
        Ok(())
    }

    /// Begins a queue. One that runs ends first.
    pub(super) async fn start(
        &mut self,
        index: u64,
        kick: Rc<dyn PeerEvent>,
        in_flight: Option<&DeviceInFlight>,
    ) -> Result<()> {
        let at = self.queue(index).map(|_| index as usize)?;
        if self.queues[at].running.is_some() {
            self.queues[at].base = self.end(at).await;
        }
        let (features, map) = (self.device.features.get(), self.device.map());
        let queue = &self.queues[at];
        let layout = self.layout(queue, features).ok_or(ControlError::Rings { index: at })?;
        let log = match in_flight {
            None => None,
            Some(memory) => Some(
                memory
                    .of_queue(at, layout.size)
                    .ok_or(ControlError::InFlight("it has no place for the queue"))?,
            ),
        };
        let virtqueue = Virtqueue::new(layout, log, &map).map_err(|_| ControlError::Rings { index: at })?;
        let handle = Rc::new(Handle {
            kick,
            call: RefCell::new(queue.call.clone()),
            error: RefCell::new(queue.error.clone()),
            // Without the features of the control socket there is no message to enable it.
            is_enabled: Cell::new(queue.is_enabled || features & config::PROTOCOL_FEATURES == 0),
            is_stopping: Cell::new(false),
            changed: Signal::default(),
        });
        let serving = worker::run(self.device.clone(), handle.clone(), virtqueue);
        let task = self.env.spawner.spawn(serving);
        self.queues[at].running = Some(Running { handle, task });
        Ok(())
    }

    fn layout(&self, queue: &Queue, features: u64) -> Option<Layout> {
        let (addresses, memory) = (queue.addresses?, self.device.memory.borrow());
        Some(Layout {
            size: Some(queue.size).filter(|size| *size > 0)?,
            descriptors: memory.guest_address(addresses.descriptors)?,
            available: memory.guest_address(addresses.available)?,
            used: memory.guest_address(addresses.used)?,
            event_index: config::has_event_index(features),
            base: queue.base,
        })
    }

    /// Ends a queue when what it has begun is done; returns the index of its next request.
    pub(super) async fn stop(&mut self, index: u32) -> Result<u16> {
        let queue = self.queue(index)?;
        if queue.running.is_none() {
            return Ok(queue.base);
        }
        let base = self.end(index as usize).await;
        let queue = &mut self.queues[index as usize];
        (queue.base, queue.call, queue.error) = (base, None, None);
        Ok(base)
    }

    async fn end(&mut self, at: usize) -> u16 {
        let Some(Running { handle, task }) = self.queues[at].running.take() else {
            return self.queues[at].base;
        };
        handle.is_stopping.set(true);
        handle.changed.raise();
        task.await
    }

    /// Ends all queues, and forgets what was said of them.
    pub(super) async fn stop_all(&mut self) {
        for at in 0..self.queues.len() {
            self.end(at).await;
            self.queues[at] = Queue::default();
        }
    }

    /// Has every queue look again: memory has changed.
    pub(super) fn wake(&self) {
        for running in self.queues.iter().filter_map(|queue| queue.running.as_ref()) {
            running.handle.changed.raise();
        }
    }
}
