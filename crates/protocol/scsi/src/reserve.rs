//! PERSISTENT RESERVE IN and OUT (SPC-5 6.14, 6.15), RESERVE(6) and RELEASE(6) (SPC-2): the words of SCSI for what
//! `quarry-target` knows of reservations.

use std::rc::Rc;

use quarry_env::View;
use quarry_target::{Action, ReservationError, ReservationKey, ReservationKind, ReservationState};

use crate::cdb::{Cdb, u64_at};
use crate::command::{Step, Work};
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::{Code, Key, Sense};
use crate::unit::Unit;

const PARAMETER_BYTES: u32 = 24;

/// Types as the protocol numbers them (SPC-5 table 65).
const TYPES: [(u8, ReservationKind); 6] = [
    (1, ReservationKind::WriteExclusive),
    (3, ReservationKind::ExclusiveAccess),
    (5, ReservationKind::WriteExclusiveRegistrants),
    (6, ReservationKind::ExclusiveAccessRegistrants),
    (7, ReservationKind::WriteExclusiveAll),
    (8, ReservationKind::ExclusiveAccessAll),
];

fn type_of(kind: ReservationKind) -> u8 {
    TYPES.iter().find(|(_, one)| *one == kind).map_or(0, |(number, _)| *number)
}

fn kind_of(number: u8) -> Option<ReservationKind> {
    TYPES.iter().find(|(one, _)| *one == number).map(|(_, kind)| *kind)
}

pub(crate) fn reserve(unit: &Unit) -> Step {
    let reserved = unit.member().reserve_exclusively();
    if reserved.is_ok() { Reply::good().into() } else { Reply::conflict().into() }
}

pub(crate) fn release(unit: &Unit) -> Step {
    unit.member().end_exclusive();
    Reply::good().into()
}

pub(crate) fn persistent_in(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let state = unit.member().reservations().state();
    let mut data = state.generation.to_be_bytes().to_vec();
    data.extend_from_slice(&[0; 4]);
    match cdb.service_action() {
        0 => {
            let keys = state.registrations.iter().map(|one| one.key.0.to_be_bytes());
            keys.for_each(|key| data.extend_from_slice(&key));
        }
        1 => data.extend(reservation(&state)),
        2 => return Ok(Reply::bytes(&unit.buffers, &capabilities(&state), u32::from(cdb.u16(7))).into()),
        _ => full_status(&state, nexus.port().relative_id, &mut data),
    }
    let length = (data.len() - 8) as u32;
    data[4..8].copy_from_slice(&length.to_be_bytes());
    Ok(Reply::bytes(&unit.buffers, &data, u32::from(cdb.u16(7))).into())
}

/// READ RESERVATION. One that is held by all has no key of its own.
fn reservation(state: &ReservationState) -> Vec<u8> {
    let Some(reservation) = &state.reservation else { return Vec::new() };
    let key = match reservation.kind.is_held_by_all() {
        true => ReservationKey(0),
        false => state.key_of(&reservation.holder).unwrap_or_default(),
    };
    let mut data = key.0.to_be_bytes().to_vec();
    data.extend_from_slice(&[0, 0, 0, 0, 0, type_of(reservation.kind), 0, 0]);
    data
}

/// REPORT CAPABILITIES.
fn capabilities(state: &ReservationState) -> [u8; 8] {
    // ATP_C: all ports are the one port. PTPL_C: power loss is survived. TMV: the types are told.
    let types: u16 = TYPES.iter().fold(0, |mask, (number, _)| match number {
        8 => mask | 0x0001,
        number => mask | 1 << (8 + number),
    });
    let [high, low] = types.to_be_bytes();
    [0, 8, 0x04 | 0x01, 0x80 | u8::from(state.persists), high, low, 0, 0]
}

fn full_status(state: &ReservationState, port: u16, data: &mut Vec<u8>) {
    for registration in &state.registrations {
        let holder = state.is_holder(&registration.initiator);
        let kind = state.reservation.as_ref().filter(|_| holder).map_or(0, |one| type_of(one.kind));
        data.extend_from_slice(&registration.key.0.to_be_bytes());
        data.extend_from_slice(&[0, 0, 0, 0, u8::from(holder), kind, 0, 0, 0, 0]);
        data.extend_from_slice(&port.to_be_bytes());
        let id = transport_id(&registration.initiator.0);
        data.extend_from_slice(&(id.len() as u32).to_be_bytes());
        data.extend_from_slice(&id);
    }
}

