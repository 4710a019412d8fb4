//! Compare and Write, fused (NVM command set 1.0, 2.1.2): two commands of which neither does anything without the other.
//!
//! Each has its data and its completion, so each waits until both have their data. The second one then asks the volume;
//! the first one is answered before it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use quarry_env::{Signal, View};
use quarry_volume::{Comparison, WriteFlags};

use crate::namespaces::OpenVolume;
use crate::outcome::Outcome;
use quarry_nvme_wire::Status;

/// Which of the two a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// Compare.
    First,
    /// Write.
    Second,
}

/// What the two know of each other.
#[derive(Default)]
pub(super) struct Fused {
    expected: RefCell<Option<View>>,
    /// How the halves are to end, once it is known.
    ends: [Cell<Option<Status>>; 2],
    first_told: Cell<bool>,
    changed: Signal,
}

impl Fused {
    /// Ends one half, unless its end is known already.
    pub(super) fn fail(&self, half: Half, status: Status) {
        let end = &self.ends[half as usize];
        if end.get().is_none() {
            end.set(Some(status));
            self.changed.raise();
        }
    }

    /// What the first half brings, or how the second one ends without that.
    async fn expected(&self) -> Result<View, Status> {
        loop {
            let version = self.changed.version();
            if let Some(status) = self.ends[Half::Second as usize].get() {
                return Err(status);
            }
            if let Some(expected) = self.expected.borrow_mut().take() {
                return Ok(expected);
            }
            self.changed.after(version).await;
        }
    }

    async fn end_of(&self, half: Half) -> Status {
        loop {
            let version = self.changed.version();
            if let Some(status) = self.ends[half as usize].get() {
                return status;
            }
            self.changed.after(version).await;
        }
    }
}

/// Holds a half's place. Where it goes without having been carried out, the other half hears of it.
struct Place {
    fused: Rc<Fused>,
    half: Half,
}

impl Drop for Place {
    fn drop(&mut self) {
        let other = if self.half == Half::First { Half::Second } else { Half::First };
        self.fused.fail(other, Status::ABORTED_FAILED_FUSED);
        if self.half == Half::First {
            self.fused.first_told.set(true);
            self.fused.changed.raise();
        }
    }
}

/// One half. Clones are the same half.
#[derive(Clone)]
pub(super) struct Part(Rc<Place>);

impl Part {
    pub(super) fn new(fused: &Rc<Fused>, half: Half) -> Self {
        Self(Rc::new(Place { fused: fused.clone(), half }))
    }

    pub(super) fn half(&self) -> Half {
        self.0.half
    }

    /// Carries the half out, with its data.
    pub(super) async fn perform(
        self,
        open: &OpenVolume,
        offset: u64,
        data: View,
        flags: WriteFlags,
    ) -> Outcome {
        let fused = &self.0.fused;
        match self.0.half {
            Half::First => {
                *fused.expected.borrow_mut() = Some(data);
                fused.changed.raise();
                fused.end_of(Half::First).await.into()
            }
            Half::Second => self.exchange(open, offset, data, flags).await,
        }
    }

    async fn exchange(&self, open: &OpenVolume, offset: u64, data: View, flags: WriteFlags) -> Outcome {
        let fused = &self.0.fused;
        let second = match fused.expected().await {
            Ok(expected) => {
                let (first, second) = compare_and_write(open, offset, (expected, data), flags).await;
                fused.fail(Half::First, first);
                second
            }
            Err(status) => status.into(),
        };
        while !fused.first_told.get() {
            let version = fused.changed.version();
            fused.changed.after(version).await;
        }
        second
    }
}

/// Asks the volume; how the two halves end.
async fn compare_and_write(
    open: &OpenVolume,
    offset: u64,
    (expected, data): (View, View),
    flags: WriteFlags,
) -> (Status, Outcome) {
    // The right may have been taken away while one half waited for the other. From here on whoever takes it away waits.
    if let Err(status) = open.permit.check() {
        return (Status::ABORTED_FAILED_FUSED, status.into());
    }
    if !open.member.may_write() {
        return (Status::ABORTED_FAILED_FUSED, Status::RESERVATION_CONFLICT.into());
    }
    let _under_way = open.activity.begin();
    match open.volume.compare_and_write(offset, expected, data, flags).await {
        Ok(Comparison::Written) => (Status::SUCCESS, Outcome::done()),
        Ok(Comparison::Differs { .. }) => (Status::COMPARE_FAILURE, Status::ABORTED_FAILED_FUSED.into()),
        Err(error) => (Status::ABORTED_FAILED_FUSED, error.into()),
    }
}
