//! Which devices a pool has: one more, one less, one that has grown or come back, and how many copies it keeps.
//!
//! Whoever calls takes care that one change is made at a time, on one core. What every label says is changed first, durably; then
//! every core takes note ([`Pool::attach_member`], [`Pool::detach_member`]); only then is a new device used for anything new, and one
//! that is back at all ([`Pool::admit_member`]).

use std::rc::Rc;

use futures::future::join_all;
use quarry_device::{
    Device, DeviceClass, DeviceError, Expected, FormatError, JoinRequest, Label,
    OpenError as DeviceOpenError, TierPolicy, forget_joining, open_device, prepare_to_join,
};
use quarry_types::Protection;

use crate::{DeviceStatus, MemberUse, Pool};

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
        "pool {pool} keeps {protection}, which needs {} devices, and {left} that can take data would be left: add a device first",
        protection.devices()
    )]
    TooFewDevices {
        /// Name of the pool.
        pool: String,
        /// Protection of the pool.
        protection: Protection,
        /// Devices in use that would be left.
        left: usize,
    },
    /// What lies on the device does not fit on the others.
    #[error(
        "pool {pool}: the other devices hold {fits} chunks with their copies, and {used} are used: add a device first"
    )]
    NoRoom {
        /// Name of the pool.
        pool: String,
        /// Chunks that the others hold, less what the pool needs to work.
        fits: u64,
        /// Chunks in use.
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
    /// `live_bytes` is what lives in the pool, one copy.
    pub async fn set_leaving(
        &self,
        index: u16,
        leaving: bool,
        live_bytes: u64,
    ) -> Result<(), MembershipError> {
        let status = self.known_member(index)?;
        if status.leaving == leaving {
            return Ok(());
        }
        if leaving {
            self.check_left(&status, live_bytes)?;
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
    fn check_left(&self, status: &DeviceStatus, live_bytes: u64) -> Result<(), MembershipError> {
        let (shared, pool, protection) = (&self.shared, self.shared.name.clone(), self.shared.protection());
        let others = shared.devices().into_iter().filter(|other| other.index != status.index);
        let left = others.filter(|other| shared.is_staying(other.index)).count();
        if left < protection.devices() {
            return Err(MembershipError::TooFewDevices { pool, protection, left });
        }
        if !shared.is_staying(status.index) {
            return Ok(());
        }
        self.check_room(shared.room(protection, Some(status.index)), live_bytes)
    }

    /// Whether what lives fits into so many chunks, which it does not fill to the last byte.
    fn check_room(&self, fits: u64, live_bytes: u64) -> Result<(), MembershipError> {
        let used = (live_bytes + live_bytes / 12).div_ceil(self.geometry().segment_bytes);
        let pool = self.shared.name.clone();
        if fits < used { Err(MembershipError::NoRoom { pool, fits, used }) } else { Ok(()) }
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
        let (protection, left) = (label.protection, label.members.len());
        if left < protection.devices() {
            return Err(MembershipError::TooFewDevices { pool, protection, left });
        }
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

    /// Changes how everything is kept. Durable on return; copies and groups are made or given up afterwards.
    /// `live_bytes` is what lives in the pool, one copy.
    pub async fn change_protection(
        &self,
        protection: Protection,
        live_bytes: u64,
    ) -> Result<(), MembershipError> {
        let left = self.shared.devices().iter().filter(|device| self.shared.is_staying(device.index)).count();
        if left < protection.devices() {
            let pool = self.shared.name.clone();
            return Err(MembershipError::TooFewDevices { pool, protection, left });
        }
        let room = self.shared.room(protection, None);
        if room < self.shared.room(self.shared.protection(), None) {
            self.check_room(room, live_bytes)?;
        }
        self.change_labels(|label| label.protection = protection).await?;
        self.shared.set_protection(protection);
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

    /// Says where data is to lie among the tiers. Durable on return; chunks move afterwards.
    pub async fn set_tier_policy(&self, policy: TierPolicy) -> Result<(), MembershipError> {
        if self.shared.tier_policy() == policy {
            return Ok(());
        }
        self.change_labels(|label| label.tier_policy = policy).await?;
        self.shared.set_tier_policy(policy);
        Ok(())
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
