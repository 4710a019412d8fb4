//! What a caller of a disk must keep to.

use crate::fault::Verb;

use super::operation::Request;
use super::state::DiskState;

/// Checks what O_DIRECT and the geometry demand: a bug here would be EINVAL on a real disk.
pub(super) fn check(state: &DiskState, request: &Request, offset: u64, length: u64) {
    let sector = u64::from(state.spec.sector_bytes);
    let verb = request.verb();
    if verb == Verb::Flush {
        return;
    }
    assert!(length > 0, "an empty {verb:?} at {offset:#x}");
    assert!(
        offset.is_multiple_of(sector) && length.is_multiple_of(sector),
        "{verb:?} of {length:#x} bytes at {offset:#x} is not aligned to sectors of {sector}"
    );
    let end = offset.checked_add(length);
    assert!(
        end.is_some_and(|end| end <= state.spec.size_bytes),
        "{verb:?} of {length:#x} bytes at {offset:#x} leaves the disk of {:#x}",
        state.spec.size_bytes
    );
    let aligned = |bytes: &[u8]| {
        (bytes.as_ptr() as usize).is_multiple_of(sector as usize)
            && bytes.len().is_multiple_of(sector as usize)
    };
    match request {
        Request::Read(Some((buffer, _))) => assert!(aligned(buffer), "a read into unaligned memory"),
        Request::Write(data, _) => {
            assert!(data.iter().all(|view| aligned(view)), "a write from unaligned memory: {data:?}");
        }
        _ => {}
    }
}
