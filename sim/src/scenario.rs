//! What a seed draws: the machine, the pool, the volumes, the load, and what breaks.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use quarry_engine::Limits;
use quarry_env::DiskKind;
use quarry_env_sim::{Config, DiskSpec, FaultKind, FaultRates, Latency};
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{Compression, Deduplication, Durability, Protection, VolumeId, VolumeSettings};

use crate::Chance;

const MIB: u64 = 1 << 20;
const BLOCK_SECTORS: u64 = (BLOCK_BYTES / SECTOR_BYTES) as u64;
/// Chunks of a log that hosts cannot have: what the engine keeps free, its reserve of segments, its tail and image.
const CHUNKS_OF_A_LOG: u64 = 22;
/// The same where there are groups, besides as many as a group has with data: the cleaner empties whole groups, and the last few chunks are
/// in none.
const CHUNKS_OF_A_CODED_LOG: u64 = 34;

/// The codes of scenarios that have one.
pub const CODES: [Protection; 5] = [
    Protection::Coded { data: 2, parity: 1 },
    Protection::Coded { data: 2, parity: 1 },
    Protection::Coded { data: 4, parity: 2 },
    Protection::Coded { data: 3, parity: 1 },
    Protection::Coded { data: 2, parity: 2 },
];

/// A volume to be made.
#[derive(Clone, Debug)]
pub struct VolumePlan {
    /// Its size.
    pub size_bytes: u64,
    /// Where there is I/O, in sectors; beyond the size for when it has grown.
    pub zones: Vec<Range<u64>>,
    /// When its writes are safe.
    pub settings: VolumeSettings,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The core, and so the log.
    pub core: usize,
}

/// How hosts reach the volumes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// By the trait, in the same process.
    Direct,
    /// By NBD over a simulated socket, from another process.
    Nbd,
}

/// Everything that a seed decides before the world begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Protection of the pool.
    pub protection: Protection,
    /// Its disks.
    pub disks: Vec<DiskSpec>,
    /// The administrator changes which devices the pool has, and its protection.
    pub membership: bool,
    /// The administrator also changes how single logs are kept.
    pub logs_differ: bool,
    /// Disks that may join it.
    pub spares: Vec<DiskSpec>,
    /// A cache disk, and then all disks of the pool count as slow. It breaks in every way, and nobody notices.
    pub cache: Option<DiskSpec>,
    /// Disks that may break: as many as may be lost, unless `beyond`.
    pub bad: Vec<usize>,
    /// Faults may exceed the copies: errors are allowed, wrong data is not.
    pub beyond: bool,
    /// Whether bad disks may be pulled out and come back.
    pub pulls: bool,
    /// Cores, each with a log.
    pub cores: usize,
    /// The volumes.
    pub volumes: Vec<VolumePlan>,
    /// How hosts reach them.
    pub access: Access,
    /// Whether connections are cut now and then.
    pub cuts: bool,
    /// Whether there may be too little space for what hosts write.
    pub tight: bool,
    /// The administrator takes snapshots and makes clones.
    pub snapshots: bool,
    /// Lives of the process.
    pub lives: usize,
    /// Hosts of each volume, each with one operation at a time.
    pub lanes: usize,
    /// Operations of each host in one life.
    pub ops: usize,
    /// Largest write in sectors.
    pub sectors_max: u64,
    /// Largest count of events before a crash.
    pub crash_events_max: u64,
    /// Memory of an engine.
    pub limits: Limits,
}

