//! The four reservation commands (Base 2.0, 7.2 to 7.5).

use std::rc::Rc;

use quarry_target::{Action, Member, ReservationError, ReservationKey, ReservationKind};

use crate::limits::TRANSFER_BYTES_MAX;
use crate::outcome::Outcome;
use crate::reservation::{kind_of, report};
use crate::transfer::Transfer;
use quarry_nvme_wire::Command;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::bytes::u64_at;
use quarry_nvme_wire::constants::io;

use super::request::Means;

/// A reservation command without its keys, which are data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reserve {
    Register { ignore_key: bool, persists: Option<bool> },
    Unregister { ignore_key: bool, persists: Option<bool> },
    Replace { ignore_key: bool, persists: Option<bool> },
    Acquire { kind: ReservationKind },
    Preempt { kind: ReservationKind, abort: bool },
    Release { kind: ReservationKind },
    Clear,
    Report { bytes: u32 },
}

/// Dword 10: ignore the key that the host has (IEKEY).
const IGNORE_KEY: u32 = 1 << 3;
/// Dword 11 of Report: with identifiers of 128 bits (EDS).
const EXTENDED: u32 = 1;

impl Reserve {
    /// What `command` asks for, and the data that it moves.
    pub(super) fn decode(command: &Command) -> Result<(Self, Transfer), Status> {
        let ten = command.dword(10);
        let (action, ignore_key) = (ten & 7, ten & IGNORE_KEY != 0);
        let kind = || kind_of((ten >> 8) as u8).ok_or(Status::INVALID_FIELD);
        match command.opcode() {
            io::RESERVATION_REGISTER => {
                let persists = match ten >> 30 {
                    0 => None,
                    2 => Some(false),
                    3 => Some(true),
                    _ => return Err(Status::INVALID_FIELD),
                };
                let register = match action {
                    0 => Self::Register { ignore_key, persists },
                    1 => Self::Unregister { ignore_key, persists },
                    2 => Self::Replace { ignore_key, persists },
                    _ => return Err(Status::INVALID_FIELD),
                };
                Ok((register, Transfer::FromHost(16)))
            }
            io::RESERVATION_REPORT if command.dword(11) & EXTENDED == 0 => Err(Status::HOST_ID_INCONSISTENT),
            io::RESERVATION_REPORT => {
                let bytes = ten.saturating_add(1).saturating_mul(4);
                let fits = bytes <= TRANSFER_BYTES_MAX;
                let report = (Self::Report { bytes }, Transfer::ToHost(bytes));
                if fits { Ok(report) } else { Err(Status::INVALID_FIELD) }
            }
            // Who acquires or releases always has to say its key.
            _ if ignore_key => Err(Status::INVALID_FIELD),
            io::RESERVATION_ACQUIRE => {
                let acquire = match action {
                    0 => Self::Acquire { kind: kind()? },
                    1 | 2 => Self::Preempt { kind: kind()?, abort: action == 2 },
                    _ => return Err(Status::INVALID_FIELD),
                };
                Ok((acquire, Transfer::FromHost(16)))
            }
            _ => {
                let release = match action {
                    0 => Self::Release { kind: kind()? },
                    1 => Self::Clear,
                    _ => return Err(Status::INVALID_FIELD),
                };
                // Its key is all that counts; Linux sends as much as for the others.
                match command.data_pointer()?.length() {
                    length @ 8..=16 => Ok((release, Transfer::FromHost(length))),
                    _ => Err(Status::SGL_LENGTH),
                }
            }
        }
    }

    /// Carries it out with its keys.
    pub(super) async fn perform(self, member: Rc<Member>, keys: &[u8], means: &Means) -> Outcome {
        let key = |at: usize| ReservationKey(u64_at(keys, at));
        if let Self::Report { bytes } = self {
            let state = member.reservations().state();
            let mut page = report(&state, |host| means.subsystem.controllers_of(host));
            page.resize(bytes as usize, 0);
            return Outcome::page(&means.buffers, &page);
        }
        let own = member.reservations().state().key_of(member.initiator());
        let second = || if keys.len() >= 16 { key(8) } else { ReservationKey::default() };
        let (said, action) = match self.action(own, key(0), second()) {
            Ok(action) => action,
            Err(status) => return status.into(),
        };
        let initiator = member.initiator().clone();
        match member.reservations().perform(&initiator, said, action).await {
            Ok(done) => {
                if let Some(aborted) = done.aborted {
                    aborted.wait().await;
                }
                Outcome::done()
            }
            Err(error) => status_of(error).into(),
        }
    }

    /// The key that the host says to be its own, and what is to be done, where `own` is the one that it has.
    fn action(
        self,
        own: Option<ReservationKey>,
        first: ReservationKey,
        second: ReservationKey,
    ) -> Result<(ReservationKey, Action), Status> {
        let none = ReservationKey(0);
        let register =
            |new_key, ignore_existing, persists| Action::Register { new_key, ignore_existing, persists };
        match self {
            Self::Register { .. } | Self::Replace { .. } if second == none => Err(Status::INVALID_FIELD),
            // Who is registered already must mean the key that it has, unless that is to be ignored (IEKEY).
            Self::Register { ignore_key: false, .. } if own.is_some_and(|own| own != second) => {
                Err(Status::RESERVATION_CONFLICT)
            }
            Self::Register { persists, .. } => Ok((first, register(second, true, persists))),
            Self::Unregister { .. } | Self::Replace { ignore_key: false, .. } if own.is_none() => {
                Err(Status::RESERVATION_CONFLICT)
            }
            Self::Unregister { ignore_key, persists } => Ok((first, register(none, ignore_key, persists))),
            Self::Replace { ignore_key, persists } => Ok((first, register(second, ignore_key, persists))),
            Self::Acquire { kind } => Ok((first, Action::Reserve { kind })),
            Self::Preempt { kind, abort } => Ok((first, Action::Preempt { victim: second, kind, abort })),
            Self::Release { kind } => Ok((first, Action::Release { kind })),
            Self::Clear => Ok((first, Action::Clear)),
            Self::Report { .. } => Err(Status::INTERNAL_ERROR),
        }
    }
}

fn status_of(error: ReservationError) -> Status {
    match error {
        ReservationError::Conflict => Status::RESERVATION_CONFLICT,
        ReservationError::WrongKind
        | ReservationError::NoReservation
        | ReservationError::NoVictim
        | ReservationError::NotKept => Status::INVALID_FIELD,
        ReservationError::TooMany => Status::INTERNAL_ERROR,
    }
}
