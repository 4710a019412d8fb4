//! Which devices a pool has: one more, one less, one that has grown or come back, and how many copies it keeps.
//!
//! Whoever calls takes care that one change is made at a time, on one core. What every label says is changed first, durably; then
//! every core takes note ([`Pool::attach_member`], [`Pool::detach_member`]); only then is a new device used for anything new, and one
//! that is back at all ([`Pool::admit_member`]).

use std::collections::BTreeMap;
use std::rc::Rc;

use futures::future::join_all;
use quarry_device::{
    Device, DeviceClass, DeviceError, Expected, FormatError, JoinRequest, Label, LogPolicy,
    OpenError as DeviceOpenError, TierPolicy, forget_joining, open_device, prepare_to_join,
};
use quarry_types::{LogId, Protection};

use crate::allocator::{Counts, most};
use crate::policies::Policies;
use crate::{DeviceStatus, MemberUse, Pool};

/// What a log needs at least to work, in chunks: for its checkpoints, its images and its cleaner, and something for hosts.
pub const LOG_CHUNKS_MIN: u64 = 48;

/// What each log holds in the end, in bytes, one copy: what lives in it, and what is kept for its volumes.
pub type HeldBytes = BTreeMap<LogId, u64>;

/// Why the devices of a pool stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// There is no such device.
    #[error("pool {pool} has no such device")]
    NoMember {
        /// Name of the pool.
        pool: String,
    },
    /// Copies, and the chunks of a group, need distinct devices.
    #[error(
        "pool {pool} {} {protection}, which needs {} devices, and {left} that can take data would be left: add a device first",
        if *is_wanted { "would keep" } else { "keeps" },
        protection.devices()
    )]
    TooFewDevices {
        /// Name of the pool.
        pool: String,
        /// Protection of the pool.
        protection: Protection,
        /// Whether it is to have that only now.
        is_wanted: bool,
        /// Devices in use that would be left.
        left: usize,
    },
    /// What lies on the device does not fit on the others.
    #[error(
        "pool {pool}: what it holds does not fit so, beside what it needs to work: it takes {used} of {fits} slots, and copies and parity lie on distinct devices. Add a device first"
    )]
    NoRoom {
        /// Name of the pool.
        pool: String,
        /// Slots of the devices that there would be.
        fits: u64,
        /// Slots that what lives would take.
        used: u64,
    },
    /// Something lies on the device still.
    #[error("device {device} of pool {pool} holds {slots} chunks still")]
    NotEmpty {
        /// Name of the pool.
        pool: String,
        /// Where the device is.
        device: String,
        /// Slots that are taken.
        slots: u64,
    },
    /// What the device was sent before it was given up may still change it.
    #[error("{device} of pool {pool} has not ended {changes} writes that it was sent before it was given up")]
    Late {
        /// Name of the pool.
        pool: String,
        /// Where the device is.
        device: String,
        /// Writes and discards that are on their way.
        changes: u32,
    },
    /// No device took the new label.
    #[error("pool {pool}: no device took its new label")]
    NoLabel {
        /// Name of the pool.
        pool: String,
    },
    /// The new device cannot be used.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A device does not open.
    #[error(transparent)]
    Open(#[from] DeviceOpenError),
    /// A device has failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Pool {
    /// The newest label of the devices in use.
    fn label(&self) -> Result<Label, MembershipError> {
        let labels = self.healthy_devices().into_iter().map(|(_, device)| device.label());
        let newest = labels.max_by_key(|label| label.sequence);
        newest.map(|label| Label::clone(&label)).ok_or_else(|| self.no_label())
    }

    fn no_label(&self) -> MembershipError {
        MembershipError::NoLabel { pool: self.shared.name.clone() }
    }

    /// Writes a label to every device in use that it names. Whoever fails is out of use.
    async fn write_labels(&self, label: &Label) -> Result<(), MembershipError> {
        let _writing = self.labels.lock().await;
        let members = self.healthy_devices().into_iter().filter(|(index, _)| label.member(*index).is_some());
        let writes = members.map(async |(index, device)| {
            let written = device.write_label(label.for_member(index)).await;
            if let Err(error) = &written {
                self.shared.fail_device(index, format!("label could not be written: {error}"));
            }
            written.is_ok()
        });
        let written = join_all(writes).await;
        if written.contains(&true) { Ok(()) } else { Err(self.no_label()) }
    }

    /// Writes damaged copies of the labels of the devices in use again, and says how many these were. Whoever fails is out of use.
    /// On the core where labels are changed: only there it is known what they say.
    pub async fn mend_labels(&self) -> u64 {
        let _writing = self.labels.lock().await;
        let devices = self.healthy_devices().into_iter();
        let mended = devices.map(async |(index, device)| match device.mend_label().await {
            Ok(mended) => mended,
            Err(error) => {
                self.shared.fail_device(index, format!("label could not be written: {error}"));
                0
            }
        });
        join_all(mended).await.into_iter().sum()
    }

    /// The labels with one more change.
    async fn change_labels(&self, change: impl FnOnce(&mut Label)) -> Result<(), MembershipError> {
        let mut label = self.label()?;
        change(&mut label);
        label.sequence += 1;
        self.write_labels(&label).await
    }

    fn known_member(&self, index: u16) -> Result<DeviceStatus, MembershipError> {
        let none = || MembershipError::NoMember { pool: self.shared.name.clone() };
        self.shared.member(index).ok_or_else(none)
    }

    /// Makes a device a member. It takes nothing new before [`Self::admit_member`].
    pub async fn add_member(&self, request: &JoinRequest) -> Result<DeviceStatus, MembershipError> {
        let joining = prepare_to_join(&self.env, &self.label()?, request).await?;
        if let Err(error) = self.write_labels(&joining.label).await {
            forget_joining(&self.env, joining).await;
            return Err(error);
        }
        // From here on it is a member: what cannot be completed now is, when the pool is opened.
        let (device, label) = (joining.device, joining.label);
        let member = label.member(device.index()).expect("the label was made for it").clone();
        self.shared.board.count_late(device.id(), device.late_changes());
        let failure = device.in_time(device.write_label(label.for_member(member.index))).await.err();
        let failure = failure.map(|error| format!("its label could not be written: {error}"));
        let use_ = if failure.is_some() { MemberUse::Out } else { MemberUse::NoNew };
        let path = device.path().to_owned();
        let (index, id, slots, class) = (member.index, member.device, member.slots, member.class);
        let status = DeviceStatus { index, id, path, slots, class, leaving: false, failure };
        self.set_device(index, Some(device));
        self.shared.put_member(status.clone(), use_);
        Ok(status)
    }

    /// Opens a member on this core that has joined, come back, or grown, and takes note of what its label says. A device that does
    /// not open is out of use.
    pub async fn attach_member(&self, index: u16) -> Result<(), MembershipError> {
        let status = self.known_member(index)?;
        let expected = Expected { pool: Some(self.shared.id), device: Some(status.id) };
        match open_device(&self.env, &status.path, expected).await {
            Ok(device) => {
                let label = device.label();
                self.set_device(index, Some(Rc::new(device)));
                self.adopt_label(&label);
                Ok(())
            }
            Err(error) => {
                self.shared.fail_device(index, format!("it could not be opened: {error}"));
                Err(error.into())
            }
        }
    }

    /// Takes note on this core of a label that was written on another one.
    fn adopt_label(&self, label: &Label) {
        for (index, device) in self.healthy_devices() {
            if label.member(index).is_some() && device.label().sequence < label.sequence {
                device.adopt_label(Rc::new(label.for_member(index)));
            }
        }
    }

    /// Closes a device on this core.
    pub fn detach_member(&self, index: u16) {
        self.set_device(index, None);
    }

    /// Uses a member for everything, now that every core has it.
    pub fn admit_member(&self, index: u16) -> Result<(), MembershipError> {
        self.known_member(index)?;
        self.shared.change_member(index, |status, use_| match (&status.failure, status.leaving) {
            (None, false) => MemberUse::Full,
            (None, true) => MemberUse::NoNew,
            (Some(_), _) => use_,
        });
        Ok(())
    }

    /// Declares that everything on a device is to be moved elsewhere, or not any more. Durable on return.
    /// `held` is what the pool holds.
    pub async fn set_leaving(
        &self,
        index: u16,
        leaving: bool,
        held: &HeldBytes,
    ) -> Result<(), MembershipError> {
        let status = self.known_member(index)?;
        if status.leaving == leaving {
            return Ok(());
        }
        if leaving {
            self.check_left(&status, held)?;
        }
        self.change_labels(|label| {
            let member = label.members.iter_mut().find(|member| member.index == index);
            member.expect("labels name every member").leaving = leaving;
        })
        .await?;
        // It may have failed meanwhile, perhaps when its label was written.
        self.shared.change_member(index, |status, _| {
            status.leaving = leaving;
            match (&status.failure, leaving) {
                (Some(_), _) => MemberUse::Out,
                (None, true) => MemberUse::NoNew,
                (None, false) => MemberUse::Full,
            }
        });
        Ok(())
    }

    /// Whether the others can do without a device.
    fn check_left(&self, status: &DeviceStatus, held: &HeldBytes) -> Result<(), MembershipError> {
        let shared = &self.shared;
        let others = shared.devices().into_iter().filter(|other| other.index != status.index);
        let left = others.filter(|other| shared.is_staying(other.index)).count();
        self.check_count(shared.widest_protection(), false, left)?;
        if !shared.is_staying(status.index) {
            return Ok(());
        }
        let policies = self.policies()?;
        self.check_room(&policies, Some(status.index), held)
    }

    fn policies(&self) -> Result<Policies, MembershipError> {
        Ok(Policies::of_label(&self.label()?))
    }

    fn check_count(
        &self,
        protection: Protection,
        is_wanted: bool,
        left: usize,
    ) -> Result<(), MembershipError> {
        let pool = self.shared.name.clone();
        match left < protection.devices() {
            true => Err(MembershipError::TooFewDevices { pool, protection, is_wanted, left }),
            false => Ok(()),
        }
    }

    /// Whether what is held fits when it is kept so, beside what the logs need to work.
    fn check_room(
        &self,
        policies: &Policies,
        without: Option<u16>,
        held: &HeldBytes,
    ) -> Result<(), MembershipError> {
        if self.fits(policies, without, held) {
            return Ok(());
        }
        let (fits, used) = (self.shared.usable_slots(without), self.slots_taken(policies, held));
        Err(MembershipError::NoRoom { pool: self.shared.name.clone(), fits, used })
    }

    fn fits(&self, policies: &Policies, without: Option<u16>, held: &HeldBytes) -> bool {
        self.shared.can_hold(&self.chunks_of(policies, held), without)
    }

    fn slots_taken(&self, policies: &Policies, held: &HeldBytes) -> u64 {
        let chunks = self.chunks_of(policies, held);
        chunks.iter().map(|(&slots, &chunks)| slots as u64 * chunks).sum()
    }

    /// What is held as it lies in the end: chunks or groups, which are not filled to the last byte; and what the logs need to work.
    fn chunks_of(&self, policies: &Policies, held: &HeldBytes) -> Counts {
        let mut counts = Counts::new();
        for (log, bytes) in held {
            let chunks = (bytes + bytes / 12).div_ceil(self.geometry().segment_bytes);
            let (slots, data) = policies.protection_of(*log).slots();
            *counts.entry(slots).or_default() += chunks.div_ceil(data as u64);
        }
        let mut needs = self.shared.needs();
        // One that is to be made.
        held.keys().for_each(|log| _ = needs.entry(*log).or_insert(LOG_CHUNKS_MIN));
        for (log, chunks) in needs {
            *counts.entry(policies.protection_of(log).copies()).or_default() += chunks;
        }
        counts
    }

    /// How many bytes more a log could hold in the end if it was kept so, beside all that is held; it need not exist yet.
    ///
    /// # Errors
    ///
    /// No label can be read.
    pub fn room_for(&self, log: LogId, policy: LogPolicy, held: &HeldBytes) -> Result<u64, MembershipError> {
        let mut policies = self.policies()?;
        policies.set(log, policy);
        // In units of what a chunk holds, of which the thirteenth part is headers.
        let unit_bytes = self.geometry().segment_bytes / 13 * 12;
        let fits = |more: u64| {
            let mut held = held.clone();
            *held.entry(log).or_default() += more * unit_bytes;
            self.fits(&policies, None, &held)
        };
        Ok(most(self.shared.usable_slots(None), fits) * unit_bytes)
    }

    /// Ends the membership of a device on which nothing lies. Its labels are the caller's to erase, when every core has closed it.
    pub async fn remove_member(&self, index: u16) -> Result<DeviceStatus, MembershipError> {
        let status = self.known_member(index)?;
        let (pool, device) = (self.shared.name.clone(), status.path.display().to_string());
        let slots = self.shared.used_slots(index);
        if slots > 0 || self.shared.is_staying(index) {
            return Err(MembershipError::NotEmpty { pool, device, slots });
        }
        let mut label = self.label()?;
        label.members.retain(|member| member.index != index);
        self.check_count(Policies::of_label(&label).widest(), false, label.members.len())?;
        // The label of a device that stays says it; that device may be any.
        label.device_index = label.members[0].index;
        label.sequence += 1;
        self.write_labels(&label).await?;
        self.shared.remove_member(index);
        Ok(status)
    }

    /// Takes note that a device has become larger, where it has. Says whether it has. It is used as before; what is new of it takes
    /// nothing before [`Self::admit_member`], by when every core has attached it again.
    pub async fn grow_member(&self, index: u16) -> Result<bool, MembershipError> {
        let status = self.known_member(index)?;
        let size_bytes =
            quarry_device::usable_bytes_at(&self.env, &status.path).await.map_err(FormatError::from)?;
        let slots = quarry_device::slots_for(size_bytes, self.geometry().segment_bytes);
        if slots <= status.slots {
            return Ok(false);
        }
        self.change_labels(|label| {
            let member = label.members.iter_mut().find(|member| member.index == index);
            let member = member.expect("labels name every member");
            (member.size_bytes, member.slots) = (size_bytes, slots);
        })
        .await?;
        self.shared.note_grown(index, slots);
        Ok(true)
    }

    /// Changes how everything is kept, but for logs with a protection of their own. Durable on return; copies and groups are made or given up
    /// afterwards. `held` is what the pool holds.
    pub async fn change_protection(
        &self,
        protection: Protection,
        held: &HeldBytes,
    ) -> Result<(), MembershipError> {
        self.change_policies(held, |policies| policies.protection = protection).await
    }

    /// Changes how one log keeps what it holds, which need not exist yet. As [`Self::change_protection`].
    pub async fn change_log_policy(
        &self,
        log: LogId,
        policy: LogPolicy,
        held: &HeldBytes,
    ) -> Result<(), MembershipError> {
        self.change_policies(held, |policies| policies.set(log, policy)).await
    }

    async fn change_policies(
        &self,
        held: &HeldBytes,
        change: impl FnOnce(&mut Policies),
    ) -> Result<(), MembershipError> {
        let before = self.policies()?;
        let mut wanted = before.clone();
        change(&mut wanted);
        if wanted == before {
            return Ok(());
        }
        let left = self.shared.devices().iter().filter(|device| self.shared.is_staying(device.index)).count();
        for protection in wanted.changed_protections(&before) {
            self.check_count(protection, true, left)?;
        }
        // What takes no more than before is not refused where that does not fit either.
        let takes_more = self.slots_taken(&wanted, held) > self.slots_taken(&before, held);
        if takes_more || self.fits(&before, None, held) {
            self.check_room(&wanted, None, held)?;
        }
        let Policies { protection, tier_policy, logs } = wanted.clone();
        self.change_labels(|label| {
            (label.protection, label.tier_policy, label.log_policies) = (protection, tier_policy, logs);
        })
        .await?;
        self.shared.set_policies(wanted);
        Ok(())
    }

    /// Says what a device is to count as, whatever was measured. Durable on return; chunks move afterwards.
    pub async fn set_class(&self, index: u16, class: DeviceClass) -> Result<(), MembershipError> {
        if self.known_member(index)?.class == class {
            return Ok(());
        }
        self.change_labels(|label| {
            let member = label.members.iter_mut().find(|member| member.index == index);
            member.expect("labels name every member").class = class;
        })
        .await?;
        self.shared.change_class(index, class);
        Ok(())
    }

    /// Says where data is to lie among the tiers, but for logs with a policy of their own. Durable on return; chunks move afterwards.
    pub async fn set_tier_policy(&self, policy: TierPolicy) -> Result<(), MembershipError> {
        self.change_policies(&HeldBytes::new(), |policies| policies.tier_policy = policy).await
    }

    /// The device that a path leads to is a member again: it was away, or has failed. It is not used before [`Self::admit_member`]:
    /// until they have attached it, other cores know only how to reach what was there before.
    pub async fn take_back(&self, index: u16) -> Result<(), MembershipError> {
        let status = self.known_member(index)?;
        if !self.shared.is_failed(index) {
            return Ok(());
        }
        self.give_up_changes(index);
        let changes = self.shared.board.late_changes(status.id);
        if changes > 0 {
            let (pool, device) = (self.shared.name.clone(), status.path.display().to_string());
            return Err(MembershipError::Late { pool, device, changes });
        }
        let expected = Expected { pool: Some(self.shared.id), device: Some(status.id) };
        let device: Device = open_device(&self.env, &status.path, expected).await?;
        let newest = self.label()?;
        let mut label = newest.for_member(index);
        // The newest label may be one that was being written to it when it failed.
        label.sequence = label.sequence.max(device.label().sequence) + 1;
        self.shared.board.count_late(status.id, device.late_changes());
        device.in_time(device.write_label(label.clone())).await?;
        self.set_device(index, Some(Rc::new(device)));
        self.write_labels(&label).await?;
        self.shared.board.renew(index, self.env.clock.now());
        self.shared.put_member(DeviceStatus { failure: None, ..status }, MemberUse::Out);
        Ok(())
    }
}