/// A TransportID of iSCSI with the name of an initiator port (SPC-5 7.6.4.6).
fn transport_id(name: &str) -> Vec<u8> {
    let mut id = vec![0x45, 0, 0, 0];
    id.extend_from_slice(name.as_bytes());
    id.push(0);
    id.resize(id.len().next_multiple_of(4).max(24), 0);
    let length = (id.len() - 4) as u16;
    id[2..4].copy_from_slice(&length.to_be_bytes());
    id
}

pub(crate) fn persistent_out(cdb: &Cdb) -> Result<Step, Sense> {
    let (action, scope, kind) = (cdb.service_action(), cdb.u8(2) >> 4, cdb.u8(2) & 0x0F);
    let typed = matches!(action, 1 | 2 | 4 | 5);
    if typed && (scope != 0 || kind_of(kind).is_none()) {
        return Err(Sense::field_in_cdb(2));
    }
    if cdb.u32(5) != PARAMETER_BYTES {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    Ok(Step::with_data(Work::Reserve { action, kind }, PARAMETER_BYTES))
}

fn action(action: u8, kind: u8, list: &[u8]) -> Result<Action, Sense> {
    const SPEC_I_PT: u8 = 0x08;
    const APTPL: u8 = 0x01;
    let victim = ReservationKey(u64_at(list, 8));
    let kind = kind_of(kind);
    let kind = || kind.ok_or(Sense::field_in_cdb(2));
    if list[20] & SPEC_I_PT != 0 {
        return Err(Sense::field_in_parameters(20));
    }
    Ok(match action {
        0 | 6 => Action::Register {
            new_key: victim,
            ignore_existing: action == 6,
            persists: Some(list[20] & APTPL != 0),
        },
        1 => Action::Reserve { kind: kind()? },
        2 => Action::Release { kind: kind()? },
        3 => Action::Clear,
        _ => Action::Preempt { victim, kind: kind()?, abort: action == 5 },
    })
}

pub(crate) async fn perform(
    unit: &Rc<Unit>,
    number: u8,
    kind: u8,
    data: Option<View>,
) -> Result<Reply, Sense> {
    let list = data.as_deref().unwrap_or_default();
    if list.len() < PARAMETER_BYTES as usize {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    let action = action(number, kind, list)?;
    let member = unit.member();
    let key = ReservationKey(u64_at(list, 0));
    match member.reservations().perform(member.initiator(), key, action).await {
        Ok(done) => {
            if let Some(drained) = done.aborted {
                drained.wait().await;
            }
            Ok(Reply::good())
        }
        Err(ReservationError::Conflict) => Ok(Reply::conflict()),
        Err(ReservationError::WrongKind) => Err(Sense::illegal(Code::INVALID_RELEASE)),
        Err(ReservationError::NoVictim) => Err(Sense::field_in_parameters(8)),
        Err(ReservationError::TooMany) => Err(Sense::illegal(Code::NO_REGISTRATION_RESOURCES)),
        Err(ReservationError::NotKept) => Err(Sense::new(Key::HardwareError, Code::INTERNAL_FAILURE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_kinds_are_each_other() {
        for kind in ReservationKind::ALL {
            assert_eq!(kind_of(type_of(kind)), Some(kind));
        }
        assert_eq!(kind_of(0), None);
    }

    #[test]
    fn capabilities_name_every_type() {
        assert_eq!(capabilities(&ReservationState::default()), [0, 8, 5, 0x80, 0xEA, 0x01, 0, 0]);
    }

    #[test]
    fn a_transport_id_is_filled_up() {
        let id = transport_id("iqn.2026-11.io.quarry:a,i,0x00023d000001");
        assert_eq!((id[0], usize::from(id[3]) + 4), (0x45, id.len()));
        assert!(id.len().is_multiple_of(4) && id.ends_with(b"1\0\0\0\0"));
    }
}
