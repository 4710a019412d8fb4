//! Opening a pool: its devices, the newest anchor and image of each of its logs, and who owns which slot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use quarry_device::{
    AreCurrent, Device, Expected as ExpectedDevice, Member, OpenError as DeviceOpenError, OpenedMembers,
    open_device, open_members_if,
};
use quarry_ec::Shape;
use quarry_env::Env;
use quarry_format::anchor::Placement;
use quarry_format::image::{Image, ImageRun, ImageSegment};
use quarry_format::label::GRANULE_BYTES;
use quarry_types::{ChunkId, Incarnation, LogId, PoolId};
use smallvec::SmallVec;

use crate::image::read_image;
use crate::policies::Policies;
use crate::{
    Bitmap, Chunk, DeviceStatus, Geometry, Group, LogStore, OpenError, Pool, PoolShared, Run, Segment,
    SegmentTable,
};

/// A log as its newest image describes it; on its way to the core that will own it.
pub struct LogState {
    /// The log.
    pub log: LogId,
    /// Number of its newest image.
    pub sequence: u64,
    /// Where that image lies.
    pub image_chunks: Vec<Placement>,
    /// The image.
    pub image: Image,
}

/// A pool that is open on its first core.
pub struct OpenedPool {
    /// The pool on this core.
    pub pool: Rc<Pool>,
    /// Its logs.
    pub logs: Vec<LogState>,
}

/// Opens the pool `id` from the devices at `paths`. With devices missing it opens as long as every piece of data that its
/// images name has a copy left.
pub async fn open(env: &Env, id: PoolId, paths: &[PathBuf]) -> Result<OpenedPool, OpenError> {
    open_if(env, id, paths, &|_| Ok(())).await
}

/// The same if `are_current` says of the devices that are there that one of them has the newest state; else nothing was written.
pub async fn open_if(
    env: &Env,
    id: PoolId,
    paths: &[PathBuf],
    are_current: &AreCurrent<'_>,
) -> Result<OpenedPool, OpenError> {
    let members = open_members_if(env, id, paths, are_current).await?;
    let pool = assemble(env, members).watched();
    let mut logs = Vec::new();
    for anchor in pool.newest_anchors().await?.into_values() {
        let image = read_image(&pool, &anchor).await?;
        logs.push(LogState {
            log: anchor.log,
            sequence: anchor.sequence,
            image_chunks: anchor.chunks,
            image,
        });
    }
    for log in &logs {
        claim_slots(&pool, log)?;
        check_complete(&pool, log)?;
    }
    pool.shared.board.expect_logs(logs.len());
    Ok(OpenedPool { pool, logs })
}

/// The pool over devices that are open already, for instance because they were just formatted.
pub fn from_devices(env: &Env, devices: Vec<Device>) -> Rc<Pool> {
    assemble(env, OpenedMembers { devices, missing: Vec::new(), failures: Vec::new(), late: Vec::new() })
        .watched()
}

/// The same pool on another core. A device that cannot be opened is out of use on all cores; that none can is an error.
pub async fn attach(env: &Env, shared: &Arc<PoolShared>) -> Result<Rc<Pool>, OpenError> {
    let (mut devices, mut failure) = (Vec::new(), None);
    for status in shared.devices() {
        devices.resize(usize::from(status.index), None);
        let expected = ExpectedDevice { pool: Some(shared.id), device: Some(status.id) };
        let device = match shared.is_failed(status.index) {
            true => None,
            false => open_device(env, &status.path, expected).await.map_or_else(
                |error| {
                    shared.fail_device(status.index, format!("it could not be opened again: {error}"));
                    failure = Some(error);
                    None
                },
                |device| Some(Rc::new(device)),
            ),
        };
        devices.push(device);
    }
    match failure {
        Some(error) if devices.iter().all(Option::is_none) => Err(error.into()),
        _ => Ok(Pool::new(env.clone(), shared.clone(), devices).watched()),
    }
}

fn assemble(env: &Env, members: OpenedMembers) -> Pool {
    let label = members.devices.first().expect("open_members finds at least one").label();
    for failure in &members.failures {
        tracing::warn!(pool = %label.pool_name, %failure, "a device of the pool was not opened");
    }
    let last = label.members.iter().map(|member| member.index).max().unwrap_or(0);
    let mut devices: Vec<Option<Rc<Device>>> = vec![None; usize::from(last) + 1];
    for device in members.devices {
        let index = usize::from(device.index());
        devices[index] = Some(Rc::new(device));
    }
    let statuses = label
        .members
        .iter()
        .map(|member| status(member, devices[usize::from(member.index)].as_deref(), &members.failures));
    let geometry = Geometry { granule_bytes: GRANULE_BYTES, segment_bytes: label.segment_bytes };
    let shared = PoolShared::new(
        label.pool,
        label.pool_name.clone(),
        Policies::of_label(&label),
        geometry,
        statuses.collect::<Vec<_>>(),
    );
    members.late.into_iter().for_each(|(id, changes)| shared.board.count_late(id, changes));
    Pool::new(env.clone(), Arc::new(shared), devices)
}

