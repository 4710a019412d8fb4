//! Names of a volume that never change, derived from its id, and of the node.

use quarry_types::VolumeId;

/// Set in the first byte of a 64-bit or 48-bit address that no manufacturer was given (IEEE 802-2014, 8.2.2).
const LOCAL: u8 = 0x02;
/// Set for group addresses.
const GROUP: u8 = 0x01;
/// The byte of an NGUID where its OUI begins (Base 2.0, figure 280).
const NGUID_OUI: usize = 8;

fn local(byte: u8) -> u8 {
    byte & !(LOCAL | GROUP) | LOCAL
}

/// Namespace globally unique identifier: the id with the mark of local administration.
pub fn nguid(volume: VolumeId) -> [u8; 16] {
    let mut bytes = volume.to_bytes();
    bytes[NGUID_OUI] = local(bytes[NGUID_OUI]);
    bytes
}

/// IEEE extended unique identifier: the halves of the id folded, with the mark of local administration.
pub fn eui64(volume: VolumeId) -> [u8; 8] {
    let id = volume.to_bytes();
    let mut bytes = std::array::from_fn(|index| id[index] ^ id[index + 8]);
    bytes[0] = local(bytes[0]);
    bytes
}

/// What a subsystem says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its NVMe qualified name.
    pub nqn: String,
    /// Serial number, at most 20 characters of ASCII.
    pub serial: String,
    /// Firmware revision, at most 8 characters of ASCII.
    pub firmware: String,
}

impl Identity {
    /// Model number.
    pub const MODEL: &str = "Quarry";

    /// The identity of the node whose id is `node`, in letters and digits, running release `firmware`.
    pub fn of_node(node: &str, firmware: &str) -> Self {
        let serial: String = node.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        Self {
            nqn: format!("nqn.2026-11.io.quarry:{node}"),
            serial,
            firmware: firmware.chars().take(8).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_stable_local_and_apart() {
        let volume = VolumeId::from_random(0x0123_4567_89AB_CDEF_0011_2233_4455_6677);
        assert_eq!(nguid(volume), nguid(volume));
        assert_eq!(nguid(volume)[..8], volume.to_bytes()[..8]);
        assert_eq!((nguid(volume)[8] & 3, eui64(volume)[0] & 3), (LOCAL, LOCAL));
        let other = VolumeId::from_random(0x0123_4567_89AB_CDEF_0011_2233_4455_6678);
        assert_ne!(nguid(volume), nguid(other));
        assert_ne!(eui64(volume), eui64(other));
    }

    #[test]
    fn a_node_has_a_name_that_hosts_take() {
        let identity = Identity::of_node("1f0e8a52-7a61-4d3f-9a57-000000000001", "0.1.0");
        assert_eq!(identity.nqn, "nqn.2026-11.io.quarry:1f0e8a52-7a61-4d3f-9a57-000000000001");
        assert_eq!(identity.serial, "1f0e8a527a614d3f9a57");
    }
}
