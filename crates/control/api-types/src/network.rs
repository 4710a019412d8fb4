//! Ranges of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A range of addresses as RFC 4632 writes it, `10.1.0.0/16`, or a single address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 2, max_length = 43, pattern = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", example = "10.1.0.0/16")]
pub struct Network(Prefix);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor a range.
    #[error(
        "'{text}' is neither an address nor a range of addresses: write 10.1.2.3, 10.1.0.0/16 or fd00:1::/64"
    )]
    Form {
        /// What was given, cut to a printable length.
        text: String,
    },
    /// More bits than the address has.
    #[error("'{text}' counts more bits than the address has, {bits_max}")]
    Prefix {
        /// What was given.
        text: String,
        /// How many it has.
        bits_max: u8,
    },
    /// Bits behind the prefix are set, so that it is not clear what is meant.
    #[error("'{text}' is an address in a range: write {range} for the range, or {address} for the address")]
    Inside {
        /// What was given.
        text: String,
        /// The range.
        range: Network,
        /// The address.
        address: IpAddr,
    },
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with zeroes behind the prefix.
fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    let cut = u32::from(bits_of(address) - prefix_bits);
    match address {
        IpAddr::V4(address) => {
            IpAddr::V4((address.to_bits().checked_shr(cut).unwrap_or(0).checked_shl(cut).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            IpAddr::V6((address.to_bits().checked_shr(cut).unwrap_or(0).checked_shl(cut).unwrap_or(0)).into())
        }
    }
}

impl Network {
    /// Its lowest address.
    pub fn address(self) -> IpAddr {
        self.0.address
    }

    /// How many bits its addresses begin with in common.
    pub fn prefix_bits(self) -> u8 {
        self.0.bits
    }

    /// Whether an address is in both.
    pub fn meets(self, other: Self) -> bool {
        let (Prefix { address: one, .. }, Prefix { address: another, .. }) = (self.0, other.0);
        let bits = self.0.bits.min(other.0.bits);
        one.is_ipv4() == another.is_ipv4() && masked(one, bits) == masked(another, bits)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = || text.chars().take(64).flat_map(char::escape_default).collect::<String>();
        let form = || InvalidNetwork::Form { text: printable() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let bits_max = bits_of(address);
        let Some(prefix) = prefix else {
            // An IPv4 address in the clothes of IPv6 is one of IPv4.
            let address = address.to_canonical();
            return Ok(Self(Prefix { address, bits: bits_of(address) }));
        };
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        let bits = prefix.parse().ok().filter(|&bits| bits <= bits_max);
        let bits = bits.ok_or_else(|| InvalidNetwork::Prefix { text: printable(), bits_max })?;
        let range = Self(Prefix { address: masked(address, bits), bits });
        if range.address() != address {
            return Err(InvalidNetwork::Inside { text: printable(), range, address });
        }
        Ok(range)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prefix { address, bits } = self.0;
        if bits == bits_of(address) { address.fmt(f) } else { write!(f, "{address}/{bits}") }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_network_prints_as_people_write_it() {
        for (text, printed) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00:1::/64", "fd00:1::/64"),
            ("fd00::7", "fd00::7"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
        ] {
            assert_eq!(network(text).to_string(), printed);
        }
    }

    #[test]
    fn what_is_wrong_with_a_network_is_said() {
        for (text, part) in [
            ("", "'' is neither an address"),
            ("10.1", "neither an address"),
            ("host", "neither an address"),
            ("10.1.2.3/", "neither an address"),
            ("10.1.2.3/+8", "neither an address"),
            ("10.1.2.3/33", "more bits than the address has, 32"),
            ("::/129", "has, 128"),
            ("::/999", "has, 128"),
            ("10.1.2.3/16", "write 10.1.0.0/16 for the range, or 10.1.2.3 for the address"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn ranges_meet_when_one_lies_in_the_other() {
        for (one, other, meet) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("0.0.0.0/0", "::/0", false),
            ("fd00::/8", "fd00:1::/64", true),
        ] {
            assert_eq!(network(one).meets(network(other)), meet, "{one} {other}");
            assert_eq!(network(other).meets(network(one)), meet, "{other} {one}");
        }
    }
}
