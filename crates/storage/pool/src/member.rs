//! The devices of a pool as all cores know them: by index, with what is known of each and how far it is used.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use quarry_format::label::DeviceClass;
use quarry_types::DeviceId;
use quarry_types::limits::DEVICES_MAX;

/// How far a device is used. Rising: the later, the less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MemberUse {
    /// For everything.
    Full,
    /// What is on it is read, and what is being written is completed, but nothing new is placed on it: it has just joined and not
    /// every core has it, or everything on it is being moved elsewhere.
    NoNew,
    /// Not at all: it is missing, has failed, or is back and not every core has it.
    Out,
    /// There is no device of that index.
    None,
}

impl MemberUse {
    fn from_byte(byte: u8) -> Self {
        [Self::Full, Self::NoNew, Self::Out]
            .into_iter()
            .find(|known| *known as u8 == byte)
            .unwrap_or(Self::None)
    }
}

/// A device as the pool sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceStatus {
    /// Index in the pool.
    pub index: u16,
    /// Its id.
    pub id: DeviceId,
    /// Where it was opened, or was last seen.
    pub path: PathBuf,
    /// Slots that it has.
    pub slots: u32,
    /// What it is made of, and so its tier.
    pub class: DeviceClass,
    /// Everything on it is to be moved elsewhere, so that it can be removed.
    pub leaving: bool,
    /// Why it is out of use, if it is.
    pub failure: Option<String>,
}

struct Member {
    /// A [`MemberUse`]; what every I/O asks for.
    use_: AtomicU8,
    leaving: AtomicBool,
    /// Reads go elsewhere where they can.
    avoided: AtomicBool,
    read_errors: AtomicU32,
    /// Where the last of them was.
    read_error_at: AtomicU32,
    /// How often it has been taken out of use.
    failures: AtomicU32,
    status: Mutex<Option<DeviceStatus>>,
}

/// All that a pool can have, by index.
pub(crate) struct Members(Vec<Member>);

impl Members {
    pub(crate) fn new(devices: impl IntoIterator<Item = DeviceStatus>) -> Self {
        let none = || Member {
            use_: AtomicU8::new(MemberUse::None as u8),
            leaving: AtomicBool::new(false),
            avoided: AtomicBool::new(false),
            read_errors: AtomicU32::new(0),
            read_error_at: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            status: Mutex::default(),
        };
        let members = Self((0..DEVICES_MAX).map(|_| none()).collect());
        for device in devices {
            let use_ = match (&device.failure, device.leaving) {
                (Some(_), _) => MemberUse::Out,
                (None, true) => MemberUse::NoNew,
                (None, false) => MemberUse::Full,
            };
            members.put(device, use_);
        }
        members
    }

    fn status(&self, index: u16) -> MutexGuard<'_, Option<DeviceStatus>> {
        self.0[usize::from(index)].status.lock().expect("no panic under it")
    }

    /// Puts a device there, or what is new of it.
    pub(crate) fn put(&self, device: DeviceStatus, use_: MemberUse) {
        let index = device.index;
        self.0[usize::from(index)].leaving.store(device.leaving, Ordering::Release);
        *self.status(index) = Some(device);
        self.set_use(index, use_);
    }

    /// Changes what is known of a device that is there and how far it is used, at once: it may fail at any moment. Says both.
    pub(crate) fn change(
        &self,
        index: u16,
        change: impl FnOnce(&mut DeviceStatus, MemberUse) -> MemberUse,
    ) -> Option<(u32, MemberUse)> {
        let mut status = self.status(index);
        let status = status.as_mut()?;
        let use_ = change(status, self.use_of(index));
        self.0[usize::from(index)].leaving.store(status.leaving, Ordering::Release);
        self.set_use(index, use_);
        Some((status.slots, use_))
    }

    /// Takes a device away.
    pub(crate) fn remove(&self, index: u16) {
        self.set_use(index, MemberUse::None);
        *self.status(index) = None;
    }

    pub(crate) fn set_use(&self, index: u16, use_: MemberUse) {
        let member = &self.0[usize::from(index)];
        member.read_errors.store(0, Ordering::Relaxed);
        member.use_.store(use_ as u8, Ordering::Release);
    }

    pub(crate) fn use_of(&self, index: u16) -> MemberUse {
        let member = self.0.get(usize::from(index));
        member.map_or(MemberUse::None, |member| MemberUse::from_byte(member.use_.load(Ordering::Acquire)))
    }

    /// Takes a device out of use, if it was in use or about to be; says what is known of it then.
    pub(crate) fn fail(&self, index: u16, reason: &str) -> Option<DeviceStatus> {
        let mut status = self.status(index);
        let status = status.as_mut().filter(|status| status.failure.is_none())?;
        self.0[usize::from(index)].failures.fetch_add(1, Ordering::AcqRel);
        self.set_use(index, MemberUse::Out);
        status.failure = Some(reason.to_owned());
        Some(status.clone())
    }

    /// Whether everything on a device is to be moved elsewhere.
    pub(crate) fn is_leaving(&self, index: u16) -> bool {
        self.0[usize::from(index)].leaving.load(Ordering::Acquire)
    }

    /// Whether reads avoid a device where they can.
    pub(crate) fn is_avoided(&self, index: u16) -> bool {
        self.0[usize::from(index)].avoided.load(Ordering::Relaxed)
    }

    pub(crate) fn set_avoided(&self, index: u16, avoided: bool) {
        self.0[usize::from(index)].avoided.store(avoided, Ordering::Relaxed);
    }

    /// How often a device has been taken out of use.
    pub(crate) fn failures(&self, index: u16) -> u32 {
        self.0[usize::from(index)].failures.load(Ordering::Acquire)
    }

    /// What is known of a device.
    pub(crate) fn get(&self, index: u16) -> Option<DeviceStatus> {
        self.status(index).clone()
    }

    /// All devices, by index.
    pub(crate) fn all(&self) -> Vec<DeviceStatus> {
        (0..DEVICES_MAX as u16).filter_map(|index| self.get(index)).collect()
    }

    /// Counts a read that failed, and says how many did so one after the other. A place that is read again and again, and is bad, is one.
    pub(crate) fn note_read_error(&self, index: u16, at: u32) -> u32 {
        let member = &self.0[usize::from(index)];
        let is_elsewhere = member.read_error_at.swap(at, Ordering::Relaxed) != at;
        let errors = member.read_errors.load(Ordering::Relaxed);
        if errors > 0 && !is_elsewhere {
            return errors;
        }
        member.read_errors.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A read went well.
    pub(crate) fn note_read(&self, index: u16) {
        let errors = &self.0[usize::from(index)].read_errors;
        if errors.load(Ordering::Relaxed) != 0 {
            errors.store(0, Ordering::Relaxed);
        }
    }
}
