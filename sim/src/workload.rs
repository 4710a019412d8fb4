//! The load: hosts that each do one random operation after the other on a volume, and an administrator.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use quarry_env::Env;
use quarry_types::limits::{ATOMIC_BYTES_MAX, BLOCK_SECTORS, SECTOR_BYTES};
use quarry_types::{Compression, Deduplication, Durability, VolumeId, VolumeSettings};

use crate::client::{Client, Style};
use crate::content::{self, COMMON};
use crate::fleet::Fleet;
use crate::model::{Finding, Model, OpId};
use crate::node::{Engines, text, volume_name};
use crate::scenario::{Access, DEDUPLICATIONS};
use crate::target::{Failed, Target};
use crate::{Chance, Scenario, keys, membership, snapshots};

const SECTOR: u64 = SECTOR_BYTES as u64;
/// How often a host tries to connect before it gives up for this life.
const CONNECTS_MAX: usize = 20;
/// The longest that a host waits between two operations while devices come and go.
const HOST_PAUSE_US_MAX: u64 = 2_000_000;
/// The longest of the pauses in which chunks are grouped.
const GROUPING_PAUSE_MS_MAX: u64 = 4000;
/// Most bytes that are compared before a write.
const COMPARE_BYTES_MAX: usize = 64 << 10;
/// How often an exchange is tried.
const EXCHANGES_MAX: usize = 8;
/// Versions that all volumes write.
const COMMON_VERSIONS: u64 = 3;

/// What all hosts of one life share with the driver.
pub struct Shared {
    pub scenario: Rc<Scenario>,
    pub chance: Chance,
    pub model: Rc<RefCell<Model>>,
    pub fleet: Rc<Fleet>,
    /// The first thing that must not be.
    pub finding: RefCell<Option<Finding>>,
    /// Hosts that have not ended.
    pub running: Cell<usize>,
    /// Operations that were acknowledged.
    pub acknowledged: Cell<u64>,
    /// Errors that the scenario allows.
    pub errors: Cell<u64>,
}

impl Shared {
    pub fn find(&self, finding: Finding) {
        self.finding.borrow_mut().get_or_insert(finding);
    }

    fn check(&self, result: Result<(), Finding>) {
        if let Err(finding) = result {
            self.find(finding);
        }
    }

    /// Notes a failed operation; false when the host should go on all the same.
    pub fn failed(&self, verb: &str, failed: Failed) {
        self.errors.set(self.errors.get() + 1);
        match failed {
            Failed::Closed => {}
            Failed::NoSpace if self.scenario.may_be_full() => {}
            _ if self.scenario.beyond => {}
            failed => self.find(Finding(format!("{verb} failed: {failed:?}"))),
        }
    }

    fn done(&self) {
        self.acknowledged.set(self.acknowledged.get() + 1);
    }
}

/// How hosts come by their volume.
#[derive(Clone)]
pub struct Door {
    /// The cores of the node, for direct access.
    pub envs: Rc<Vec<Env>>,
    /// The process of the clients, for NBD.
    pub client: Option<Env>,
    pub engines: Rc<Engines>,
}

impl Door {
    async fn target(&self, shared: &Shared, volume: usize) -> Option<Target> {
        let scenario = &shared.scenario;
        if let (Access::Nbd, Some(env)) = (scenario.access, &self.client) {
            for _ in 0..CONNECTS_MAX {
                let style = *shared.chance.pick(&[Style::Simple, Style::Structured, Style::Extended]);
                if let Some(client) = Client::open(env, style, &volume_name(volume)).await {
                    return Some(Target::Nbd(client));
                }
                env.clock.sleep(std::time::Duration::from_millis(5)).await;
            }
            return None;
        }
        let plan = &scenario.volumes[volume];
        match self.engines[plan.core].volume(scenario.volume_id(volume)) {
            Ok(found) => Some(Target::Direct(self.envs[plan.core].clone(), found)),
            Err(error) => {
                shared.find(Finding(format!("volume {volume}: {}", text(error))));
                None
            }
        }
    }
}

