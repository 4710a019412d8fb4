//! Erases what was on the disks and writes their labels, forming first, then ready.

use std::collections::BTreeMap;

use quarry_env::Env;
use quarry_format::label::{Label, LabelState, Member, TierPolicy, path_hint, segment_bytes_for, slots_for};

use super::FormatRequest;
use super::take::Taken;
use crate::device::Device;
use crate::error::{FormatError, PathError};
use crate::labels::{self, usable_bytes};
use crate::open::in_open_time;

const FORMING_SEQUENCE: u64 = 1;

/// Erases every disk, one after the other: those behind one that fails are not touched.
pub async fn erase_all(env: &Env, taken: &[Taken]) -> Result<(), FormatError> {
    for taken in taken {
        labels::erase(&*taken.disk, &env.buffers).await.map_err(failed(taken, "erase what is on it"))?;
    }
    Ok(())
}

/// Labels every disk. After an error the labels are taken off again.
pub async fn write_all(
    env: &Env,
    request: &FormatRequest,
    taken: &[Taken],
) -> Result<Vec<Device>, FormatError> {
    for taken in taken {
        taken.disk.hold().await.map_err(failed(taken, "hold it"))?;
    }
    let forming = forming_label(env, request, taken);
    let ready = Label { state: LabelState::Ready, sequence: FORMING_SEQUENCE + 1, ..forming.clone() };
    if let Err(error) = form(env, taken, &forming, &ready).await {
        undo(env, taken).await;
        return Err(error);
    }
    let device = |(index, taken): (u16, &Taken)| {
        Device::new(env, taken.path.clone(), taken.disk.clone(), ready.for_member(index), None)
    };
    Ok((0..).zip(taken).map(device).collect())
}

async fn form(env: &Env, taken: &[Taken], forming: &Label, ready: &Label) -> Result<(), FormatError> {
    write_labels(env, taken, forming).await?;
    check_written(env, taken, forming).await?;
    write_labels(env, taken, ready).await
}

fn failed(taken: &Taken, operation: &'static str) -> impl FnOnce(std::io::Error) -> PathError {
    let path = taken.path.clone();
    move |source| PathError { path, operation, source }
}

fn forming_label(env: &Env, request: &FormatRequest, taken: &[Taken]) -> Label {
    let size_bytes = |taken: &Taken| usable_bytes(taken.disk.geometry().size_bytes);
    let segment_bytes = segment_bytes_for(taken.iter().map(size_bytes));
    let member = |(index, taken): (u16, &Taken)| Member {
        device: taken.device,
        index,
        size_bytes: size_bytes(taken),
        slots: slots_for(size_bytes(taken), segment_bytes),
        sector_bytes: taken.disk.geometry().sector_bytes,
        class: taken.class,
        created_file: taken.created,
        leaving: false,
        path: path_hint(&taken.path.to_string_lossy()),
    };
    Label {
        sequence: FORMING_SEQUENCE,
        state: LabelState::Forming,
        pool: request.pool,
        pool_name: request.pool_name.clone(),
        protection: request.protection,
        segment_bytes,
        tier_policy: TierPolicy::Automatic,
        log_policies: BTreeMap::new(),
        created_ms: u64::try_from(env.clock.wall().as_millis()).unwrap_or(u64::MAX),
        device_index: 0,
        members: (0..).zip(taken).map(member).collect(),
    }
}

async fn write_labels(env: &Env, taken: &[Taken], label: &Label) -> Result<(), FormatError> {
    for (index, taken) in (0..).zip(taken) {
        let written = labels::write(&*taken.disk, &env.buffers, &label.for_member(index)).await;
        written.map_err(failed(taken, "write its label"))?;
    }
    Ok(())
}

/// Reads every label back. Two paths may lead to one disk in ways that no path tells (hard links, two cables to one
/// LUN): then the first of them carries the label of the last.
async fn check_written(env: &Env, taken: &[Taken], label: &Label) -> Result<(), FormatError> {
    for (index, this) in (0..).zip(taken) {
        let copies = labels::read(&*this.disk, &env.buffers).await.map_err(failed(this, "read its label"))?;
        let expected = label.for_member(index);
        for copy in copies {
            match copy {
                Ok(found) if found == expected => {}
                Ok(found) if found.pool == expected.pool && found.device_index != index => {
                    let second = taken[usize::from(found.device_index)].path.clone();
                    return Err(FormatError::Same { first: this.path.clone(), second });
                }
                _ => return Err(FormatError::Changed { path: this.path.clone() }),
            }
        }
    }
    Ok(())
}

/// Takes the labels off again, as far as the disks still answer.
pub async fn undo(env: &Env, taken: &[Taken]) {
    for taken in taken {
        let erasing =
            in_open_time(env, (&taken.path, "erase its label"), labels::erase(&*taken.disk, &env.buffers));
        let erased = erasing.await.and_then(|erased| erased.map_err(failed(taken, "erase its label")));
        if let Err(error) = erased {
            let path = taken.path.display();
            tracing::warn!(%path, %error, "a device of a pool that could not be made keeps its label");
        }
    }
}
