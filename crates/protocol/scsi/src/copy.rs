//! EXTENDED COPY with a list identifier of 8 bits (SPC-4 6.4, "LID1"): blocks from one unit to another of the same nexus, without
//! the initiator in between.

mod list;

use std::rc::Rc;

use quarry_env::View;
use quarry_volume::WriteFlags;

use crate::cdb::Cdb;
use crate::command::{Step, Work};
use crate::course::Course;
use crate::limits::{BLOCK_BYTES, COPY_SEGMENT_BYTES_MAX, COPY_SEGMENTS_MAX, COPY_TARGETS_MAX, STEP_BYTES};
use crate::nexus::{CopyResult, Nexus};
use crate::read_write::failed;
use crate::reply::Reply;
use crate::sense::{Code, Key, Sense};
use crate::supported::{self, opcode};
use crate::unit::Unit;

pub(crate) use list::{CopyList, Segment};

/// Most bytes of target and segment descriptors together.
const DESCRIPTOR_BYTES_MAX: u32 = 4096;
/// Bytes in front of the descriptors.
const HEADER_BYTES: u32 = 16;
/// Segment descriptors that are understood, and the target descriptor.
const BLOCK_TO_BLOCK: u8 = 0x02;
const BLOCK_TO_BLOCK_OFFSET: u8 = 0x0A;
const IDENTIFICATION: u8 = 0xE4;
const DESCRIPTORS: [u8; 3] = [BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_OFFSET, IDENTIFICATION];

pub(crate) fn extended_copy(cdb: &Cdb) -> Result<Step, Sense> {
    match cdb.u32(10) {
        0 => Ok(Reply::good().into()),
        length if length > HEADER_BYTES + 2 * DESCRIPTOR_BYTES_MAX => {
            Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH))
        }
        length => Ok(Step::Work { work: Work::Copy, out_bytes: length, in_bytes: STEP_BYTES }),
    }
}

/// A copy could not go on at one of its segments.
const ABORTED: Sense = Sense::new(Key::CopyAborted, Code::COPY_TARGET_NOT_REACHABLE);

pub(crate) async fn perform(nexus: &Rc<Nexus>, data: Option<View>, course: &Course) -> Result<Reply, Sense> {
    let list = CopyList::parse(data.as_deref().unwrap_or_default())?;
    // Whoever ends what is under way on one of them ends the copy with it.
    for target in &list.targets {
        if let Some((unit, _)) = nexus.volume_of(|unit| target.is(unit.id())) {
            course.join(&unit);
        }
    }
    let mut result = CopyResult { list: list.identifier, segments: 0, bytes: 0, failed: false };
    for segment in &list.segments {
        if let Err(sense) = copy_segment(nexus, &list, segment, course).await {
            result.failed = true;
            nexus.remember_copy(result);
            return Err(sense);
        }
        result.segments += 1;
        result.bytes += segment.bytes;
    }
    if list.keeps_result {
        nexus.remember_copy(result);
    }
    Ok(Reply::good())
}

async fn copy_segment(
    nexus: &Rc<Nexus>,
    list: &CopyList,
    segment: &Segment,
    course: &Course,
) -> Result<(), Sense> {
    let reach = |index: u16| {
        let target = list.targets.get(usize::from(index)).ok_or(ABORTED)?;
        nexus.volume_of(|unit| target.is(unit.id())).ok_or(ABORTED)
    };
    let ((source, from), (destination, to)) = (reach(segment.source)?, reach(segment.destination)?);
    check_bounds(&source, segment.source_offset, segment.bytes)?;
    check_bounds(&destination, segment.destination_offset, segment.bytes)?;
    course.join(&source);
    course.join(&destination);
    let step = u64::from(STEP_BYTES);
    let steps = segment.bytes.div_ceil(step);
    // Upwards the destination would overwrite what is still to be read.
    let inside = segment.source_offset + 1..segment.source_offset + segment.bytes;
    let downwards = source.id() == destination.id() && inside.contains(&segment.destination_offset);
    for index in 0..steps {
        let done = if downwards { steps - 1 - index } else { index } * step;
        let now = (segment.bytes - done).min(step);
        may_go_on(nexus, course, &source, &destination)?;
        let at = segment.source_offset + done;
        let read = from.read(at, now as u32).await;
        let views = read.map_err(|error| failed(&source, &error, at / u64::from(BLOCK_BYTES)))?;
        let mut at = segment.destination_offset + done;
        for view in views {
            may_go_on(nexus, course, &source, &destination)?;
            let bytes = view.len() as u64;
            let written = to.write(at, view, WriteFlags::default()).await;
            written.map_err(|error| failed(&destination, &error, at / u64::from(BLOCK_BYTES)))?;
            at += bytes;
        }
    }
    Ok(())
}

