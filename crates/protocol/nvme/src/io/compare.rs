//! Compare: whether a range holds what the host expects.

use quarry_volume::Volume;

use crate::outcome::Outcome;
use quarry_nvme_wire::Status;

pub(super) async fn compare(volume: &dyn Volume, offset: u64, expected: &[u8]) -> Outcome {
    let found = match volume.read(offset, expected.len() as u32).await {
        Ok(found) => found,
        Err(error) => return error.into(),
    };
    let mut rest = expected;
    for view in &found {
        let (here, behind) = rest.split_at(view.len().min(rest.len()));
        if &view[..] != here {
            return Status::COMPARE_FAILURE.into();
        }
        rest = behind;
    }
    Outcome::done()
}
