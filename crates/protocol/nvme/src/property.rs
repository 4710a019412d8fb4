//! The properties of a controller (NVMe Base 2.0, 3.1.3): what a host may read, and what its writes mean.

use crate::limits::{IO_ENTRIES_MAX, READY_TIME_MAX};
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::VERSION;

pub use quarry_nvme_wire::property::{COMPLETION_ENTRY_LOG2, SUBMISSION_ENTRY_LOG2, bits, offset};

const HALF_SECONDS: u64 = READY_TIME_MAX.as_millis() as u64 / 500;

/// Controller Capabilities: contiguous queues, the NVM command set, ready with media (CRMS.CRWMS).
pub const CAPABILITIES: u64 = (IO_ENTRIES_MAX as u64 - 1) | 1 << 16 | HALF_SECONDS << 24 | 1 << 37 | 1 << 59;

const _: () = assert!(HALF_SECONDS <= 0xFF);

/// What a Property Set of Controller Configuration asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// Nothing that concerns the state.
    None,
    /// To be ready.
    Enable,
    /// To forget everything, with all I/O queues.
    Reset,
    /// To go down, in this life of the controller: nothing is to be lost afterwards.
    Shutdown(Life),
}

/// How often a controller has been reset: what one life of it has begun says nothing of the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Life(u64);

/// The properties that change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties {
    configuration: u32,
    shutdown: Shutdown,
    failed: bool,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Shutdown {
    /// Not asked for.
    #[default]
    None,
    /// Asked for.
    Occurs,
    /// Everything has ended and is safe.
    Complete,
}

impl Properties {
    /// Whether CC.EN is set and the controller is not shut down.
    pub fn is_enabled(&self) -> bool {
        self.configuration & bits::ENABLE != 0 && self.shutdown == Shutdown::None && !self.failed
    }

    /// The controller can do nothing more.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// The shutdown that was asked for in `life` is over: what was written survives power loss, or does not. A controller that
    /// was reset meanwhile has nothing to do with it.
    pub fn end_shutdown(&mut self, life: Life, is_flushed: bool) {
        if self.life != life || self.shutdown != Shutdown::Occurs {
            return;
        }
        match is_flushed {
            true => self.shutdown = Shutdown::Complete,
            false => self.failed = true,
        }
    }

    /// The property at `at`; `drained` says whether no I/O queue is left: a reset is not over before.
    pub fn get(&self, at: u32, wide: bool, drained: bool) -> Result<u64, Status> {
        if wide != (at == offset::CAPABILITIES) {
            return Err(Status::INVALID_FIELD);
        }
        Ok(match at {
            offset::CAPABILITIES => CAPABILITIES,
            offset::VERSION => u64::from(VERSION),
            offset::CONFIGURATION => u64::from(self.configuration),
            offset::STATUS => u64::from(self.status(drained)),
            offset::SUBSYSTEM_RESET => 0,
            offset::READY_TIMEOUTS => HALF_SECONDS,
            _ => return Err(Status::INVALID_FIELD),
        })
    }

    fn status(&self, drained: bool) -> u32 {
        let enabled = self.configuration & bits::ENABLE != 0;
        let ready = if enabled || !drained { bits::READY } else { 0 };
        let failed = if self.failed { bits::FATAL } else { 0 };
        let shutdown = match self.shutdown {
            Shutdown::None => 0,
            Shutdown::Occurs => bits::SHUTDOWN_OCCURS,
            Shutdown::Complete => bits::SHUTDOWN_COMPLETE,
        };
        ready | failed | shutdown
    }

    /// Sets Controller Configuration, the only property that a host may set.
    pub fn set(&mut self, at: u32, wide: bool, value: u64) -> Result<Transition, Status> {
        if wide || at != offset::CONFIGURATION {
            return Err(Status::INVALID_FIELD);
        }
        let (before, now) = (self.configuration, value as u32);
        let enables = now & bits::ENABLE != 0;
        if enables && before & bits::ENABLE == 0 && !is_supported(now) {
            return Err(Status::INVALID_FIELD);
        }
        let shuts_down = now >> bits::SHUTDOWN_SHIFT & 3 != 0;
        self.configuration = now;
        if before & bits::ENABLE != 0 && !enables {
            *self = Self { life: Life(self.life.0 + 1), ..Self::default() };
            return Ok(Transition::Reset);
        }
        if shuts_down && self.shutdown == Shutdown::None {
            self.shutdown = Shutdown::Occurs;
            return Ok(Transition::Shutdown(self.life));
        }
        let enabled = enables && before & bits::ENABLE == 0;
        Ok(if enabled { Transition::Enable } else { Transition::None })
    }
}

