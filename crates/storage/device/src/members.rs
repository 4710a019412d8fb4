//! Opening the devices of a pool together.
//!
//! The label with the highest sequence among them names the members and decides whether the pool exists. Devices with
//! an older one (power failed between two devices, or the device was away) get the newest label; so does everybody
//! when a device has moved to another path or is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use futures::future::join_all;
use quarry_env::Env;
use quarry_format::label::{Label, LabelState, Member, path_hint};
use quarry_types::{DeviceId, PoolId};

use crate::device::Device;
use crate::error::OpenError;
use crate::open::{Expected, open_in_any_state};

/// A device that is missing may carry the next label, which no other one has got before the power failed. What is decided without
/// it counts: the others get a label that is later than that.
const PASSED_BY_MISSING: u64 = 2;

/// Whether one of these devices has the newest state of their pool; if not, why that is known.
pub type AreCurrent<'a> = dyn Fn(&[DeviceId]) -> Result<(), String> + 'a;

/// What was found of a pool's devices.
#[derive(Debug)]
pub struct OpenedMembers {
    /// The devices, by rising index. All of them carry labels of the same sequence, durably.
    pub devices: Vec<Device>,
    /// Members that were not found or not usable, by rising index.
    pub missing: Vec<Member>,
    /// What was wrong with paths that did not become one of the devices.
    pub failures: Vec<OpenError>,
    /// Writes that devices which are not among these were sent and have not ended; see [`Device::late_changes`].
    pub late: Vec<(DeviceId, Arc<AtomicU32>)>,
}

/// Opens and locks every device of `pool` that lies at one of `paths`, or where a label that is found there says that
/// another member was seen last. Without any device, or when the pool is unfinished or deleted, that is the error.
///
/// Whether the devices that are missing can be done without is for the caller to say.
pub async fn open_members(env: &Env, pool: PoolId, paths: &[PathBuf]) -> Result<OpenedMembers, OpenError> {
    open_members_if(env, pool, paths, &|_| Ok(())).await
}

/// The same if `are_current` says of the devices that are there that one of them has the newest state; else its reason is the error, and
/// nothing was written. Labels that were brought up to date without the newest one would pass it.
pub async fn open_members_if(
    env: &Env,
    pool: PoolId,
    paths: &[PathBuf],
    are_current: &AreCurrent<'_>,
) -> Result<OpenedMembers, OpenError> {
    let mut gathering = Gathering { env, pool, tried: Vec::new(), opened: Vec::new(), failures: Vec::new() };
    gathering.try_paths(paths.to_vec()).await;
    let hinted = gathering.hinted_paths().into_iter().filter(|path| env.disks.exists(path)).collect();
    gathering.try_paths(hinted).await;
    gathering.settle(are_current).await
}

struct Gathering<'a> {
    env: &'a Env,
    pool: PoolId,
    tried: Vec<PathBuf>,
    opened: Vec<Device>,
    failures: Vec<OpenError>,
}

