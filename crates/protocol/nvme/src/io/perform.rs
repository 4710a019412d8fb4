//! Carries out a request that was found to be valid.

use quarry_env::View;
use quarry_volume::{Result, Volume};

use super::request::{COPY_RANGE_BYTES, DATASET_RANGE_BYTES, Request, Verb};
use super::{compare, copy, dataset};
use crate::limits::STEP_BYTES;
use crate::outcome::Outcome;
use quarry_nvme_wire::Status;

/// Does what `request` asks for, with the data that the host has sent.
pub(crate) async fn perform(request: Request, data: Option<View>) -> Outcome {
    let Request { verb, volume, offset, length, flags, means } = request;
    let Some(open) = volume else { return Outcome::done() };
    // Somebody may have taken away the right since it was admitted: its data may have been long on its way.
    if let Err(status) = verb.may_begin(&open) {
        return status.into();
    }
    // A reservation command waits for others, and a fused half for its neighbour: neither is under way meanwhile.
    let waits = matches!(verb, Verb::Reserve(_) | Verb::Fused(_));
    let _under_way = (!waits).then(|| open.activity.begin());
    let volume = open.volume.as_ref();
    // A command that brings data was admitted with data.
    let payload = || data.clone().ok_or(Status::INTERNAL_ERROR);
    let changed = match verb {
        Verb::Nothing => Ok(()),
        Verb::Read => return read(volume, offset, length as u32, flags.fua).await,
        Verb::Write => match payload() {
            Ok(data) => volume.write(offset, data, flags).await,
            Err(status) => return status.into(),
        },
        Verb::Flush => volume.flush().await,
        Verb::WriteZeroes(mode) => volume.write_zeroes(offset, length, mode, flags).await,
        Verb::Verify => Box::pin(verify(volume, offset, length)).await,
        Verb::Compare => match payload() {
            Ok(data) => return Box::pin(compare::compare(volume, offset, &data)).await,
            Err(status) => return status.into(),
        },
        Verb::Deallocate => match payload() {
            Ok(data) => {
                return Box::pin(dataset::deallocate(
                    &open,
                    ranges(&data, length, DATASET_RANGE_BYTES),
                    flags,
                ))
                .await;
            }
            Err(status) => return status.into(),
        },
        Verb::Copy => match payload().and_then(|data| Ok((data, means.ok_or(Status::INTERNAL_ERROR)?))) {
            Ok((data, means)) => {
                let list = ranges(&data, length, COPY_RANGE_BYTES);
                return Box::pin(copy::copy(&open, offset, list, flags, &means.buffers)).await;
            }
            Err(status) => return status.into(),
        },
        Verb::Reserve(reserve) => {
            let Some(means) = means else { return Status::INTERNAL_ERROR.into() };
            let keys = data.as_deref().unwrap_or_default();
            return Box::pin(reserve.perform(open.member.clone(), keys, &means)).await;
        }
        Verb::Fused(part) => match payload() {
            Ok(data) => return Box::pin(part.perform(&open, offset, data, flags)).await,
            Err(status) => return status.into(),
        },
    };
    changed.map_or_else(Outcome::from, |()| Outcome::done())
}

/// The ranges of a list, behind which a host may have sent more.
fn ranges(data: &[u8], count: u64, range_bytes: u32) -> &[u8] {
    &data[..count as usize * range_bytes as usize]
}

async fn read(volume: &dyn Volume, offset: u64, length: u32, durable: bool) -> Outcome {
    if durable
        // What is returned must survive power loss.
        && let Err(error) = volume.flush().await
    {
        return error.into();
    }
    match volume.read(offset, length).await {
        Ok(views) => {
            let returned: usize = views.iter().map(|view| view.len()).sum();
            assert_eq!(returned, length as usize, "a volume returns as much as it was asked for");
            Outcome::data(views)
        }
        Err(error) => error.into(),
    }
}

/// Reads a range and throws it away: whether all of it can be read.
async fn verify(volume: &dyn Volume, offset: u64, length: u64) -> Result<()> {
    let (mut at, end) = (offset, offset + length);
    while at < end {
        let now = (end - at).min(u64::from(STEP_BYTES));
        volume.read(at, now as u32).await?;
        at += now;
    }
    Ok(())
}
