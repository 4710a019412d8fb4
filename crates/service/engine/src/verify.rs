//! Verification: does the segment table say exactly what the maps refer to, and does every slot have one owner?
//!
//! Read only. It walks every node of every map, so it takes as long as reading them; hosts go on meanwhile, while
//! checkpoints and cleaning wait.

use std::collections::BTreeMap;
use std::fmt;

use quarry_format::anchor::Slot;
use quarry_format::node::{Entry, NodeRef};
use quarry_pool::{Bitmap, PoolShared, Segment};
use quarry_types::{LogAddress, LogId, SegmentId, VolumeId};

use crate::{Engine, EngineError};

/// Nodes that are walked before what they refer to is noted.
const NODES_AT_ONCE: usize = 1024;

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// A map refers to a record that the segment table does not count as live: it may be overwritten.
    NotLive {
        /// The record.
        address: LogAddress,
    },
    /// A map refers to a live record that the run of its segment does not hold.
    NotKept {
        /// The record.
        address: LogAddress,
    },
    /// Two places refer to one record, which no snapshot explains.
    TwiceReferenced {
        /// The record.
        address: LogAddress,
    },
    /// Space that nothing refers to and that will never be free.
    Unreferenced {
        /// The segment.
        segment: SegmentId,
        /// Granules of it.
        granules: u32,
    },
    /// A segment that is neither sealed nor written to.
    LeftOpen {
        /// The segment.
        segment: SegmentId,
    },
    /// A tree holds another number of blocks than its root says.
    MappedBlocks {
        /// The volume.
        volume: VolumeId,
        /// What the root says.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// Two chunks have the same slot.
    SlotShared {
        /// The slot.
        slot: Slot,
    },
    /// The allocator counts other slots of a device as used than have an owner.
    SlotsUsed {
        /// The device.
        device: u16,
        /// Slots with an owner.
        owned: u64,
        /// Slots that are not free.
        used: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NotLive { address } => write!(f, "{address:?} is mapped but does not count as live"),
            Finding::NotKept { address } => write!(f, "{address:?} is mapped but was not moved along"),
            Finding::TwiceReferenced { address } => write!(f, "{address:?} is mapped twice"),
            Finding::Unreferenced { segment, granules } => {
                write!(
                    f,
                    "{granules} granules of segment {segment} count as live, but nothing refers to them"
                )
            }
            Finding::LeftOpen { segment } => write!(f, "segment {segment} is open, but nobody writes to it"),
            Finding::MappedBlocks { volume, expected, found } => {
                write!(f, "volume {volume} maps {found} blocks, not {expected}")
            }
            Finding::SlotShared { slot } => {
                write!(f, "slot {} of device {} has two owners", slot.index, slot.device)
            }
            Finding::SlotsUsed { device, owned, used } => {
                write!(f, "{used} slots of device {device} are in use, but {owned} have an owner")
            }
        }
    }
}

/// What is wrong with one log, and which slots it owns.
pub struct Verified {
    /// The log.
    pub log: LogId,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The slots of all of its chunks.
    pub slots: Vec<Slot>,
}

/// What the maps refer to, by segment.
#[derive(Default)]
struct Referenced {
    granules: BTreeMap<SegmentId, Bitmap>,
    findings: Vec<Finding>,
}

impl Engine {
    /// Compares the segment table with the maps, as of the last checkpoint.
    pub async fn verify(&self) -> Result<Verified, EngineError> {
        let _maintaining = self.maintaining.lock().await;
        // It may hold nothing but copies that were made in vain, and so be in no table.
        self.cleaner.borrow_mut().close();
        let durable = self.durable.borrow().clone();
        let mut referenced = Referenced::default();
        for volume in &durable.volumes {
            let found = self.walk(volume.root, &mut referenced).await?;
            let expected = volume.root.map_or(0, |root| root.mapped);
            if found != expected {
                let volume = volume.head.id;
                referenced.findings.push(Finding::MappedBlocks { volume, expected, found });
            }
        }
        for &node in &durable.detached {
            self.walk(Some(node), &mut referenced).await?;
        }
        self.compare(&mut referenced);
        let mut slots = self.store.slots();
        slots.extend(self.log.reserve().iter().flat_map(|chunk| chunk.slots()));
        Ok(Verified { log: self.store.log, findings: referenced.findings, slots })
    }

