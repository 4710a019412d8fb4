//! The disks of a world as its driver sees them: adding, breaking, mending, and looking at what they hold.

use std::ops::Range;
use std::path::Path;

use quarry_env::DiskKind;

use crate::disk::{CrashModel, Directory, DirectorySpec, DiskSpec, DiskStatus, PAGE_BYTES, Pages, Script};
use crate::fault::{DiskId, FaultKind, FaultPlan, FaultRates, FaultRecord, Verb};
use crate::world::World;

impl World {
    /// Puts a disk, full of zeroes, at `path`.
    ///
    /// # Panics
    /// When something is there, or the sizes of `spec` do not fit each other.
    pub fn add_disk(&self, path: impl AsRef<Path>, spec: DiskSpec) -> DiskId {
        self.shared.disks.borrow_mut().add(path.as_ref(), spec)
    }

    /// Puts a directory at `path`, in which files can be created.
    pub fn add_directory(&self, path: impl AsRef<Path>, spec: DirectorySpec) {
        let directory = Directory { path: path.as_ref().to_path_buf(), spec };
        self.shared.disks.borrow_mut().directories.push(directory);
    }

    /// The disk at `path`, also one that a process created.
    pub fn disk(&self, path: impl AsRef<Path>) -> Option<DiskId> {
        self.shared.disks.borrow().find(path.as_ref())
    }

    /// Sets which disks may suffer faults by chance, and how many faults there may be. A new world allows none but
    /// harmless ones.
    pub fn set_fault_plan(&self, plan: FaultPlan) {
        self.shared.faults.borrow_mut().plan = plan;
    }

    /// Allows silent corruption on these disks only; see [`FaultPlan::corruptible`].
    pub fn set_corruptible(&self, disks: impl IntoIterator<Item = DiskId>) {
        self.shared.faults.borrow_mut().plan.corruptible = disks.into_iter().collect();
    }

    /// Allows errors, losses and failures on these disks only; see [`FaultPlan::failing`].
    pub fn set_failing(&self, disks: impl IntoIterator<Item = DiskId>) {
        self.shared.faults.borrow_mut().plan.failing = disks.into_iter().collect();
    }

    /// Holds all faults by chance back, of disks and sockets, or lets them come again.
    pub fn set_faults_enabled(&self, enabled: bool) {
        self.shared.faults.borrow_mut().enabled = enabled;
    }

    /// Sets how often a disk breaks.
    pub fn set_fault_rates(&self, disk: DiskId, rates: FaultRates) {
        self.shared.disks.borrow_mut().get(disk).spec.faults = rates;
    }

    /// Asks for one fault by name: the first operation of `verb` that touches `range` (any flush, for flushes) after
    /// `skip` others suffers it, whatever the plan says.
    ///
    /// # Panics
    /// When this kind cannot befall this verb.
    pub fn script_fault(&self, disk: DiskId, fault: FaultKind, verb: Verb, range: Range<u64>, skip: u32) {
        assert!(fault.verbs().contains(&verb), "{fault:?} does not befall a {verb:?}");
        self.shared.disks.borrow_mut().get(disk).scripts.push(Script { verb, range, skip, fault });
    }

    /// Every fault so far, by chance or by script, in order of time.
    pub fn faults(&self) -> Vec<FaultRecord> {
        self.shared.faults.borrow().injected.clone()
    }

    /// Every operation fails with EIO from now on; those under way fail too, writes among them perhaps in part.
    pub fn fail_disk(&self, disk: DiskId) {
        self.fail_with(disk, DiskStatus::Failed);
    }

    /// Pulls a disk out: as [`Self::fail_disk`], and its path does not exist.
    pub fn pull_disk(&self, disk: DiskId) {
        self.fail_with(disk, DiskStatus::Absent);
    }

    fn fail_with(&self, disk: DiskId, status: DiskStatus) {
        let mut disks = self.shared.disks.borrow_mut();
        let state = disks.get(disk);
        self.shared.go_on(disk, state);
        state.fail(status);
        drop(disks);
        let kind = FaultKind::DeviceFailure;
        self.shared.log_fault(FaultRecord { at: self.now(), disk, kind, range: 0..0, moved_to: None });
    }

    /// Makes a disk hang: whatever it is asked for, or was, makes no step before [`Self::release_disk`], and may then land late.
    pub fn hang_disk(&self, disk: DiskId) {
        self.shared.disks.borrow_mut().get(disk).held.get_or_insert_default();
        let kind = FaultKind::Hang;
        self.shared.log_fault(FaultRecord { at: self.now(), disk, kind, range: 0..0, moved_to: None });
    }

