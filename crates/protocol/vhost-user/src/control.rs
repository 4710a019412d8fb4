//! The control socket of a device: what its front end says of memory, queues and features.
//!
//! Messages are dealt with one after the other. What runs is changed only by messages that the protocol allows for it; others
//! are refused. A message that asks for an answer gets its refusal so; without one the connection ends.

mod queues;

use std::io;
use std::rc::Rc;

use futures::future::{Either, select};
use quarry_env::{Env, PeerFile, Sharing, Stream};
use zerocopy::{FromBytes, IntoBytes};

use crate::channel::{Channel, Message};
use crate::config;
use crate::device::Device;
use crate::error::ControlError;
use crate::in_flight::{self, DeviceInFlight};
use crate::limits::{CONFIG_BYTES_MAX, QUEUES_MAX, REGIONS_MAX};
use crate::memory::MemoryTable;
use crate::message::{
    ConfigPart, IN_FLIGHT_BYTES_MIN, InFlightMemory, OneRegion, QueueAddresses, QueueState, config_changed,
    queue_of_file, regions, requests as request,
};
use queues::Queues;

type Result<T> = std::result::Result<T, ControlError>;

/// What a message is answered with.
enum Answer {
    /// Nothing of its own.
    Done,
    Payload(Vec<u8>),
    WithFile(Vec<u8>, PeerFile),
}

/// The state of a connection.
pub(crate) struct Control {
    env: Env,
    device: Rc<Device>,
    protocol: u64,
    queues: Queues,
    in_flight: Option<DeviceInFlight>,
    /// The way to tell the front end something.
    back: Option<Rc<dyn Stream>>,
    /// The size that the front end knows.
    told_bytes: u64,
}

impl Control {
    pub(crate) fn new(env: Env, device: Rc<Device>) -> Self {
        let told_bytes = device.volume.info().size_bytes;
        let queues = Queues::new(env.clone(), device.clone());
        Self { env, device, protocol: 0, queues, in_flight: None, back: None, told_bytes }
    }

    /// Deals with messages until the connection ends. `resized` gives what resolves when a volume has another size.
    pub(crate) async fn serve<R: Future<Output = ()> + Unpin>(
        &mut self,
        stream: Rc<dyn Stream>,
        resized: impl Fn() -> R,
    ) -> Result<()> {
        let mut channel = Channel::new(self.env.clone(), stream);
        let mut changed = resized();
        // It may have been resized before anybody waited.
        self.tell_size().await;
        loop {
            let message = {
                let mut next = std::pin::pin!(channel.next());
                loop {
                    match select(&mut next, &mut changed).await {
                        Either::Left((message, _)) => break message?,
                        Either::Right(_) => {
                            changed = resized();
                            self.tell_size().await;
                        }
                    }
                }
            };
            self.answer(&channel, message).await?;
        }
    }

    /// Ends every queue when what it has begun is done.
    pub(crate) async fn stop(&mut self) {
        self.queues.stop_all().await;
    }