impl Scenario {
    /// What `seed` draws.
    pub fn draw(seed: u64) -> Self {
        let chance = Chance::new(seed);
        let copies = *chance.pick(&[1, 1, 2, 2, 2, 3]);
        let beyond = copies == 1 && chance.percent(25);
        let count = copies.max(1 + chance.below(4) as usize);
        let cores = if chance.percent(30) { 2 } else { 1 };
        // Drawn apart, so that what else a seed means stays as it was.
        let coded = Chance::new(seed ^ 0x434f_4445);
        let is_coded = coded.percent(30);
        let protection = if is_coded { *coded.pick(&CODES) } else { Protection::Copies(copies as u8) };
        let (copies, beyond) = (protection.copies(), beyond && !is_coded);
        let count = if is_coded { protection.devices() + coded.below(3) as usize } else { count };
        let bad = match (beyond, copies) {
            (true, _) => chance.choose(1, count),
            (false, 1) => Vec::new(),
            _ => chance.choose(chance.below(copies as u64) as usize, count),
        };
        // Much is overwritten in little space: the cleaner has to work.
        let heavy = seed % 8 == 7;
        let chunks_of_logs = cores as u64
            * protection.code().map_or(CHUNKS_OF_A_LOG, |(data, _)| CHUNKS_OF_A_CODED_LOG + data as u64);
        let least_mib = (chunks_of_logs + 20) * copies as u64 / count as u64;
        let disks: Vec<DiskSpec> =
            (0..count).map(|index| disk(&chance, least_mib, heavy, bad.contains(&index), beyond)).collect();
        // Drawn apart: some of the disks are buckets.
        let buckets = Chance::new(seed ^ 0x4f42_4a45);
        let has_buckets = buckets.percent(10);
        let mut disks = disks;
        for disk in disks.iter_mut().filter(|_| has_buckets && buckets.percent(50)) {
            disk.kind = DiskKind::Object;
        }
        let tight = chance.percent(if heavy { 40 } else { 15 });
        let (slots, data) = protection.slots();
        let of_logs = protection.data_bytes(chunks_of_logs * copies as u64);
        let chunks = (usable_chunks(&disks, slots) * data as u64).saturating_sub(of_logs).max(4);
        // What is overwritten stays as long as a snapshot has it.
        let snapshots = Chance::new(seed ^ 0x5a45).percent(50);
        let share = match (tight, snapshots) {
            (true, _) => chance.within(60..140),
            (false, false) => chance.within(15..50),
            (false, true) => chance.within(4..10),
        };
        let mut sectors_left = chunks * MIB / SECTOR_BYTES as u64 * share / 100;
        let volumes = (0..1 + chance.below(3) as usize)
            .map(|_| volume(&chance, cores, heavy || is_coded, &mut sectors_left))
            .collect::<Vec<_>>();
        // Drawn apart, so that what else a seed means stays as it was.
        let stored = Chance::new(seed ^ 0x5354_4f52);
        let volumes = volumes.into_iter().map(|plan| stored_somehow(plan, &stored)).collect();
        let change = Chance::new(seed ^ 0x4d45_4d42);
        let membership = !beyond && change.percent(25);
        let spares = (0..if membership { 1 + change.below(3) } else { 0 })
            .map(|_| disk(&change, least_mib.max(48), heavy, false, false))
            .collect();
        let cache = cache(&Chance::new(seed ^ 0x4341_4348));
        let access = if chance.percent(35) { Access::Nbd } else { Access::Direct };
        Self {
            seed,
            protection,
            disks,
            membership,
            logs_differ: Chance::new(seed ^ 0x4c4f_4753).percent(50),
            spares,
            cache: cache.clone(),
            pulls: !bad.is_empty() && chance.percent(50),
            bad,
            beyond,
            cores,
            volumes,
            access,
            cuts: access == Access::Nbd && chance.percent(30),
            tight,
            snapshots,
            lives: chance.within(2..5) as usize,
            lanes: chance.within(1..6) as usize,
            ops: match (heavy, is_coded) {
                (true, _) => chance.within(150..400),
                (false, true) => 2 * chance.within(15..90),
                (false, false) => chance.within(15..90),
            } as usize,
            sectors_max: if heavy { 512 } else { *chance.pick(&[16, 64, 256, 2048]) }.max(if is_coded {
                512
            } else {
                0
            }),
            crash_events_max: if heavy { 32768 } else { *chance.pick(&[256, 1024, 4096, 16384]) },
            limits: Limits {
                node_cache_bytes: 1 << chance.within(13..20),
                overlay_bytes: 1 << chance.within(13..20),
                read_cache_bytes: match cache {
                    Some(_) => 0,
                    None => *chance.pick(&[0, 16 << 10, 1 << 20]),
                },
                cache_index_bytes: if cache.is_some() { 1 << 16 } else { 0 },
                logs: cores as u16,
            },
        }
    }

