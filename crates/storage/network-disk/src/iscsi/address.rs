//! Where a unit is: `iscsi://ADDRESS:PORT/IQN/LUN`, as libiscsi and QEMU take it.

use std::fmt;

use quarry_env::Address;
use quarry_types::limits::ISCSI_SCHEME;

use crate::address::{AddressError, is_qualified_name, tcp};

/// The port of iSCSI (IANA).
const PORT: u16 = 3260;
/// Longest iSCSI name (RFC 7143 section 4.2.7.1).
const NAME_BYTES_MAX: usize = 223;
/// Largest number of a unit that one level of addressing has (SAM-5, 4.7).
const LUN_MAX: u16 = 0x3FFF;

/// A portal of a target, and a unit of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UnitAddress {
    /// The portal.
    pub server: Address,
    /// The target's name.
    pub target: String,
    /// The unit.
    pub lun: u16,
}

impl UnitAddress {
    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError {
            text: text.to_owned(),
            what: "iSCSI unit",
            reason,
            form: "iscsi://ADDRESS:PORT/IQN/LUN",
        };
        let rest = text.strip_prefix(ISCSI_SCHEME).ok_or_else(|| wrong("it begins otherwise"))?;
        if rest.contains('@') || rest.contains('?') || rest.contains('%') {
            return Err(wrong("users, passwords and options are not supported"));
        }
        let mut parts = rest.split('/');
        let (host, target, lun) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(host), Some(target), Some(lun), None) => (host, target, lun),
            _ => return Err(wrong("it needs a portal, the target's name and the number of the unit")),
        };
        let server = tcp(host, PORT)
            .ok_or_else(|| wrong("the portal must be an IP address, with or without a port"))?;
        let has_kind = ["iqn.", "eui.", "naa."].iter().any(|kind| target.starts_with(kind));
        if !is_qualified_name(target, NAME_BYTES_MAX) || !has_kind {
            return Err(wrong("the target's name must begin with iqn., eui. or naa."));
        }
        let lun = lun.parse().ok().filter(|&lun| lun <= LUN_MAX);
        let lun = lun.ok_or_else(|| wrong("the unit must be a number from 0 to 16383"))?;
        Ok(Self { server: Address::Tcp(server), target: target.to_owned(), lun })
    }

    /// The unit as it stands in headers (SAM-5, 4.7.7): peripheral addressing up to 255, flat above.
    pub fn lun_field(&self) -> [u8; 8] {
        let [high, low] = self.lun.to_be_bytes();
        let flat = if self.lun > 0xFF { 0x40 } else { 0 };
        [high | flat, low, 0, 0, 0, 0, 0, 0]
    }
}

impl fmt::Display for UnitAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, target, lun } = self;
        write!(f, "{ISCSI_SCHEME}{server}/{target}/{lun}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_canonical_form() {
        for (text, expected) in [
            ("iscsi://10.0.0.7/iqn.2026-11.a:b/1", "iscsi://10.0.0.7:3260/iqn.2026-11.a:b/1"),
            ("iscsi://localhost:9/eui.02004567A425678D/07", "iscsi://127.0.0.1:9/eui.02004567A425678D/7"),
            ("iscsi://[::1]:3260/iqn.x/0", "iscsi://[::1]:3260/iqn.x/0"),
        ] {
            assert_eq!(UnitAddress::parse(text).unwrap().to_string(), expected);
            assert_eq!(UnitAddress::parse(expected).unwrap().to_string(), expected);
        }
        let field =
            |lun| UnitAddress { lun, ..UnitAddress::parse("iscsi://::1/iqn.x/0").unwrap() }.lun_field();
        assert_eq!((field(5), field(256)), ([0, 5, 0, 0, 0, 0, 0, 0], [0x41, 0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let parts = "it needs a portal, the target's name and the number of the unit";
        let secrets = "users, passwords and options are not supported";
        let name = "the target's name must begin with iqn., eui. or naa.";
        for (text, reason) in [
            ("iscsi://10.0.0.7/iqn.x", parts),
            ("iscsi://10.0.0.7/iqn.x/1/2", parts),
            ("iscsi://me%secret@10.0.0.7/iqn.x/1", secrets),
            ("iscsi://10.0.0.7/iqn.x/1?password=x", secrets),
            ("iscsi://10.0.0.7/nqn.x/1", name),
            ("iscsi://10.0.0.7/iqn.x/16384", "the unit must be a number from 0 to 16383"),
            ("iscsi://array/iqn.x/1", "the portal must be an IP address, with or without a port"),
        ] {
            assert_eq!(UnitAddress::parse(text).unwrap_err().reason, reason, "{text}");
        }
    }
}