/// Whether a configuration asks for what there is.
fn is_supported(configuration: u32) -> bool {
    let field = |shift: u32, mask: u32| configuration >> shift & mask;
    field(bits::COMMAND_SET_SHIFT, 7) == 0
        && field(bits::PAGE_SHIFT, 15) == 0
        && field(bits::ARBITRATION_SHIFT, 7) == 0
        && matches!(field(bits::SUBMISSION_ENTRY_SHIFT, 15), 0 | 6)
        && matches!(field(bits::COMPLETION_ENTRY_SHIFT, 15), 0 | 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux enables a controller.
    const ENABLED: u64 = 1 | 6 << 16 | 4 << 20;

    #[test]
    fn a_controller_is_enabled_reset_and_shut_down() {
        let mut properties = Properties::default();
        let status =
            |properties: &Properties, drained| properties.get(offset::STATUS, false, drained).unwrap();
        assert_eq!(status(&properties, true), 0);
        assert_eq!(properties.set(offset::CONFIGURATION, false, ENABLED), Ok(Transition::Enable));
        assert_eq!((status(&properties, true), properties.is_enabled()), (1, true));
        assert_eq!(properties.set(offset::CONFIGURATION, false, ENABLED), Ok(Transition::None));
        let shutdown = properties.set(offset::CONFIGURATION, false, ENABLED | 1 << 14);
        let Ok(Transition::Shutdown(life)) = shutdown else { panic!("{shutdown:?}") };
        assert_eq!(status(&properties, true), 1 | 1 << 2, "not before it is safe");
        properties.end_shutdown(life, true);
        assert_eq!(status(&properties, true), 1 | 2 << 2);
        assert!(!properties.is_enabled());
        assert_eq!(properties.set(offset::CONFIGURATION, false, 0), Ok(Transition::Reset));
        assert_eq!((status(&properties, false), status(&properties, true)), (1, 0), "not before it is quiet");
        assert_eq!(properties.set(offset::CONFIGURATION, false, ENABLED), Ok(Transition::Enable));
        assert_eq!(
            properties.set(offset::CONFIGURATION, false, ENABLED | 1 << 14),
            Ok(Transition::Shutdown(Life(1)))
        );
        properties.end_shutdown(life, true);
        properties.end_shutdown(life, false);
        assert_eq!(status(&properties, true), 1 | 1 << 2, "that was the shutdown of another life");
        properties.end_shutdown(Life(1), false);
        assert_eq!(status(&properties, true), 1 | 1 << 1 | 1 << 2, "it has failed");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let mut properties = Properties::default();
        let table = [(offset::CAPABILITIES, false), (offset::VERSION, true), (0x24, false), (0x1000, true)];
        for (at, wide) in table {
            assert_eq!(properties.get(at, wide, true), Err(Status::INVALID_FIELD), "{at:#x}");
        }
        assert_eq!(properties.set(offset::STATUS, false, 0), Err(Status::INVALID_FIELD));
        assert_eq!(properties.set(offset::CONFIGURATION, true, 0), Err(Status::INVALID_FIELD));
        // Pages of 8 KiB, weighted arbitration, another command set, entries of another size.
        for bits in [1 << 7, 1 << 11, 1 << 4, 7 << 16] {
            assert_eq!(properties.set(offset::CONFIGURATION, false, 1 | bits), Err(Status::INVALID_FIELD));
        }
    }

    #[test]
    fn capabilities_say_what_hosts_rely_on() {
        assert_eq!(CAPABILITIES & 0xFFFF, 255, "256 entries");
        assert_eq!(CAPABILITIES >> 24 & 0xFF, 60, "30 s");
        assert_eq!(CAPABILITIES >> 48 & 0xF, 0, "pages of 4 KiB");
    }
}
