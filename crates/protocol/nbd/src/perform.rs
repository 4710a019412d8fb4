//! What a valid request asks of the volume (proto.md, "Request types").

use std::rc::Rc;

use quarry_env::View;
use quarry_target::{Counters, Member};
use quarry_types::SECTOR_BYTES;
use quarry_volume::{Extent, Result, Volume, WriteFlags, ZeroMode};

use crate::constants::{command_flags as flag, commands};
use crate::limits::{CACHE_BYTES_AT_ONCE, CACHE_BYTES_MAX, EXTENTS_MAX};
use crate::wire::RequestHeader;
use crate::work::Work;

/// Memory of an extent on its way to the client: as the volume returns it, and as it is sent.
const EXTENT_BYTES: usize = std::mem::size_of::<Extent>() + 16;

/// Whether the client says goodbye. Whatever else the request contains, nothing follows it.
pub(crate) fn is_disconnect(header: &RequestHeader) -> bool {
    header.command == commands::DISC
}

/// Whether the client prefers an error to a slow success.
pub(crate) fn is_fast_zero(header: &RequestHeader) -> bool {
    header.command == commands::WRITE_ZEROES && header.has(flag::FAST_ZERO)
}

/// Whether the reservations of the volume allow a valid request (NVMe Base 2.0, figure 126, has a flush among the writes).
pub(crate) fn is_allowed(member: &Member, header: &RequestHeader) -> bool {
    match header.command {
        commands::READ | commands::CACHE | commands::BLOCK_STATUS => member.may_read(),
        _ => member.may_write(),
    }
}

/// Memory that a request without payload holds until its reply has been sent, in bytes.
pub(crate) fn held_bytes(header: &RequestHeader) -> u64 {
    match header.command {
        commands::READ => header.length,
        commands::CACHE => header.length.min(u64::from(CACHE_BYTES_AT_ONCE)),
        commands::BLOCK_STATUS => (extents_max(header) * EXTENT_BYTES) as u64,
        _ => 0,
    }
}

/// A range cannot have more extents than sectors.
fn extents_max(header: &RequestHeader) -> usize {
    let sectors = header.length.div_ceil(SECTOR_BYTES as u64);
    if header.has(flag::REQ_ONE) { 1 } else { sectors.clamp(1, EXTENTS_MAX as u64) as usize }
}

/// Counts a request that is about to be carried out.
pub(crate) fn count(counters: &Counters, header: &RequestHeader) {
    match header.command {
        commands::READ => counters.read(header.length),
        commands::WRITE => counters.write(header.length),
        _ => counters.other(),
    }
}

/// The volume's work for a request that was found to be valid; nothing for one that asks for nothing.
pub(crate) fn work<'v>(
    volume: &'v Rc<dyn Volume>,
    header: &RequestHeader,
    payload: Option<View>,
) -> Option<Work<'v>> {
    let RequestHeader { command, offset, length, .. } = *header;
    let flags = WriteFlags { fua: header.has(flag::FUA) };
    if length == 0 && command != commands::FLUSH {
        return None;
    }
    Some(match command {
        commands::READ => Work::Read(volume.read(offset, length as u32)),
        commands::WRITE => Work::Change(volume.write(offset, payload?, flags)),
        commands::FLUSH => Work::Change(volume.flush()),
        commands::TRIM => Work::Change(volume.discard(offset, length, flags)),
        commands::WRITE_ZEROES => {
            let mode = match header.has(flag::NO_HOLE) {
                true => ZeroMode::KeepAllocated,
                false => ZeroMode::MayUnmap,
            };
            Work::Change(volume.write_zeroes(offset, length, mode, flags))
        }
        commands::CACHE => Work::Change(Box::pin(read_ahead(volume.as_ref(), offset, length))),
        commands::BLOCK_STATUS => Work::Status(volume.extents(offset, length, extents_max(header))),
        _ => unreachable!("command {command} was found to be valid"),
    })
}

/// Reads a range and throws it away, so that it is where the volume keeps what was read lately.
async fn read_ahead(volume: &dyn Volume, offset: u64, length: u64) -> Result<()> {
    let end = offset + length.min(CACHE_BYTES_MAX);
    let mut at = offset;
    while at < end {
        let now = (end - at).min(u64::from(CACHE_BYTES_AT_ONCE));
        volume.read(at, now as u32).await?;
        at += now;
    }
    Ok(())
}

/// Holds a volume to its word on extents: some, in order, inside the range; no more than were asked for.
pub(crate) fn fit(mut extents: Vec<Extent>, header: &RequestHeader) -> Vec<Extent> {
    let end = header.offset + header.length;
    extents.truncate(extents_max(header));
    let mut at = header.offset;
    for extent in &extents {
        let range = &extent.range;
        assert!(range.start == at && range.end > at && range.end <= end, "extents cover the range in order");
        at = range.end;
    }
    assert!(!extents.is_empty(), "a volume returns at least one extent");
    extents
}