    /// Lets a disk that hangs go on; nothing otherwise.
    pub fn release_disk(&self, disk: DiskId) {
        self.shared.go_on(disk, self.shared.disks.borrow_mut().get(disk));
    }

    /// Whether a disk hangs.
    pub fn is_hanging(&self, disk: DiskId) -> bool {
        self.shared.disks.borrow_mut().get(disk).held.is_some()
    }

    /// A disk that failed or was pulled out works again. With `cache_lost` it was without power: what was not flushed
    /// is judged as in a power failure.
    pub fn restore_disk(&self, disk: DiskId, cache_lost: bool) {
        let mut disks = self.shared.disks.borrow_mut();
        let state = disks.get(disk);
        if state.status == DiskStatus::Online {
            return;
        }
        state.status = DiskStatus::Online;
        self.shared.trace.fold(&[66, u64::from(disk.0), u64::from(cache_lost), self.shared.now()]);
        self.shared.trace.line(self.shared.now(), || format!("{disk} is back, cache lost: {cache_lost}"));
        if cache_lost {
            let model =
                CrashModel { atomic_bytes: state.spec.atomic_bytes, sector_tear: state.spec.sector_tear };
            state.medium.power_fail(model, &self.shared.dice);
        }
    }

    /// Makes a disk larger; who has it open sees that when it is opened again.
    ///
    /// # Panics
    /// When it would become smaller, or its sectors do not fit.
    pub fn grow_disk(&self, disk: DiskId, size_bytes: u64) {
        let mut disks = self.shared.disks.borrow_mut();
        let spec = &mut disks.get(disk).spec;
        assert!(size_bytes >= spec.size_bytes && size_bytes.is_multiple_of(u64::from(spec.sector_bytes)));
        spec.size_bytes = size_bytes;
    }

    /// Whether the disk answers.
    pub fn disk_status(&self, disk: DiskId) -> DiskStatus {
        self.shared.disks.borrow_mut().get(disk).status
    }

    /// Lets the file system of a file have no block left, or some again: writes to places that were never written fail
    /// with ENOSPC.
    ///
    /// # Panics
    /// When the disk is not a file.
    pub fn set_full(&self, disk: DiskId, full: bool) {
        let mut disks = self.shared.disks.borrow_mut();
        let state = disks.get(disk);
        assert_eq!(state.spec.kind, DiskKind::File, "only files find their file system full");
        state.full = full;
    }

    /// Flips one bit of a byte of the disk at rest.
    pub fn rot(&self, disk: DiskId, position: u64, bit: u32) {
        self.shared.disks.borrow_mut().get(disk).medium.rot(position, bit % 8);
        let range = position..position + 1;
        let kind = FaultKind::BitRot;
        self.shared.log_fault(FaultRecord { at: self.now(), disk, kind, range, moved_to: None });
    }

    /// What a read would return now.
    pub fn peek(&self, disk: DiskId, offset: u64, buffer: &mut [u8]) {
        self.shared.disks.borrow_mut().get(disk).medium.read(offset, buffer);
    }

    /// Sets what a disk holds, durably: to prepare it, or to damage it on purpose. Not where a write waits for a flush,
    /// which would bring the old data back.
    pub fn poke(&self, disk: DiskId, offset: u64, bytes: &[u8]) {
        self.shared.disks.borrow_mut().get(disk).medium.poke(offset, bytes);
    }

    /// A copy of everything a disk holds, cheap until one of both changes; see [`Self::set_image`].
    pub fn image(&self, disk: DiskId) -> DiskImage {
        DiskImage(self.shared.disks.borrow_mut().get(disk).medium.image())
    }

    /// Makes a disk hold what an image holds, durably, as a restored backup or an exchanged disk would.
    pub fn set_image(&self, disk: DiskId, image: &DiskImage) {
        self.shared.disks.borrow_mut().get(disk).medium.set_image(image.0.clone());
    }

    /// Bytes of memory that the content of all disks takes, at most.
    pub fn disk_memory_bytes(&self) -> u64 {
        let disks = self.shared.disks.borrow();
        disks.disks.iter().map(|disk| disk.medium.pages_present() * PAGE_BYTES as u64).sum()
    }
}

/// The content of a disk at one moment.
#[derive(Clone)]
pub struct DiskImage(Pages);