    /// Notes everything below a node; says how many blocks it maps.
    async fn walk(&self, root: Option<NodeRef>, referenced: &mut Referenced) -> Result<u64, EngineError> {
        let mut pending: Vec<NodeRef> = root.into_iter().collect();
        let mut blocks = 0;
        while !pending.is_empty() {
            let (mut entries, mut nodes) = (Vec::<Entry>::new(), Vec::<NodeRef>::new());
            quarry_map::drop_step(
                &self.nodes,
                &self.cache,
                &mut pending,
                NODES_AT_ONCE,
                &mut entries,
                &mut nodes,
            )
            .await?;
            blocks += entries.len() as u64;
            let entries = entries.iter().map(|entry| (entry.address, entry.stored_sectors));
            for (address, sectors) in entries.chain(nodes.iter().map(|node| (node.address, node.sectors))) {
                self.note(referenced, address, u32::from(sectors));
            }
        }
        Ok(blocks)
    }

    fn note(&self, referenced: &mut Referenced, address: LogAddress, sectors: u32) {
        let geometry = self.store.pool.geometry();
        let granule = geometry.granule_sectors();
        let (first, count) = (address.sector() / granule, sectors.div_ceil(granule));
        let bitmap = referenced
            .granules
            .entry(address.segment())
            .or_insert_with(|| Bitmap::new(geometry.segment_granules()));
        if (first..first + count).any(|index| bitmap.get(index)) {
            referenced.findings.push(Finding::TwiceReferenced { address });
        }
        bitmap.set(first, count);
        let table = self.store.table();
        let live = |segment: &Segment| (first..first + count).all(|index| segment.live.get(index));
        if !table.get(address.segment()).is_some_and(live) {
            referenced.findings.push(Finding::NotLive { address });
        } else if table.resolve(address).is_none() {
            referenced.findings.push(Finding::NotKept { address });
        }
    }

    fn compare(&self, referenced: &mut Referenced) {
        let open = self.log.open_segment();
        for (id, segment) in self.store.table().iter() {
            let of = referenced.granules.get(&id);
            let known = of.map_or(0, |bitmap| {
                let both = bitmap.words().iter().zip(segment.live.words());
                both.map(|(referenced, live)| (referenced & live).count_ones()).sum()
            });
            if segment.live.ones() > known {
                let granules = segment.live.ones() - known;
                referenced.findings.push(Finding::Unreferenced { segment: id, granules });
            }
            if segment.end_sector == 0 && Some(id) != open {
                referenced.findings.push(Finding::LeftOpen { segment: id });
            }
        }
    }
}

/// Compares what all logs of a pool own with what the allocator has given away. Only for a pool at rest: cleaning and
/// reads hold chunks that are in no table any more.
pub fn verify_slots(pool: &PoolShared, logs: &[Verified]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut slots: Vec<Slot> = logs.iter().flat_map(|log| log.slots.iter().copied()).collect();
    slots.sort_unstable();
    for pair in slots.windows(2).filter(|pair| pair[0] == pair[1]) {
        findings.push(Finding::SlotShared { slot: pair[0] });
    }
    slots.dedup();
    for status in pool.devices().into_iter().filter(|status| status.failure.is_none()) {
        let device = status.index;
        let (owned, used) =
            (slots.iter().filter(|slot| slot.device == device).count() as u64, pool.used_slots(device));
        if owned != used {
            findings.push(Finding::SlotsUsed { device, owned, used });
        }
    }
    findings
}