/// Whether the next step may be done: the copy is not to end, and nobody has withdrawn, reserved or protected what it reads and
/// writes since the last step.
fn may_go_on(nexus: &Nexus, course: &Course, source: &Rc<Unit>, destination: &Rc<Unit>) -> Result<(), Sense> {
    course.go_on().map_err(|_| ABORTED)?;
    if !nexus.has(source) || !nexus.has(destination) {
        return Err(ABORTED);
    }
    if !source.member().may_read() || !destination.member().may_write() {
        return Err(ABORTED);
    }
    destination.write_protection()
}

fn check_bounds(unit: &Unit, offset: u64, bytes: u64) -> Result<(), Sense> {
    let block = u64::from(BLOCK_BYTES);
    unit.range(offset / block, bytes / block).map(|_| ()).map_err(|_| ABORTED)
}

pub(crate) fn results(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let data = match cdb.service_action() {
        0 => copy_status(nexus, cdb.u8(2))?,
        _ => operating_parameters(),
    };
    Ok(Reply::bytes(&unit.buffers, &data, cdb.u32(10)).into())
}

/// COPY STATUS (SPC-4 6.18.2).
fn copy_status(nexus: &Nexus, list: u8) -> Result<Vec<u8>, Sense> {
    let result = nexus.copy_result(list).ok_or(Sense::field_in_cdb(2))?;
    let mut data = vec![0; 12];
    data[3] = 8;
    data[4] = if result.failed { 2 } else { 1 };
    data[5..7].copy_from_slice(&result.segments.to_be_bytes());
    // In units of KiB.
    data[7] = 1;
    data[8..12].copy_from_slice(&((result.bytes >> 10) as u32).to_be_bytes());
    Ok(data)
}

/// OPERATING PARAMETERS (SPC-4 6.18.4).
fn operating_parameters() -> Vec<u8> {
    let mut data = vec![0; 44];
    // SNLID: copies without a list identifier are understood.
    data[4] = 1;
    data[8..10].copy_from_slice(&(COPY_TARGETS_MAX as u16).to_be_bytes());
    data[10..12].copy_from_slice(&(COPY_SEGMENTS_MAX as u16).to_be_bytes());
    data[12..16].copy_from_slice(&DESCRIPTOR_BYTES_MAX.to_be_bytes());
    data[16..20].copy_from_slice(&COPY_SEGMENT_BYTES_MAX.to_be_bytes());
    // One copy after the other is no rule; it is what is promised.
    data[35] = 1;
    data[36] = 1;
    data[37] = BLOCK_BYTES.ilog2() as u8;
    data[43] = DESCRIPTORS.len() as u8;
    data.extend_from_slice(&DESCRIPTORS);
    let length = (data.len() - 4) as u32;
    data[..4].copy_from_slice(&length.to_be_bytes());
    data
}

/// The body of the page of third-party copies (SPC-4 7.8.17).
pub(crate) fn third_party_page() -> Vec<u8> {
    let mut commands = Vec::new();
    for code in [opcode::EXTENDED_COPY, opcode::RECEIVE_COPY_RESULTS] {
        let actions: Vec<u8> = supported::of(code).iter().filter_map(|one| one.action).collect();
        commands.extend_from_slice(&[code, actions.len() as u8]);
        commands.extend_from_slice(&actions);
    }
    let listed = |list: &[u8]| [&[list.len() as u8], list].concat();
    let mut parameters = vec![0; 28];
    parameters[4..6].copy_from_slice(&(COPY_TARGETS_MAX as u16).to_be_bytes());
    parameters[6..8].copy_from_slice(&(COPY_SEGMENTS_MAX as u16).to_be_bytes());
    parameters[8..12].copy_from_slice(&DESCRIPTOR_BYTES_MAX.to_be_bytes());
    let parts: [(u16, Vec<u8>); 3] =
        [(0x0001, listed(&commands)), (0x0004, parameters), (0x0008, listed(&DESCRIPTORS))];
    let mut page = Vec::new();
    for (kind, mut body) in parts {
        body.resize(body.len().next_multiple_of(4), 0);
        page.extend_from_slice(&kind.to_be_bytes());
        page.extend_from_slice(&(body.len() as u16).to_be_bytes());
        page.extend_from_slice(&body);
    }
    page
}
