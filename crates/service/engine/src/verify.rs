//! Verification: does the segment table say exactly what the maps refer to, and does every slot have one owner?
//!
//! Read only. It walks every node of every map, so it takes as long as reading them; hosts go on meanwhile, while
//! checkpoints and cleaning wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use quarry_format::anchor::Slot;
use quarry_format::detached::{Detached, Floor};
use quarry_format::node::{Entry, NodeRef};
use quarry_pool::{Bitmap, Group, PoolShared, Segment};
use quarry_types::{ChunkId, LogAddress, LogId, SegmentId, SnapshotCounter, VolumeId};

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
    /// Not as many places refer to a record as it counts references.
    References {
        /// The record.
        address: LogAddress,
        /// What is counted.
        counted: u32,
        /// What was found.
        found: u32,
    },
    /// A node of a map is bad on every copy: what only it refers to is lost.
    LostNode {
        /// The node.
        address: LogAddress,
    },
    /// Blocks of which nobody knows any more what they held: a node of the map was bad on every copy when something below it was written.
    LostBlocks {
        /// The volume or snapshot.
        volume: VolumeId,
        /// How many; about as many where a node above leaves was bad.
        blocks: u64,
    },
    /// Space that nothing refers to and that will never be free.
    Unreferenced {
        /// The segment.
        segment: SegmentId,
        /// Granules of it.
        sectors: u32,
    },
    /// A segment that is neither sealed nor written to.
    LeftOpen {
        /// The segment.
        segment: SegmentId,
    },
    /// A tree holds another number of blocks than its root says.
    MappedBlocks {
        /// The volume or snapshot.
        volume: VolumeId,
        /// What the root says.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// Two chunks of a group are on one device: it could not be lost.
    GroupOnOneDevice {
        /// The group.
        group: ChunkId,
        /// The device.
        device: u16,
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
            Finding::References { address, counted, found } => {
                write!(f, "{address:?} is mapped {found} times, but counts {counted} references")
            }
            Finding::LostNode { address } => {
                write!(f, "node {address:?} of a map has no good copy: what it maps is lost")
            }
            Finding::LostBlocks { volume, blocks } => {
                write!(
                    f,
                    "about {blocks} blocks of volume {volume} are lost, as a part of its map was: write or discard them"
                )
            }
            Finding::Unreferenced { segment, sectors } => {
                write!(f, "{sectors} sectors of segment {segment} count as live, but nothing refers to them")
            }
            Finding::LeftOpen { segment } => write!(f, "segment {segment} is open, but nobody writes to it"),
            Finding::MappedBlocks { volume, expected, found } => {
                write!(f, "volume {volume} maps {found} blocks, not {expected}")
            }
            Finding::GroupOnOneDevice { group, device } => {
                write!(f, "two chunks of group {group} are on device {device}")
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

/// Whose tree is walked.
struct Of {
    volume: VolumeId,
    floor: Floor,
}

/// What the maps refer to, by segment.
#[derive(Default)]
struct Referenced {
    sectors: BTreeMap<SegmentId, Bitmap>,
    /// References beyond the first.
    others: BTreeMap<LogAddress, u32>,
    findings: Vec<Finding>,
    /// Blocks of which maps say that they are lost.
    lost_blocks: u64,
    /// What a node that was lost led to is not known.
    is_partial: bool,
}

impl Engine {
    /// Compares the segment table with the maps, as of the last checkpoint.
    pub async fn verify(&self) -> Result<Verified, EngineError> {
        let _maintaining = self.maintaining.lock().await;
        // It may hold nothing but copies that were made in vain, and so be in no table.
        self.cleaner.borrow_mut().close(|_| true);
        let durable = self.durable.borrow().clone();
        let mut referenced = Referenced::default();
        // Each record belongs to the oldest snapshot that holds it, or to the volume: so each is noted once.
        let floor = |parent: SnapshotCounter| match durable.dissolving {
            Some((number, cursor)) if number == parent => {
                let dissolving = durable.snapshots.iter().find(|snapshot| snapshot.head.number == number);
                let before = dissolving.map_or(SnapshotCounter(0), |snapshot| snapshot.parent);
                Floor { before, cursor, from: parent }
            }
            _ => Floor::at(parent),
        };
        for volume in &durable.volumes {
            let of = Of { volume: volume.head.id, floor: floor(volume.parent) };
            self.walk_root(volume.root, of, &mut referenced).await?;
        }
        for snapshot in &durable.snapshots {
            let mut floor = floor(snapshot.parent);
            if let Some((_, cursor)) =
                durable.dissolving.filter(|(number, _)| *number == snapshot.head.number)
            {
                floor = Floor { before: SnapshotCounter(u32::MAX), cursor, from: snapshot.parent };
            }
            let of = Of { volume: VolumeId(snapshot.head.id.0), floor };
            self.walk_root(snapshot.root, of, &mut referenced).await?;
        }
        for &detached in &durable.detached {
            self.walk(detached, &mut referenced).await?;
        }
        for &(address, sectors) in &durable.owed {
            self.note(&mut referenced, address, sectors);
        }
        // What is below a lost node is not known, so nothing can be missed.
        if !referenced.is_partial {
            self.compare(&mut referenced);
            self.compare_references(&mut referenced);
        }
        self.check_groups(&mut referenced.findings);
        let mut slots = self.store.slots();
        slots.extend(self.log.reserve().iter().flat_map(|chunk| chunk.slots()));
        Ok(Verified { log: self.store.log, findings: referenced.findings, slots })
    }

    /// Every chunk of a group is on a device of its own.
    /// A group that is not wanted any more ends as soon as its chunks have their copies, which may be on the same devices; one that is
    /// wanted again may have chunks that are about to be moved apart.
    fn check_groups(&self, findings: &mut Vec<Finding>) {
        let shared = &self.store.pool.shared;
        let is_wanted = |group: &Rc<Group>| Some(group.shape()) == shared.shape_of(self.store.log);
        for group in self.store.groups().into_iter().filter(is_wanted) {
            let (mut devices, members) = (BTreeSet::new(), group.members());
            for device in group.devices() {
                let is_moved =
                    || members.iter().any(|chunk| chunk.is_on(device) && chunk.duty(shared).is_some());
                if !devices.insert(device) && !is_moved() {
                    findings.push(Finding::GroupOnOneDevice { group: group.id(), device });
                }
            }
        }
    }

    /// Notes what belongs to a volume or snapshot alone.
    async fn walk_root(
        &self,
        root: Option<NodeRef>,
        of: Of,
        referenced: &mut Referenced,
    ) -> Result<(), EngineError> {
        let Some(node) = root else { return Ok(()) };
        let Of { volume, floor } = of;
        let before = referenced.lost_blocks;
        let found = self.walk(Detached { node, first_block: 0, floor }, referenced).await?;
        let blocks = referenced.lost_blocks - before;
        if blocks > 0 {
            referenced.findings.push(Finding::LostBlocks { volume, blocks });
        }
        if floor == Floor::default() && found != node.mapped() && !referenced.is_partial {
            referenced.findings.push(Finding::MappedBlocks { volume, expected: node.mapped(), found });
        }
        Ok(())
    }

    /// Notes everything below a node that is above its floor; says how many blocks these are.
    async fn walk(&self, root: Detached, referenced: &mut Referenced) -> Result<u64, EngineError> {
        let mut pending = vec![root];
        let mut blocks = 0;
        while !pending.is_empty() {
            let (mut entries, mut nodes) = (Vec::<Entry>::new(), Vec::<NodeRef>::new());
            let step = quarry_map::drop_step(
                &self.nodes,
                &self.cache,
                &mut pending,
                NODES_AT_ONCE,
                &mut entries,
                &mut nodes,
            );
            match step.await {
                Ok(()) => {}
                // It is still there to be read again.
                Err(error) if error.is_corrupt() => {
                    let address = error.address();
                    let lost = pending.extract_if(.., |detached| detached.node.address == address);
                    let lost_blocks = lost.map(|lost| lost.node.mapped()).sum::<u64>();
                    match address {
                        LogAddress::LOST => referenced.lost_blocks += lost_blocks,
                        _ => referenced.findings.push(Finding::LostNode { address }),
                    }
                    referenced.is_partial = true;
                }
                Err(error) => return Err(error.into()),
            }
            blocks += entries.len() as u64;
            let lost = entries.extract_if(.., |entry| entry.address == LogAddress::LOST).count() as u64;
            referenced.lost_blocks += lost;
            referenced.is_partial |= lost > 0;
            let entries = entries.iter().map(|entry| (entry.address, entry.stored_sectors));
            for (address, sectors) in entries.chain(nodes.iter().map(|node| (node.address, node.sectors))) {
                self.note(referenced, address, u32::from(sectors));
            }
        }
        Ok(blocks)
    }

    fn note(&self, referenced: &mut Referenced, address: LogAddress, sectors: u32) {
        let geometry = self.store.pool.geometry();
        let bitmap = referenced
            .sectors
            .entry(address.segment())
            .or_insert_with(|| Bitmap::new(geometry.segment_sectors()));
        let all = address.sector()..address.sector() + sectors;
        if bitmap.count(all.clone()) > 0 {
            *referenced.others.entry(address).or_default() += 1;
        }
        bitmap.set(all.start, sectors);
        let table = self.store.table();
        let live = |segment: &Segment| segment.live.count(all) == sectors;
        if !table.get(address.segment()).is_some_and(live) {
            referenced.findings.push(Finding::NotLive { address });
        } else if table.resolve(address).is_none() {
            referenced.findings.push(Finding::NotKept { address });
        }
    }

    fn compare_references(&self, referenced: &mut Referenced) {
        let counted = self.volumes.references.all_settled();
        let (found, findings) = (&referenced.others, &mut referenced.findings);
        let addresses: BTreeSet<&LogAddress> = counted.keys().chain(found.keys()).collect();
        for address in addresses {
            let count = |of: &BTreeMap<LogAddress, u32>| 1 + of.get(address).copied().unwrap_or(0);
            let (counted, found) = (count(&counted), count(found));
            if counted != found {
                findings.push(Finding::References { address: *address, counted, found });
            }
        }
    }

    fn compare(&self, referenced: &mut Referenced) {
        let open = self.log.open_segment();
        for (id, segment) in self.store.table().iter() {
            let of = referenced.sectors.get(&id);
            let sectors = of.map_or(segment.live.ones(), |of| segment.live.count_without(of));
            if sectors > 0 {
                referenced.findings.push(Finding::Unreferenced { segment: id, sectors });
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