/// A member as it is known from now on. `failures` is what was wrong with paths that did not open.
fn status(member: &Member, device: Option<&Device>, failures: &[DeviceOpenError]) -> DeviceStatus {
    let path = device.map_or_else(|| PathBuf::from(&member.path), |device| device.path().to_owned());
    DeviceStatus {
        index: member.index,
        id: member.device,
        path,
        slots: member.slots,
        class: member.class,
        leaving: member.leaving,
        failure: device.is_none().then(|| why_missing(member, failures)),
    }
}

fn why_missing(member: &Member, failures: &[DeviceOpenError]) -> String {
    let is_there = |failure: &&DeviceOpenError| failure.path() == Some(Path::new(&member.path));
    match failures.iter().find(is_there) {
        None | Some(DeviceOpenError::Missing { .. }) => {
            "it was not found when the pool was opened".to_owned()
        }
        Some(failure) => format!("it could not be used when the pool was opened: {failure}"),
    }
}

fn contradiction(pool: &Pool, log: LogId, what: String) -> OpenError {
    OpenError::Contradiction { pool: pool.shared.name.clone(), log, what }
}

/// Takes every slot that a log's image and anchor name.
fn claim_slots(pool: &Pool, state: &LogState) -> Result<(), OpenError> {
    let chunks = state.image.chunks.iter().map(|chunk| &chunk.placement);
    for placement in chunks.chain(&state.image_chunks) {
        for &slot in &placement.slots {
            if !pool.shared.allocator().claim(slot) {
                let what = format!("two chunks claim {slot:?}, one of them {}", placement.chunk);
                return Err(contradiction(pool, state.log, what));
            }
        }
    }
    Ok(())
}

/// Refuses a pool in which data that counts has no copy left, or may have none: the tail may go on in what is reserved.
fn check_complete(pool: &Pool, state: &LogState) -> Result<(), OpenError> {
    let tail = state.image.replay_from.address.segment();
    let sectors = pool.geometry().segment_sectors();
    let needed_runs = |segment: &ImageSegment| -> Vec<ChunkId> {
        let live = Bitmap::from_words(segment.live.clone(), sectors);
        let ends = segment.runs.iter().skip(1).map(|next| next.first_sector).chain([sectors]);
        let lives = |(run, end): &(&ImageRun, u32)| {
            let lives = |live: &Bitmap| live.count(run.first_sector.min(*end)..(*end).min(sectors)) > 0;
            // A bitmap of a wrong size is refused when the segment is opened.
            segment.segment >= tail || live.as_ref().is_none_or(lives)
        };
        segment.runs.iter().zip(ends).filter(lives).map(|(run, _)| run.chunk).collect()
    };
    let segments = state.image.segments.iter().flat_map(needed_runs);
    let needed: BTreeSet<ChunkId> = segments.chain(state.image.reserve.iter().copied()).collect();
    let is_lost = |placement: &&Placement| {
        needed.contains(&placement.chunk)
            && !placement.slots.iter().any(|slot| pool.device(slot.device).is_some())
    };
    // A chunk of a group is lost when too few of the group are there.
    let placements = state.image.chunks.iter().map(|chunk| &chunk.placement);
    let there =
        placements.filter(|placement| placement.slots.iter().any(|slot| pool.device(slot.device).is_some()));
    let there: BTreeSet<ChunkId> = there.map(|placement| placement.chunk).collect();
    let coded = state.image.groups.iter().filter(|group| {
        let members = group.data.iter().map(|(chunk, _)| chunk).chain(&group.parity);
        members.filter(|chunk| there.contains(chunk)).count() >= group.data.len()
    });
    let decodable: BTreeSet<ChunkId> =
        coded.flat_map(|group| group.data.iter().map(|(chunk, _)| *chunk)).collect();
    let is_lost = |placement: &&Placement| is_lost(placement) && !decodable.contains(&placement.chunk);
    let lost: Vec<&Placement> =
        state.image.chunks.iter().map(|chunk| &chunk.placement).filter(is_lost).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = pool
        .shared
        .devices()
        .iter()
        .filter_map(|device| Some(format!("{} ({})", device.path.display(), device.failure.as_ref()?)))
        .collect();
    Err(OpenError::TooFewDevices {
        pool: pool.shared.name.clone(),
        missing: missing.join(", "),
        chunks: lost.len(),
    })
}

/// What a log owns, as its image says, in a new incarnation that is not durable yet.
pub struct OpenedLog {
    /// The store; nothing may be appended before its first commit.
    pub store: Rc<LogStore>,
    /// The chunks that the image reserves.
    pub reserve: Vec<Rc<Chunk>>,
}

impl LogStore {
    /// A log that did not exist.
    pub fn create(pool: Rc<Pool>, log: LogId) -> Rc<Self> {
        pool.shared.board.expect_logs(1);
        let table = SegmentTable::default();
        Rc::new(Self::new(pool, log, Incarnation(1), table, 0, Vec::new()))
    }