/// One host of a volume.
pub async fn host(shared: Rc<Shared>, door: Door, volume: usize) {
    let mut target = door.target(&shared, volume).await;
    for _ in 0..shared.scenario.ops {
        if target.as_ref().is_some_and(Target::is_closed) {
            target = door.target(&shared, volume).await;
        }
        let Some(target) = &target else { break };
        if shared.finding.borrow().is_some() {
            break;
        }
        step(&shared, target, volume).await;
        let env = door.client.as_ref().unwrap_or(&door.envs[shared.scenario.volumes[volume].core]);
        if shared.scenario.is_coded() && shared.chance.percent(4) {
            // Groups are made while hosts do little.
            env.clock
                .sleep(std::time::Duration::from_millis(shared.chance.spread(GROUPING_PAUSE_MS_MAX)))
                .await;
        }
        if shared.scenario.membership {
            // What happens to devices takes its time.
            let pause = std::time::Duration::from_micros(shared.chance.spread(HOST_PAUSE_US_MAX));
            env.clock.sleep(pause).await;
        }
    }
    if let Some(Target::Nbd(client)) = target {
        client.close();
    }
    shared.running.set(shared.running.get() - 1);
}

async fn step(shared: &Shared, target: &Target, volume: usize) {
    let sectors = place(shared, target, volume);
    let fua = shared.chance.percent(10);
    match shared.chance.below(100) {
        0..45 => write(shared, target, volume, sectors, fua).await,
        45..66 => read(shared, target, volume, sectors).await,
        66..76 => zero(shared, target, volume, sectors, fua).await,
        76..85 => discard(shared, target, volume, sectors, fua).await,
        85..94 => flush(shared, target, volume).await,
        _ => extents(shared, target, volume, sectors).await,
    }
}

/// Sectors in one zone.
fn place(shared: &Shared, target: &Target, volume: usize) -> Range<u64> {
    let chance = &shared.chance;
    let end = target.size_bytes() / SECTOR;
    let zones: Vec<Range<u64>> = shared.model.borrow().zones(volume);
    let zones: Vec<Range<u64>> = zones.into_iter().filter(|zone| zone.start < end).collect();
    let zone = chance.pick(&zones).clone();
    let zone = zone.start..zone.end.min(end);
    let length = chance.spread(shared.scenario.sectors_max.min(zone.end - zone.start));
    let mut start = zone.start + chance.below(zone.end - zone.start - length + 1);
    // Half of the operations touch whole blocks only, where there is room for one.
    if chance.percent(50) && length >= 8 {
        start = (start / 8 * 8).max(zone.start);
        return start..start + length / 8 * 8;
    }
    start..start + length
}

fn flushes(shared: &Shared, volume: usize, fua: bool) -> bool {
    fua || shared.scenario.volumes[volume].settings.durability == Durability::Always
}

async fn write(shared: &Shared, target: &Target, volume: usize, sectors: Range<u64>, fua: bool) {
    let plans = &shared.scenario.volumes;
    let deduplicates = plans.iter().any(|plan| plan.settings.deduplication != Deduplication::Off);
    let (op, value) = {
        let mut model = shared.model.borrow_mut();
        let op = if deduplicates && shared.chance.percent(50) {
            model.begin_common_write(volume, sectors.clone(), COMMON + shared.chance.below(COMMON_VERSIONS))
        } else {
            model.begin_write(volume, sectors.clone())
        };
        (op, model.value(op))
    };
    let mut data = vec![0; ((sectors.end - sectors.start) * SECTOR) as usize];
    content::fill(&mut data, shared.scenario.seed, volume, sectors.start, value);
    let (offset, is_direct) = (sectors.start * SECTOR, matches!(target, Target::Direct(..)));
    // What kind of write it is follows from its number, so that the choices of a seed stay what they were.
    let result = match value % 8 {
        3 if is_direct && is_atomic(&sectors) => {
            shared.model.borrow_mut().set_whole(op, true);
            target.write_atomic(offset, &data, fua).await
        }
        5 if is_direct && data.len() <= COMPARE_BYTES_MAX => {
            shared.model.borrow_mut().set_whole(op, true);
            exchange(shared, target, (volume, op), sectors, &data, fua).await
        }
        _ => target.write(offset, &data, fua).await,
    };
    end(shared, "write", op, flushes(shared, volume, fua), result);
}

/// Whether sectors can be written as a whole.
fn is_atomic(sectors: &Range<u64>) -> bool {
    let blocks = (sectors.start | sectors.end).is_multiple_of(u64::from(BLOCK_SECTORS));
    blocks && (sectors.end - sectors.start) * SECTOR <= ATOMIC_BYTES_MAX as u64
}