    /// A short history on one or two disks, for the enumeration of its events.
    pub fn draw_short(seed: u64) -> Self {
        let mut scenario = Self::draw(seed);
        scenario.lives = 1;
        scenario.ops = scenario.ops.min(12);
        scenario.lanes = scenario.lanes.min(2);
        scenario.volumes.truncate(2);
        // Groups need chunks that are full.
        scenario.sectors_max = if scenario.is_coded() { 2048 } else { scenario.sectors_max.min(256) };
        scenario.access = Access::Direct;
        (scenario.cuts, scenario.pulls, scenario.beyond) = (false, false, false);
        scenario.bad.clear();
        (scenario.membership, scenario.spares, scenario.cache) = (false, Vec::new(), None);
        scenario.disks.iter_mut().for_each(|disk| disk.faults = FaultRates::none());
        scenario
    }

    /// Where a disk is.
    pub fn path(index: usize) -> PathBuf {
        PathBuf::from(format!("/dev/{index}"))
    }

    /// The paths of the disks of which the pool is made.
    pub fn paths(&self) -> Vec<PathBuf> {
        (0..self.disks.len()).map(Self::path).collect()
    }

    /// The paths of all disks.
    pub fn all_paths(&self) -> Vec<PathBuf> {
        (0..self.disks.len() + self.spares.len()).map(Self::path).collect()
    }

    /// The id of a volume.
    pub fn volume_id(&self, volume: usize) -> VolumeId {
        VolumeId::from_random(u128::from(self.seed) << 64 | volume as u128)
    }

    /// Whether hosts may be told that the pool is full: they write much, or a device may be out of use.
    pub fn may_be_full(&self) -> bool {
        self.tight || self.membership || !self.bad.is_empty()
    }

    /// Whether the pool has an erasure code.
    pub fn is_coded(&self) -> bool {
        self.protection.code().is_some()
    }

    /// The world.
    pub fn config(&self, trace_lines_max: usize) -> Config {
        Config { trace_lines_max, ..Config::default() }
    }
}

/// Chunks that fit on the disks, each with its copies on distinct ones.
fn usable_chunks(disks: &[DiskSpec], copies: usize) -> u64 {
    let slots: Vec<u64> = disks.iter().map(|disk| disk.size_bytes / MIB - 1).collect();
    let fits =
        |chunks: u64| slots.iter().map(|slots| slots.min(&chunks)).sum::<u64>() >= copies as u64 * chunks;
    (0..=slots.iter().sum::<u64>()).take_while(|&chunks| fits(chunks)).last().unwrap_or(0)
}

fn disk(chance: &Chance, least_mib: u64, heavy: bool, bad: bool, beyond: bool) -> DiskSpec {
    let least = least_mib.max(33);
    let latency = match chance.below(10) {
        0 => Latency::rotating(),
        1 => Latency::stalling(),
        _ => Latency::fast(),
    };
    let mut faults = FaultRates::none();
    if chance.percent(10) {
        faults = faults.with(FaultKind::Stall, 0.0005);
        faults.stall = Duration::from_millis(100)..Duration::from_secs(5);
    }
    if bad {
        faults = break_it(chance, faults, beyond);
    }
    DiskSpec {
        size_bytes: if heavy { least } else { chance.within(least..2 * least) } * MIB
            + chance.below(16) * 65_536,
        sector_bytes: *chance.pick(&[512, 512, 4096]),
        kind: *chance.pick(&[DiskKind::Block, DiskKind::File]),
        latency,
        cache_bytes: *chance.pick(&[0, 1 << 20, 16 << 20]),
        atomic_bytes: *chance.pick(&[512, 4096]),
        faults,
        ..DiskSpec::default()
    }
}