    async fn answer(&mut self, channel: &Channel, message: Message) -> Result<()> {
        let (request, needs_reply) = (message.header.request, message.header.needs_reply());
        let acknowledge = needs_reply && self.protocol & config::REPLY_ACK != 0;
        match self.handle(message).await {
            Ok(Answer::Payload(payload)) => channel.reply(request, &payload).await?,
            Ok(Answer::WithFile(payload, file)) => channel.reply_with_file(request, &payload, file).await?,
            Ok(Answer::Done) if acknowledge => channel.reply(request, 0u64.as_bytes()).await?,
            Ok(Answer::Done) => {}
            Err(error) if acknowledge && !matches!(error, ControlError::Io(_)) => {
                tracing::warn!(session = %self.device.session.id(), %error, "a message was refused");
                channel.reply(request, 1u64.as_bytes()).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn handle(&mut self, message: Message) -> Result<Answer> {
        let payload = |bytes: &[u8]| Ok(Answer::Payload(bytes.to_vec()));
        match message.header.request {
            request::GET_FEATURES => payload(config::offered(self.device.read_only).as_bytes()),
            request::GET_PROTOCOL_FEATURES => payload(config::PROTOCOL_OFFERED.as_bytes()),
            request::GET_QUEUE_NUM => payload((QUEUES_MAX as u64).as_bytes()),
            request::GET_MAX_MEM_SLOTS => payload((REGIONS_MAX as u64).as_bytes()),
            request::GET_CONFIG => self.get_config(&message),
            request::GET_INFLIGHT_FD => self.make_in_flight(&message),
            request::GET_VRING_BASE => {
                let state: QueueState = message.read()?;
                let number = self.queues.stop(state.index).await?;
                payload(QueueState { index: state.index, number: number.into() }.as_bytes())
            }
            _ => self.change(message).await.map(|()| Answer::Done),
        }
    }

    /// Messages that have no answer of their own.
    async fn change(&mut self, mut message: Message) -> Result<()> {
        match message.header.request {
            request::SET_OWNER => Ok(()),
            request::RESET_OWNER | request::RESET_DEVICE => {
                self.queues.stop_all().await;
                self.device.features.set(0);
                self.device.writeback.set(true);
                Ok(())
            }
            request::SET_FEATURES => self.set_features(message.read()?),
            request::SET_PROTOCOL_FEATURES => {
                let features: u64 = message.read()?;
                check_features(features, config::PROTOCOL_OFFERED)?;
                self.protocol = features;
                Ok(())
            }
            request::SET_MEM_TABLE | request::ADD_MEM_REG | request::REM_MEM_REG => {
                self.set_memory(&mut message)
            }
            request::SET_VRING_NUM => self.queues.set_size(message.read()?),
            request::SET_VRING_ADDR => self.queues.set_addresses(message.read::<QueueAddresses>()?),
            request::SET_VRING_BASE => self.queues.set_base(message.read()?),
            request::SET_VRING_ENABLE => self.queues.enable(message.read()?),
            request::SET_VRING_KICK | request::SET_VRING_CALL | request::SET_VRING_ERR => {
                self.set_file(&mut message).await
            }
            request::SET_BACKEND_REQ_FD => {
                let stream = message.only_file()?.into_stream();
                self.back = Some(self.env.network.attach(stream)?);
                Ok(())
            }
            request::SET_CONFIG => self.set_config(&message),
            request::SET_INFLIGHT_FD => self.take_in_flight(&mut message),
            other => Err(ControlError::Unsupported(other)),
        }
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        check_features(features, config::offered(self.device.read_only))?;
        self.device.features.set(features);
        Ok(())
    }

    async fn set_file(&mut self, message: &mut Message) -> Result<()> {
        let (index, has_file) = queue_of_file(message.read()?);
        let event = match has_file {
            true => Some(sharing(&self.env)?.event(message.only_file()?)?),
            false => None,
        };
        match message.header.request {
            request::SET_VRING_KICK => {
                // Without a signal we would have to look for requests all the time.
                let kick = event.ok_or(ControlError::Files { request: request::SET_VRING_KICK, files: 0 })?;
                self.queues.start(index, kick, self.in_flight.as_ref()).await
            }
            request::SET_VRING_CALL => self.queues.set_call(index, event),
            _ => self.queues.set_error(index, event),
        }
    }

    fn set_memory(&mut self, message: &mut Message) -> Result<()> {
        let (table, files) = (self.device.memory.borrow().clone(), std::mem::take(&mut message.files));
        let sharing = sharing(&self.env)?;
        let bad_files = ControlError::Files { request: message.header.request, files: files.len() };
        let table = match (message.header.request, files.as_slice()) {
            (request::SET_MEM_TABLE, _) => {
                let regions = regions(&message.payload).ok_or_else(|| message.bad_payload())?;
                if regions.len() != files.len() {
                    return Err(bad_files);
                }
                MemoryTable::new(sharing, &regions, files)?
            }
            (request::ADD_MEM_REG, [file]) => {
                table.with(sharing, &message.read::<OneRegion>()?.region, file)?
            }
            (request::ADD_MEM_REG, _) => return Err(bad_files),
            _ => table.without(&message.read::<OneRegion>()?.region)?,
        };
        *self.device.memory.borrow_mut() = table;
        self.queues.wake();
        Ok(())
    }

    fn get_config(&self, message: &Message) -> Result<Answer> {
        let (part, _) = config_part(message)?;
        let mut space = config::space(self.device.volume.info().size_bytes, self.device.writeback.get());
        // What lies behind our features is zero for a driver that knows more of them.
        space.resize(CONFIG_BYTES_MAX, 0);
        let bytes = &space[part.offset as usize..(part.offset + part.bytes) as usize];
        Ok(Answer::Payload([part.as_bytes(), bytes].concat()))
    }

    fn set_config(&mut self, message: &Message) -> Result<()> {
        let (part, data) = config_part(message)?;
        match (part.offset, data) {
            (config::WRITEBACK_AT, [writeback @ (0 | 1)]) => {
                self.device.writeback.set(*writeback == 1);
                Ok(())
            }
            _ => Err(ControlError::Config { offset: part.offset, bytes: part.bytes }),
        }
    }

    fn make_in_flight(&self, message: &Message) -> Result<Answer> {
        let asked = in_flight_memory(message)?;
        let bytes = in_flight::check(&asked)?;
        let (file, _) = sharing(&self.env)?.create(bytes)?;
        let made = InFlightMemory { bytes: bytes as u64, file_offset: 0, ..asked };
        Ok(Answer::WithFile(made.as_bytes()[..message.payload.len()].to_vec(), file))
    }

    fn take_in_flight(&mut self, message: &mut Message) -> Result<()> {
        let given = in_flight_memory(message)?;
        let bytes = in_flight::check(&given)?;
        if given.bytes < bytes as u64 {
            return Err(ControlError::InFlight("it is too small"));
        }
        let memory = sharing(&self.env)?.map(&message.only_file()?, given.file_offset, bytes)?;
        if !memory.start().as_ptr().addr().is_multiple_of(8) {
            return Err(ControlError::InFlight("it is not aligned"));
        }
        let InFlightMemory { queues, queue_size, .. } = given;
        self.in_flight = Some(DeviceInFlight { memory, queues, queue_size });
        Ok(())
    }

    /// Tells the front end that the device has another size, once it can be told.
    async fn tell_size(&mut self) {
        let size_bytes = self.device.volume.info().size_bytes;
        let Some(back) = self.back.as_ref().filter(|_| self.told_bytes != size_bytes) else { return };
        self.told_bytes = size_bytes;
        if self.protocol & config::CONFIG == 0 {
            return;
        }
        let sent = back.send(vec![self.env.buffers.copy_of(&config_changed())]).await;
        if let Err(error) = sent {
            tracing::warn!(session = %self.device.session.id(), %error, "the front end cannot be told of a new size");
        }
    }
}

fn sharing(env: &Env) -> Result<&dyn Sharing> {
    env.network.sharing().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported).into())
}

fn check_features(features: u64, offered: u64) -> Result<()> {
    match features & !offered {
        0 => Ok(()),
        unknown => Err(ControlError::Features(unknown)),
    }
}

/// Which part of the configuration space a message is about, and the bytes that it brings.
fn config_part(message: &Message) -> Result<(ConfigPart, &[u8])> {
    let (part, data) = ConfigPart::read_from_prefix(&message.payload).map_err(|_| message.bad_payload())?;
    let end = part.offset.checked_add(part.bytes);
    match end {
        Some(end) if end as usize <= CONFIG_BYTES_MAX && data.len() == part.bytes as usize => {
            Ok((part, data))
        }
        _ => Err(ControlError::Config { offset: part.offset, bytes: part.bytes }),
    }
}

fn in_flight_memory(message: &Message) -> Result<InFlightMemory> {
    let mut bytes = [0; size_of::<InFlightMemory>()];
    let given = &message.payload;
    if !(IN_FLIGHT_BYTES_MIN..=bytes.len()).contains(&given.len()) {
        return Err(message.bad_payload());
    }
    bytes[..given.len()].copy_from_slice(given);
    InFlightMemory::read_from_bytes(&bytes).map_err(|_| message.bad_payload())
}