    /// A log as its image describes it, in its next incarnation.
    pub fn open(pool: Rc<Pool>, state: &LogState) -> Result<OpenedLog, OpenError> {
        let mut chunks = BTreeMap::new();
        for image in &state.image.chunks {
            let chunk = Rc::new(Chunk::adopt(&pool.shared, state.log, &image.placement));
            let (sector, bytes) = image.packed_table;
            if u64::from(sector) * quarry_types::SECTOR_BYTES as u64 + u64::from(bytes)
                > pool.geometry().segment_bytes
            {
                let what = format!("chunk {} has its table beyond its end", image.placement.chunk);
                return Err(contradiction(&pool, state.log, what));
            }
            chunk.packed_table.set(image.packed_table);
            chunk.durable_table.set(Some(image.packed_table));
            chunk.sealed_at.set(image.sealed_at);
            chunks.insert(image.placement.chunk, chunk);
        }
        let named = |id: ChunkId| {
            let what = format!("chunk {id} is used but has no place");
            chunks.get(&id).cloned().ok_or_else(|| contradiction(&pool, state.log, what))
        };
        let mut table = SegmentTable::default();
        for image in &state.image.segments {
            let segment = open_segment(&pool, state.log, image, &named)?;
            table.insert(image.segment, segment);
        }
        let reserve = state.image.reserve.iter().map(|&id| named(id)).collect::<Result<_, _>>()?;
        let image_chunks = state
            .image_chunks
            .iter()
            .map(|placement| Rc::new(Chunk::adopt(&pool.shared, state.log, placement)))
            .collect();
        let incarnation = state.image.incarnation.next();
        let store = Self::new(pool, state.log, incarnation, table, state.sequence, image_chunks);
        open_groups(&store, state, &chunks)?;
        let in_segments = store.table().by_chunk().len();
        store.data_chunks.set(in_segments as u64);
        Ok(OpenedLog { store: Rc::new(store), reserve })
    }
}

/// The groups that an image describes.
fn open_groups(
    store: &LogStore,
    state: &LogState,
    chunks: &BTreeMap<ChunkId, Rc<Chunk>>,
) -> Result<(), OpenError> {
    for image in &state.image.groups {
        let wrong = |what: String| contradiction(&store.pool, state.log, what);
        let shape =
            Shape::new(image.data.len(), image.parity.len()).map_err(|error| wrong(error.to_string()))?;
        let ids = image.data.iter().map(|(chunk, _)| chunk).chain(&image.parity);
        let member = |id: &ChunkId| {
            let chunk =
                chunks.get(id).filter(|chunk| !chunk.is_coded() && !chunk.slots().is_empty()).cloned();
            chunk.ok_or_else(|| wrong(format!("chunk {id} of a group has no place, or is in two groups")))
        };
        let mut members = Vec::with_capacity(shape.members());
        for id in ids {
            members.push(member(id)?);
        }
        let segment_bytes = store.pool.geometry().segment_bytes as usize;
        let ends: Vec<usize> =
            image.data.iter().map(|(_, sectors)| *sectors as usize * quarry_types::SECTOR_BYTES).collect();
        if ends.iter().any(|&end| end > segment_bytes || !end.is_multiple_of(GRANULE_BYTES as usize)) {
            return Err(wrong("a group counts bytes beyond the end of a chunk".to_owned()));
        }
        store.add_group(Group::new(shape, members, ends));
    }
    Ok(())
}

/// A segment as an image describes it, if that can be.
fn open_segment(
    pool: &Pool,
    log: LogId,
    image: &ImageSegment,
    chunk: &impl Fn(ChunkId) -> Result<Rc<Chunk>, OpenError>,
) -> Result<Segment, OpenError> {
    let geometry = pool.geometry();
    let wrong = |what: &str| contradiction(pool, log, format!("segment {} {what}", image.segment));
    let bitmap = |words: &[u64]| {
        Bitmap::from_words(words.to_vec(), geometry.segment_sectors())
            .ok_or_else(|| wrong("has bitmaps of another size"))
    };
    let live = bitmap(&image.live)?;
    let kept = if image.kept.is_empty() { None } else { Some(bitmap(&image.kept)?) };
    if kept.is_none() && !matches!(&image.runs[..], [run] if run.first_sector == 0 && run.start_sector == 0) {
        return Err(wrong("was written to several places"));
    }
    let mut runs = SmallVec::new();
    for (index, &ImageRun { first_sector, chunk: id, start_sector }) in image.runs.iter().enumerate() {
        let end = image.runs.get(index + 1).map_or(geometry.segment_sectors(), |next| next.first_sector);
        if first_sector >= end || end > geometry.segment_sectors() {
            return Err(wrong("has runs out of order"));
        }
        let sectors = kept.as_ref().map_or(end, |kept| kept.count(first_sector..end));
        if u64::from(start_sector) + u64::from(sectors) > u64::from(geometry.segment_sectors()) {
            return Err(wrong("has a run beyond the end of its chunk"));
        }
        runs.push(Run { first_sector, chunk: chunk(id)?, start_sector });
    }
    Ok(Segment { runs, kept, end_sector: image.end_sector, live })
}