/// Reads, and writes if that is still there; if it is not, tries again with what is there then. What was found is as good as a read
/// of that moment, and where nobody else writes it must be found.
async fn exchange(
    shared: &Shared,
    target: &Target,
    (volume, op): (usize, OpId),
    sectors: Range<u64>,
    data: &[u8],
    fua: bool,
) -> Result<(), Failed> {
    for _ in 0..EXCHANGES_MAX {
        let before = shared.model.borrow_mut().begin_read();
        let expected = target.read(sectors.start * SECTOR, data.len() as u64).await?;
        let since = shared.model.borrow_mut().begin_read();
        if target.exchange(sectors.start * SECTOR, &expected, data, fua).await? {
            let checked = shared.model.borrow_mut().check_read(volume, sectors.start, &expected, since);
            shared.check(checked);
            return Ok(());
        }
        if shared.model.borrow().is_quiet_but_for(op, volume, sectors.clone(), before) {
            shared
                .find(Finding(format!("volume {volume}, sectors {sectors:?}: nobody wrote, and it differs")));
        }
    }
    // Others write there all the time: it is done as a plain write.
    shared.model.borrow_mut().set_whole(op, false);
    target.write(sectors.start * SECTOR, data, fua).await
}

async fn zero(shared: &Shared, target: &Target, volume: usize, sectors: Range<u64>, fua: bool) {
    let op = shared.model.borrow_mut().begin_zero(volume, sectors.clone());
    let (offset, length) = (sectors.start * SECTOR, (sectors.end - sectors.start) * SECTOR);
    let keep = shared.chance.percent(30);
    let result = target.write_zeroes(offset, length, keep, fua).await;
    end(shared, "write zeroes", op, flushes(shared, volume, fua), result);
}

async fn discard(shared: &Shared, target: &Target, volume: usize, sectors: Range<u64>, fua: bool) {
    // Now and then from here to the end of the volume.
    let to_end = shared.chance.percent(10) && matches!(target, Target::Direct(..));
    let sectors = if to_end { sectors.start..target.size_bytes() / SECTOR } else { sectors };
    let (freed, sizes) = {
        let model = shared.model.borrow();
        (model.discarded(volume, sectors.clone()), model.sizes(volume))
    };
    // Whether the last block of a volume that grows meanwhile is a whole one is not promised.
    let whole = freed.start..(freed.end / 8 * 8).max(freed.start);
    let op = shared.model.borrow_mut().begin_zero(volume, whole.clone());
    let rest = shared.model.borrow_mut().begin_zero(volume, whole.end..freed.end);
    let (offset, length) = (sectors.start * SECTOR, (sectors.end - sectors.start) * SECTOR);
    let result = target.discard(offset, length, fua).await;
    let grown = !sizes.1.is_empty() || shared.model.borrow().sizes(volume) != sizes;
    match &result {
        Ok(()) if grown => shared.model.borrow_mut().fail(rest),
        Ok(()) => shared.model.borrow_mut().acknowledge(rest, flushes(shared, volume, fua)),
        Err(Failed::Closed) => {}
        Err(_) => shared.model.borrow_mut().fail(rest),
    }
    end(shared, "discard", op, flushes(shared, volume, fua), result);
}

fn end(shared: &Shared, verb: &str, op: OpId, flushed: bool, result: Result<(), Failed>) {
    let mut model = shared.model.borrow_mut();
    match result {
        Ok(()) => {
            model.acknowledge(op, flushed);
            shared.done();
        }
        // Nobody knows: it may still take effect.
        Err(Failed::Closed) => {}
        Err(failed) => {
            model.fail(op);
            shared.failed(verb, failed);
        }
    }
}

async fn read(shared: &Shared, target: &Target, volume: usize, sectors: Range<u64>) {
    let since = shared.model.borrow_mut().begin_read();
    let length = (sectors.end - sectors.start) * SECTOR;
    match target.read(sectors.start * SECTOR, length).await {
        Ok(bytes) if bytes.len() as u64 != length => {
            shared.find(Finding(format!("a read of {length} bytes gave {}", bytes.len())));
        }
        Ok(bytes) => {
            let checked = shared.model.borrow_mut().check_read(volume, sectors.start, &bytes, since);
            shared.check(checked);
        }
        Err(failed) => shared.failed("read", failed),
    }
}

async fn flush(shared: &Shared, target: &Target, volume: usize) {
    let since = shared.model.borrow_mut().begin_flush();
    match target.flush().await {
        Ok(()) => shared.model.borrow_mut().end_flush(volume, since),
        Err(failed) => shared.failed("flush", failed),
    }
}