impl Gathering<'_> {
    /// All at once: a server's disk may have to be waited for until the claim of this node's last run on it has ended.
    async fn try_paths(&mut self, paths: Vec<PathBuf>) {
        let new: Vec<PathBuf> = paths.into_iter().filter(|path| self.is_new(path)).collect();
        let expected = Expected { pool: Some(self.pool), device: None };
        let opened = join_all(new.iter().map(|path| open_in_any_state(self.env, path, expected))).await;
        for (path, opened) in new.iter().zip(opened) {
            match opened {
                Ok(opened) => match self.opened.iter().find(|other| other.id() == opened.id()) {
                    Some(other) => self.failures.push(OpenError::Duplicate {
                        first: other.path().to_owned(),
                        second: path.to_owned(),
                    }),
                    None => self.opened.push(opened),
                },
                Err(error) => self.failures.push(error),
            }
        }
    }

    /// Whether the path was not tried yet by this or another name; now it counts as tried.
    fn is_new(&mut self, path: &Path) -> bool {
        let canonical = self.env.disks.canonical(path).unwrap_or_else(|_| path.to_owned());
        let new = !self.tried.contains(&canonical);
        if new {
            self.tried.push(canonical);
        }
        new
    }

    /// Where members were seen last that are not open.
    fn hinted_paths(&self) -> Vec<PathBuf> {
        let labels = self.opened.iter().map(|opened| opened.label());
        let members = labels.flat_map(|label| label.members.clone());
        members
            .filter(|member| !self.opened.iter().any(|opened| opened.id() == member.device))
            .map(|member| PathBuf::from(member.path))
            .collect()
    }

    async fn settle(mut self, are_current: &AreCurrent<'_>) -> Result<OpenedMembers, OpenError> {
        let Some(newest) = self.newest_label() else {
            return Err(OpenError::NoDevice { pool: self.pool, failures: self.failures });
        };
        check_current(are_current, &self.opened)?;
        self.check_state(&newest)?;
        self.refuse_removed(&newest);
        let target = self.target_label(&newest);
        let written =
            join_all(self.opened.iter().map(|device| device.in_time(bring_up_to_date(device, &target))))
                .await;
        let (mut devices, mut late) = (Vec::with_capacity(self.opened.len()), Vec::new());
        for (opened, written) in self.opened.into_iter().zip(written) {
            match written {
                Ok(()) => devices.push(opened),
                Err(error) => {
                    late.push((opened.id(), opened.late_changes()));
                    self.failures.push(error);
                }
            }
        }
        if devices.is_empty() {
            return Err(OpenError::NoDevice { pool: self.pool, failures: self.failures });
        }
        // The one with the newest state may have failed meanwhile.
        check_current(are_current, &devices)?;
        devices.sort_by_key(Device::index);
        let is_missing = |member: &Member| !devices.iter().any(|device| device.id() == member.device);
        let missing = target.members.into_iter().filter(is_missing).collect();
        Ok(OpenedMembers { devices, missing, failures: self.failures, late })
    }

    fn newest_label(&self) -> Option<Label> {
        let labels = self.opened.iter().map(|opened| opened.label());
        labels.max_by_key(|label| label.sequence).map(|label| Label::clone(&label))
    }

    /// One device that says the pool has ended is enough, and so is one that says it is ready: by then all were formed.
    fn check_state(&self, newest: &Label) -> Result<(), OpenError> {
        let find = |state| self.opened.iter().find(|opened| opened.label().state == state);
        let pool_name = newest.pool_name.clone();
        if let Some(ended) = find(LabelState::Ended) {
            return Err(OpenError::Ended { path: ended.path().to_owned(), pool_name });
        }
        match (find(LabelState::Ready), find(LabelState::Forming)) {
            (None, Some(forming)) => Err(OpenError::Forming { path: forming.path().to_owned(), pool_name }),
            _ => Ok(()),
        }
    }

    fn refuse_removed(&mut self, newest: &Label) {
        let is_member = |opened: &Device| {
            newest.member(opened.index()).is_some_and(|member| member.device == opened.id())
        };
        let (members, removed): (Vec<_>, Vec<_>) = self.opened.drain(..).partition(is_member);
        self.opened = members;
        self.failures.extend(removed.into_iter().map(|opened| OpenError::Removed {
            path: opened.path().to_owned(),
            pool_name: newest.pool_name.clone(),
        }));
    }

    /// What every device should carry: the newest label, or its successor where a device has moved.
    fn target_label(&self, newest: &Label) -> Label {
        let mut target = Label { state: LabelState::Ready, ..newest.clone() };
        let mut changed = newest.state != LabelState::Ready;
        for opened in &self.opened {
            let path = path_hint(&opened.path().to_string_lossy());
            let index = opened.index();
            let member = target.members.iter_mut().find(|member| member.index == index);
            if let Some(member) = member.filter(|member| member.path != path) {
                member.path = path;
                changed = true;
            }
        }
        let is_missing = |member: &Member| !self.opened.iter().any(|opened| opened.id() == member.device);
        target.sequence += match newest.members.iter().any(is_missing) {
            true => PASSED_BY_MISSING,
            false => u64::from(changed),
        };
        target
    }
}

fn check_current(are_current: &AreCurrent<'_>, devices: &[Device]) -> Result<(), OpenError> {
    let here: Vec<DeviceId> = devices.iter().map(Device::id).collect();
    are_current(&here).map_err(|reason| OpenError::Older { reason })
}

/// The repair comes first: while the new label is being written, the old one must be whole.
async fn bring_up_to_date(device: &Device, target: &Label) -> Result<(), OpenError> {
    device.repair_label().await?;
    let label = device.label();
    if label.sequence < target.sequence {
        device.write_label(target.for_member(label.device_index)).await?;
    }
    Ok(())
}