/// Draws a cache disk, or none.
fn cache(chance: &Chance) -> Option<DiskSpec> {
    if !chance.percent(20) {
        return None;
    }
    let faults = FaultRates::none();
    Some(DiskSpec {
        size_bytes: chance.within(3..9) * MIB,
        sector_bytes: *chance.pick(&[512, 4096]),
        cache_bytes: *chance.pick(&[0, 1 << 20, 16 << 20]),
        atomic_bytes: *chance.pick(&[512, 4096]),
        faults: if chance.percent(50) { break_it(chance, faults, false) } else { faults },
        ..DiskSpec::default()
    })
}

/// Draws what befalls a disk that may break.
pub fn break_it(chance: &Chance, mut faults: FaultRates, beyond: bool) -> FaultRates {
    let silent = !beyond && chance.percent(60);
    let reported = !silent || chance.percent(50);
    let kinds: &[FaultKind] = &[
        FaultKind::LostWrite,
        FaultKind::MisdirectedWrite,
        FaultKind::MisdirectedRead,
        FaultKind::BitRot,
        FaultKind::ReadError,
        FaultKind::WriteError,
        FaultKind::FlushError,
        FaultKind::DeviceFailure,
        FaultKind::Hang,
    ];
    // Where nothing else has the data, hosts wait as long as it hangs.
    let kinds = if beyond { &kinds[..kinds.len() - 1] } else { kinds };
    for (index, &kind) in kinds.iter().enumerate() {
        let wanted = if index < 4 { silent } else { reported };
        if wanted && chance.percent(60) {
            let is_whole = matches!(kind, FaultKind::DeviceFailure | FaultKind::Hang);
            let most = if is_whole { 20 } else { 200 };
            faults = faults.with(kind, chance.spread(most) as f64 / 10_000.0);
        }
    }
    faults.hang = match chance.below(4) {
        0 => Duration::ZERO..Duration::ZERO,
        1 => Duration::from_millis(1)..Duration::from_secs(2),
        _ => Duration::from_secs(1)..Duration::from_secs(60),
    };
    faults.failure = match chance.below(3) {
        0 => Duration::ZERO..Duration::ZERO,
        _ => Duration::from_millis(1)..Duration::from_secs(3),
    };
    faults
}

fn volume(chance: &Chance, cores: usize, large: bool, sectors_left: &mut u64) -> VolumePlan {
    let most = (*sectors_left / BLOCK_SECTORS).max(8);
    let total = if large { most / 2 } else { chance.spread(most) } * BLOCK_SECTORS;
    *sectors_left = sectors_left.saturating_sub(total).max(8 * BLOCK_SECTORS);
    let count = 1 + chance.below(4);
    let is_sparse = chance.percent(30);
    let mut zones = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let length = (total / count).next_multiple_of(BLOCK_SECTORS).max(BLOCK_SECTORS);
        zones.push(at..at + length);
        at += length + if is_sparse { chance.spread(1 << 36) / BLOCK_SECTORS * BLOCK_SECTORS } else { 0 };
    }
    let last = zones.last().expect("at least one").clone();
    // The size may end inside a block, and inside the last zone, which is all there once the volume has grown.
    let end = last.end - chance.below((last.end - last.start).min(24));
    VolumePlan {
        size_bytes: end.max(1) * SECTOR_BYTES as u64,
        zones,
        settings: VolumeSettings {
            durability: if chance.percent(25) { Durability::Always } else { Durability::Flush },
            ..VolumeSettings::default()
        },
        encrypted: false,
        core: chance.below(cores as u64) as usize,
    }
}

/// How volumes of scenarios deduplicate.
pub const DEDUPLICATIONS: [Deduplication; 4] =
    [Deduplication::Off, Deduplication::Off, Deduplication::Verified, Deduplication::Hashed];

/// The volume with compression and encryption, or not.
fn stored_somehow(plan: VolumePlan, chance: &Chance) -> VolumePlan {
    let compression =
        *chance.pick(&[Compression::Off, Compression::Off, Compression::Lz4, Compression::Zstd]);
    let deduplication = *chance.pick(&DEDUPLICATIONS);
    let history_s = if chance.percent(25) { 1 + chance.below(4) as u32 } else { 0 };
    let settings = VolumeSettings { compression, deduplication, history_s, ..plan.settings };
    VolumePlan { settings, encrypted: chance.percent(40), ..plan }
}