async fn extents(shared: &Shared, target: &Target, volume: usize, sectors: Range<u64>) {
    let since = shared.model.borrow_mut().begin_read();
    let (offset, length) = (sectors.start * SECTOR, (sectors.end - sectors.start) * SECTOR);
    let max = 1 + shared.chance.below(20) as usize;
    let extents = match target.extents(offset, length, max).await {
        Ok(extents) => extents,
        Err(failed) => return shared.failed("block status", failed),
    };
    let mut at = offset;
    for pair in extents.windows(2) {
        if pair[0].1 == pair[1].1 {
            shared.find(Finding(format!("volume {volume}: neighbouring extents of one kind: {extents:?}")));
        }
    }
    for &(length, hole) in &extents {
        let end = (at + length).min(sectors.end * SECTOR);
        if length == 0 {
            shared.find(Finding(format!("volume {volume}: an empty extent: {extents:?}")));
        }
        if hole {
            let range = at.div_ceil(SECTOR)..end / SECTOR;
            let checked = shared.model.borrow_mut().check_hole(volume, range, since);
            shared.check(checked);
        }
        at = end;
    }
}

/// Checkpoints, grows volumes, takes and deletes snapshots, and makes and deletes volumes of its own, until the hosts have ended.
pub async fn administrator(shared: Rc<Shared>, door: Door) {
    let mut churned = 0u64;
    let life = shared.model.borrow_mut().begin_read();
    while shared.running.get() > 0 && shared.finding.borrow().is_none() {
        let pause = std::time::Duration::from_micros(shared.chance.spread(200_000));
        door.envs[0].clock.sleep(pause).await;
        if shared.scenario.membership && shared.chance.percent(40) {
            membership::step(&shared, &door).await;
            continue;
        }
        match shared.chance.below(10) {
            0..3 => {
                let engine = shared.chance.pick(&door.engines).clone();
                if let Err(error) = engine.checkpoint().await {
                    report(&shared, "checkpoint", text(error));
                }
            }
            3 => resize(&shared, &door).await,
            4 | 5 => {
                churned += 1;
                churn(&shared, &door, VolumeId::from_random(u128::from(life) << 32 | u128::from(churned)))
                    .await;
            }
            6 => keys::step(&shared, &door).await,
            _ if shared.scenario.snapshots => snapshots::step(&shared, &door).await,
            _ => {}
        }
    }
}

pub fn report(shared: &Shared, verb: &str, error: String) {
    shared.errors.set(shared.errors.get() + 1);
    let no_space = error.contains("full") && shared.scenario.may_be_full();
    if !shared.scenario.beyond && !no_space {
        shared.find(Finding(format!("{verb} failed: {error}")));
    }
}

async fn resize(shared: &Shared, door: &Door) {
    let volume = shared.chance.below(shared.scenario.volumes.len() as u64) as usize;
    let plan = &shared.scenario.volumes[volume];
    let now = shared.model.borrow().size_bytes(volume);
    let size_bytes = now + shared.chance.spread(40) * SECTOR;
    shared.model.borrow_mut().begin_resize(volume, size_bytes);
    match door.engines[plan.core].resize_volume(shared.scenario.volume_id(volume), size_bytes).await {
        Ok(()) => shared.model.borrow_mut().end_resize(volume, size_bytes),
        Err(error) => report(shared, "resize", text(error)),
    }
}

/// Makes a volume, writes to it, and deletes it, if nothing comes between.
async fn churn(shared: &Shared, door: &Door, id: VolumeId) {
    let core = shared.chance.below(door.engines.len() as u64) as usize;
    let engine = door.engines[core].clone();
    let size_bytes = shared.chance.spread(1 << 34).next_multiple_of(SECTOR);
    let key = shared.chance.percent(30).then(|| keys::new_key(id.0.as_u128()));
    let deduplication = *shared.chance.pick(&DEDUPLICATIONS);
    let settings =
        VolumeSettings { compression: Compression::Lz4, deduplication, ..VolumeSettings::default() };
    if let Err(error) = engine.create_volume(id, "passing", size_bytes, settings, key).await {
        return report(shared, "create", text(error));
    }
    let Ok(volume) = engine.volume(id) else {
        return shared.find(Finding("a volume that was created is not there".to_owned()));
    };
    let target = Target::Direct(door.envs[core].clone(), volume);
    for _ in 0..shared.chance.below(5) {
        let length = shared.chance.spread(64).min(size_bytes / SECTOR);
        let start = shared.chance.below(size_bytes / SECTOR - length + 1);
        let data = vec![7; (length * SECTOR) as usize];
        if let Err(failed) = target.write(start * SECTOR, &data, false).await {
            shared.failed("write to a passing volume", failed);
            continue;
        }
        match target.read(start * SECTOR, length * SECTOR).await {
            Ok(read) if read == data => {}
            Ok(_) => shared.find(Finding("a passing volume holds something else".to_owned())),
            Err(failed) => shared.failed("read a passing volume", failed),
        }
    }
    if shared.chance.percent(80)
        && let Err(error) = engine.delete_volume(id, true).await
    {
        report(shared, "delete", text(error));
    }
}
