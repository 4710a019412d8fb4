//! Names: of the target of a node, of its portals, and what SendTargets answers (RFC 7143 section 4.2.7 and appendix C).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::login::PORTAL_GROUP;
use crate::parameters::Parameters;
use crate::text::{TextError, parse, put};

/// The port that IANA has assigned to iSCSI.
pub const PORT: u16 = 3260;
/// The naming authority of all targets.
const AUTHORITY: &str = "iqn.2026-11.io.quarry";

/// The name of the target of the node `node`: what is not allowed in such names becomes a hyphen.
pub fn target_name(node: &str) -> String {
    let allowed = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '.' | '-' | ':') => letter,
        _ => '-',
    };
    let node: String = node.chars().map(allowed).collect();
    format!("{AUTHORITY}:{node}")
}

/// The name of the port, by which SCSI knows it (RFC 7143 section 4.4.1).
pub fn port_name(target: &str) -> String {
    format!("{target},t,0x{PORTAL_GROUP:04x}")
}

/// What stays as it is in a URI.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// `iscsi://host:port/target/lun`, which libiscsi and QEMU understand. A server that listens on every address of the machine is
/// named by its loopback address.
pub fn uri(address: SocketAddr, target: &str, lun: u32) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    format!("iscsi://{address}/{}/{lun}", percent_encode(target.as_bytes(), ENCODED))
}

/// Who sends a text request.
pub struct Asker<'a> {
    /// The target, if the initiator sees it.
    pub target: Option<&'a str>,
    /// Where the target is.
    pub portals: &'a [SocketAddr],
    /// Whether the session is one of discovery.
    pub discovery: bool,
}

/// Answers a text request. What it declares goes into `parameters`.
pub fn answer(text: &[u8], asker: &Asker<'_>, parameters: &mut Parameters) -> Result<Vec<u8>, TextError> {
    let Asker { target, portals, discovery } = *asker;
    let mut answer = Vec::new();
    for (key, value) in parse(text)? {
        match (key, value, target) {
            // RFC 7143 appendix C: a session that uses a target asks for that one only.
            ("SendTargets", "All", _) if !discovery => put(&mut answer, key, "Reject"),
            ("SendTargets", "All" | "", Some(target)) => targets(&mut answer, target, portals),
            ("SendTargets", "All" | "", None) => {}
            ("SendTargets", name, Some(target)) if name.eq_ignore_ascii_case(target) => {
                targets(&mut answer, target, portals);
            }
            ("SendTargets", _, _) => put(&mut answer, key, "Reject"),
            // The one term that may change in the full feature phase (RFC 7143 section 13.12).
            ("MaxRecvDataSegmentLength", _, _) => match parameters.negotiate(key, value, discovery) {
                Ok(_) => {}
                Err(_) => put(&mut answer, key, "Reject"),
            },
            _ => put(&mut answer, key, "NotUnderstood"),
        }
    }
    Ok(answer)
}

fn targets(answer: &mut Vec<u8>, target: &str, portals: &[SocketAddr]) {
    put(answer, "TargetName", target);
    for portal in portals {
        put(answer, "TargetAddress", &format!("{portal},{PORTAL_GROUP}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn names_hold_only_what_they_may() {
        assert_eq!(target_name("Node_7/x"), "iqn.2026-11.io.quarry:node-7-x");
        assert_eq!(port_name("iqn.a"), "iqn.a,t,0x0001");
        let table = [
            ("10.0.0.1:3260", "iqn.a:b c", 3, "iscsi://10.0.0.1:3260/iqn.a:b%20c/3"),
            ("0.0.0.0:3260", "iqn.a", 0, "iscsi://127.0.0.1:3260/iqn.a/0"),
            ("[::]:1", "iqn.a", 0, "iscsi://[::1]:1/iqn.a/0"),
        ];
        for (at, target, lun, expected) in table {
            assert_eq!(uri(address(at), target, lun), expected);
        }
    }

    #[test]
    fn targets_are_told_to_those_who_see_them() {
        let portals = [address("10.0.0.1:3260"), address("[2001:db8::1]:3260")];
        let all = b"TargetName=iqn.a\0TargetAddress=10.0.0.1:3260,1\0TargetAddress=[2001:db8::1]:3260,1\0";
        let told = |text: &[u8], target, discovery| {
            let asker = Asker { target, portals: &portals, discovery };
            answer(text, &asker, &mut Parameters::default())
        };
        let good = |text: &[u8], target, discovery| told(text, target, discovery).expect("a list of keys");
        for text in [&b"SendTargets=All\0"[..], b"SendTargets=\0", b"SendTargets=IQN.A\0"] {
            assert_eq!(good(text, Some("iqn.a"), true), all);
        }
        assert_eq!(good(b"SendTargets=\0", Some("iqn.a"), false), all);
        assert_eq!(good(b"SendTargets=All\0", Some("iqn.a"), false), b"SendTargets=Reject\0");
        assert_eq!(good(b"SendTargets=All\0", None, true), b"");
        for text in [&b"SendTargets=iqn.b\0"[..], b"SendTargets=A\0"] {
            assert_eq!(good(text, Some("iqn.a"), true), b"SendTargets=Reject\0");
        }
        assert_eq!(good(b"sENDtARGETS=aLL\0", Some("iqn.a"), true), b"sENDtARGETS=NotUnderstood\0");
        assert_eq!(told(b"nonsense", Some("iqn.a"), true), Err(TextError::Malformed));
    }

    #[test]
    fn the_longest_segment_may_be_declared_at_any_time() {
        let mut parameters = Parameters::default();
        let asker = Asker { target: None, portals: &[], discovery: false };
        let mut told = |text: &[u8]| answer(text, &asker, &mut parameters).expect("a list of keys");
        assert_eq!(told(b"MaxRecvDataSegmentLength=65536\0"), b"", "a declaration is not answered");
        assert_eq!(told(b"MaxRecvDataSegmentLength=1\0"), b"MaxRecvDataSegmentLength=Reject\0");
        assert_eq!(parameters.initiator_segment_bytes, 65_536);
    }
}
