//! A logical unit as one nexus sees it: a volume, its place in the reservations, and what the initiator is to be told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use quarry_env::BufferPool;
use quarry_target::{Drain, Initiator, Mapping, Member};
use quarry_types::{Durability, VolumeId};
use quarry_volume::{Volume, VolumeInfo};

use crate::attention::{Attention, Mailbox, Signal};
use crate::limits::BLOCK_BYTES;
use crate::sense::{Code, Key, Sense};
use crate::shared::{SharedUnit, Units};

/// A range of logical blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) lba: u64,
    pub(crate) blocks: u64,
}

impl Range {
    pub(crate) fn offset(self) -> u64 {
        self.lba * u64::from(BLOCK_BYTES)
    }

    pub(crate) fn bytes(self) -> u64 {
        self.blocks * u64::from(BLOCK_BYTES)
    }
}

/// A unit of a nexus.
pub struct Unit {
    number: u32,
    id: VolumeId,
    /// Whether the initiator may only read, whatever the volume allows.
    mapped_read_only: bool,
    volume: RefCell<Option<Rc<dyn Volume>>>,
    facts: RefCell<VolumeInfo>,
    size_bytes: Cell<u64>,
    /// The size of which the initiator knows, or is about to be told.
    told_bytes: Cell<u64>,
    read_only: Cell<bool>,
    member: Member,
    mailbox: Arc<Mailbox>,
    pub(crate) shared: Arc<SharedUnit>,
    pub(crate) buffers: BufferPool,
}

impl Unit {
    pub(crate) fn new(
        mapping: &Mapping,
        units: &Units,
        initiator: &Initiator,
        signal: &Arc<Signal>,
        buffers: &BufferPool,
    ) -> Rc<Self> {
        let shared = units.of(mapping.volume.id);
        let mailbox = Mailbox::new(signal.clone());
        shared.join(&mailbox);
        let member = shared.reservations.attach(initiator.clone(), mailbox.clone());
        Rc::new(Self {
            number: mapping.number,
            id: mapping.volume.id,
            mapped_read_only: mapping.read_only,
            volume: RefCell::new(None),
            size_bytes: Cell::new(mapping.volume.size_bytes),
            told_bytes: Cell::new(mapping.volume.size_bytes),
            read_only: Cell::new(mapping.read_only || mapping.volume.read_only),
            facts: RefCell::new(mapping.volume.clone()),
            member,
            mailbox,
            shared,
            buffers: buffers.clone(),
        })
    }

    /// Whether this is still the unit that a mapping means.
    pub(crate) fn is(&self, mapping: &Mapping) -> bool {
        self.id == mapping.volume.id && self.mapped_read_only == mapping.read_only
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The volume behind it.
    pub fn id(&self) -> VolumeId {
        self.id
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Who waits for the end of what the session has under way on this unit.
    pub fn take_aborts(&self) -> Vec<Drain> {
        self.mailbox.take_aborts()
    }

    /// Who waits for the end of what the session has under way on this unit, which goes on.
    pub fn take_settles(&self) -> Vec<Drain> {
        self.mailbox.take_settles()
    }

    /// What a query for asynchronous events is told, if there is an attention: how many (UADE), the sense key and the code (SAM-6 7.10).
    pub fn pending_attention(&self) -> Option<[u8; 3]> {
        const ONE: u8 = 0b01;
        const SEVERAL: u8 = 0b10;
        let (sense, count) = self.mailbox.pending()?;
        let depth = if count == 1 { ONE } else { SEVERAL };
        Some([depth << 4 | sense.key as u8, sense.code.0, sense.code.1])
    }

    pub(crate) fn raise(&self, attention: Attention) {
        self.mailbox.raise(attention);
    }

    /// Takes the volume into use, when this core can reach it.
    pub(crate) fn connect(&self, volume: Option<Rc<dyn Volume>>) {
        if let Some(volume) = &volume {
            self.learn(volume.info());
        }
        *self.volume.borrow_mut() = volume;
    }

    /// Lets go of the volume; the next command looks for it again.
    pub(crate) fn disconnect(&self) {
        self.volume.take();
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.volume.borrow().is_some()
    }

    fn learn(&self, facts: VolumeInfo) {
        self.set_size(facts.size_bytes);
        self.read_only.set(self.mapped_read_only || facts.read_only);
        *self.facts.borrow_mut() = facts;
    }

    /// The volume, if it can be reached and is not being sanitized.
    pub(crate) fn volume(&self) -> Result<Rc<dyn Volume>, Sense> {
        self.shared.sanitizing.hindrance()?;
        self.volume_to_sanitize()
    }

    /// The volume, if it can be reached.
    pub(crate) fn volume_to_sanitize(&self) -> Result<Rc<dyn Volume>, Sense> {
        let volume = self.volume.borrow();
        volume.clone().ok_or(Sense::new(Key::NotReady, Code::BECOMING_READY))
    }

    /// A size was announced. What the volume says of itself counts, when it can be reached.
    pub(crate) fn resize(&self, announced_bytes: u64) {
        match self.is_connected() {
            true => self.look(),
            false => self.set_size(announced_bytes),
        }
    }

    /// Whoever notices first, another size is told once.
    fn set_size(&self, bytes: u64) {
        self.size_bytes.set(bytes);
        if self.told_bytes.replace(bytes) != bytes {
            self.raise(Attention::CapacityChanged);
        }
    }

    /// Learns what its volume says of itself now, when it can be reached.
    pub(crate) fn look(&self) {
        let info = self.volume.borrow().as_ref().map(|volume| volume.info());
        if let Some(info) = info {
            self.learn(info);
        }
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        self.size_bytes.get() / u64::from(BLOCK_BYTES)
    }

    pub(crate) fn compare_bytes_max(&self) -> u32 {
        self.facts.borrow().compare_bytes_max
    }

    pub(crate) fn atomic_bytes_max(&self) -> u32 {
        self.facts.borrow().atomic_bytes_max
    }

    pub(crate) fn durability(&self) -> Durability {
        self.facts.borrow().durability
    }

    /// Whether writes are refused, for whatever reason.
    pub(crate) fn is_write_protected(&self) -> bool {
        self.read_only.get() || self.shared.is_write_protected()
    }

    pub(crate) fn write_protection(&self) -> Result<(), Sense> {
        if self.read_only.get() {
            return Err(Sense::new(Key::DataProtect, Code::WRITE_PROTECTED));
        }
        match self.shared.is_write_protected() {
            true => Err(Sense::new(Key::DataProtect, Code::SOFTWARE_WRITE_PROTECTED)),
            false => Ok(()),
        }
    }

    /// The range of `blocks` from `lba` on, which must lie inside, by the size that the volume has now.
    pub(crate) fn range(&self, lba: u64, blocks: u64) -> Result<Range, Sense> {
        let fits = |size: u64| lba.checked_add(blocks).is_some_and(|end| end <= size);
        if !fits(self.blocks()) {
            self.look();
            if !fits(self.blocks()) {
                return Err(Sense::illegal(Code::OUT_OF_RANGE).at(lba));
            }
        }
        Ok(Range { lba, blocks })
    }
}
