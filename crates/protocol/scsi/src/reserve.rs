//! PERSISTENT RESERVE IN and OUT (SPC-5 6.14, 6.15), RESERVE and RELEASE (SPC-2): the words of SCSI for what `quarry-target` knows
//! of reservations.

use std::rc::Rc;

use quarry_env::View;
use quarry_target::{
    Action, Initiator, ReservationError, ReservationKey, ReservationKind, ReservationState, names,
};

use crate::cdb::{Cdb, u16_at, u32_at, u64_at};
use crate::command::{Step, Work};
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::{Code, Key, Sense};
use crate::unit::Unit;

const PARAMETER_BYTES: u32 = 24;
/// Most bytes of parameters of REGISTER AND MOVE: the longest TransportID has a name of 223 bytes and an ISID.
const MOVE_PARAMETER_BYTES_MAX: u32 = 512;
const REGISTER_AND_MOVE: u8 = 7;

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

pub(crate) fn reserve(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    check_whole(cdb)?;
    let reserved = unit.member().reserve_exclusively();
    Ok(if reserved.is_ok() { Reply::good().into() } else { Reply::conflict().into() })
}

pub(crate) fn release(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    check_whole(cdb)?;
    unit.member().end_exclusive();
    Ok(Reply::good().into())
}

/// Nothing for third parties, and all of the unit (SPC-2 7.16, 7.21).
fn check_whole(cdb: &Cdb) -> Result<(), Sense> {
    const THIRD_PARTY: u8 = 0x1E;
    const EXTENT: u8 = 0x01;
    if cdb.has(1, THIRD_PARTY | EXTENT) { Err(Sense::field_in_cdb(1)) } else { Ok(()) }
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
        let id = transport_id(&port_name(&registration.initiator));
        data.extend_from_slice(&(id.len() as u32).to_be_bytes());
        data.extend_from_slice(&id);
    }
}

/// What the names of registrants begin with that came by NVMe, of which SPC-5 knows no TransportID: the identifier of the host follows.
fn nvme_host() -> String {
    names::iqn("nvme-host-")
}

/// What stands between the name of an iSCSI initiator and the digits of its ISID in the name of its port.
const ISID: &str = ",i,0x";

/// The digits for a registrant that has no ISID.
const NO_ISID: &str = "000000000000";

/// The name of an initiator port by which a registrant is told.
fn port_name(registrant: &Initiator) -> String {
    match registrant.0.contains(ISID) {
        true => registrant.0.to_string(),
        false => format!("{}{}{ISID}{NO_ISID}", nvme_host(), registrant.0),
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
    let length = cdb.u32(5);
    let fits = match action {
        REGISTER_AND_MOVE => (PARAMETER_BYTES..=MOVE_PARAMETER_BYTES_MAX).contains(&length),
        _ => length == PARAMETER_BYTES,
    };
    if !fits {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    Ok(Step::with_data(Work::Reserve { action, kind }, length))
}

/// The initiator port that a TransportID of iSCSI names, as [`transport_id`] writes it. One that names a device, and so all of its
/// ports, is nobody in particular.
fn port_of(id: &[u8]) -> Option<Initiator> {
    const PORT_OF_ISCSI: u8 = 0x45;
    const HOST_ID_DIGITS: usize = 32;
    if id.len() < 4 || id[0] != PORT_OF_ISCSI || usize::from(u16_at(id, 2)) != id.len() - 4 {
        return None;
    }
    let name = id[4..].split(|&byte| byte == 0).next()?;
    let (device, isid) = std::str::from_utf8(name).ok()?.split_once(ISID)?;
    if let Some(host) = device.strip_prefix(&nvme_host()) {
        let is_host = host.len() == HOST_ID_DIGITS && host.bytes().all(|digit| digit.is_ascii_hexdigit());
        return (is_host && isid == NO_ISID).then(|| Initiator(host.to_ascii_lowercase().into()));
    }
    let is_isid = isid.len() == NO_ISID.len() && isid.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_isid && !device.is_empty())
        .then(|| Initiator(format!("{device}{ISID}{isid}").to_ascii_lowercase().into()))
}

/// What the parameters of REGISTER AND MOVE of `from` ask for.
fn movement(from: &Initiator, list: &[u8]) -> Result<Action, Sense> {
    const UNREG: u8 = 0x02;
    const APTPL: u8 = 0x01;
    let new_key = ReservationKey(u64_at(list, 8));
    if new_key == ReservationKey(0) {
        return Err(Sense::field_in_parameters(8));
    }
    let id = list.get(24..24 + u32_at(list, 20) as usize).ok_or(Sense::field_in_parameters(20))?;
    let to = port_of(id).filter(|to| to != from).ok_or(Sense::field_in_parameters(24))?;
    let (unregister, persists) = (list[17] & UNREG != 0, list[17] & APTPL != 0);
    Ok(Action::Move { to, new_key, unregister, persists })
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
    let member = unit.member();
    let action = match number {
        REGISTER_AND_MOVE => movement(member.initiator(), list)?,
        _ => action(number, kind, list)?,
    };
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
        Err(ReservationError::NoReservation) => Err(Sense::field_in_cdb(1)),
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

    #[test]
    fn a_host_of_nvme_has_a_transport_id_too() {
        let host = "00112233445566778899aabbccddeeff";
        let id = transport_id(&port_name(&Initiator(host.into())));
        let name = format!("iqn.2026-11.io.quarry:nvme-host-{host},i,0x000000000000");
        assert_eq!((id[0], &id[4..4 + name.len()], id[4 + name.len()]), (0x45, name.as_bytes(), 0));
        assert_eq!(port_of(&id), Some(Initiator(host.into())));
    }

    #[test]
    fn a_port_is_found_by_its_transport_id() {
        let name = "iqn.2026-11.io.quarry:a,i,0x00023d0000ab";
        assert_eq!(port_of(&transport_id(name)), Some(Initiator(name.into())));
        let shouted = transport_id("iqn.2026-11.io.quarry:a,i,0x00023D0000AB");
        assert_eq!(port_of(&shouted), Some(Initiator(name.into())));
        let mut device = transport_id(name);
        device[0] = 0x05;
        for wrong in [&device[..], &transport_id("iqn.a"), &transport_id("iqn.a,i,0x12"), &shouted[..20], &[]]
        {
            assert_eq!(port_of(wrong), None, "{wrong:x?}");
        }
    }
}
