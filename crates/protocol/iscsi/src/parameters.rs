//! What a session agrees on (RFC 7143 section 13), and how.

use crate::limits::{
    BURST_BYTES, DATA_SEGMENT_BYTES_MAX, DATA_SEGMENT_BYTES_MIN, FIRST_BURST_BYTES, LOGIN_SEGMENT_BYTES_MAX,
};
use crate::text::{number, put};

/// The agreed values. What is not here has one value that both sides keep to: one connection, one R2T at a time, data in order,
/// error recovery level 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// Headers have a digest.
    pub header_digest: bool,
    /// Data has a digest.
    pub data_digest: bool,
    /// Data is sent only when it was asked for, apart from immediate data.
    pub initial_r2t: bool,
    /// Data may come with its command.
    pub immediate_data: bool,
    /// Longest data segment that the initiator takes.
    pub initiator_segment_bytes: u32,
    /// Most data of one sequence.
    pub burst_bytes: u32,
    /// Most data that is sent without being asked for.
    pub first_burst_bytes: u32,
    /// Which standard both follow: 1 is RFC 7143, 2 is RFC 7144 as well.
    pub protocol_level: u32,
}

impl Default for Parameters {
    /// The values of a session that has negotiated nothing.
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            initial_r2t: true,
            immediate_data: true,
            initiator_segment_bytes: LOGIN_SEGMENT_BYTES_MAX as u32,
            burst_bytes: 262_144,
            first_burst_bytes: 65_536,
            protocol_level: 1,
        }
    }
}

/// A value that no target can agree to: the login ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key} cannot be '{value}'")]
pub struct BadValue {
    /// The key.
    pub key: String,
    /// What the initiator says.
    pub value: String,
}

/// RFC 7144.
const PROTOCOL_LEVEL_MAX: u32 = 2;

/// Longest data segment and burst that can be said in 24 bits.
const SEGMENT_BYTES_LIMIT: u32 = (1 << 24) - 1;

/// Keys that mean nothing to a discovery session (RFC 7143 section 13, "Irrelevant when: SessionType=Discovery").
const IRRELEVANT_TO_DISCOVERY: [&str; 9] = [
    "MaxConnections",
    "InitialR2T",
    "ImmediateData",
    "MaxBurstLength",
    "FirstBurstLength",
    "MaxOutstandingR2T",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "TaskReporting",
];

/// Keys of which the first answer holds for the session (RFC 7143 section 6.2).
pub const NEGOTIATED_ONCE: [&str; 13] = [
    "HeaderDigest",
    "DataDigest",
    "InitialR2T",
    "ImmediateData",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "MaxBurstLength",
    "FirstBurstLength",
    "MaxConnections",
    "MaxOutstandingR2T",
    "ErrorRecoveryLevel",
    "DefaultTime2Wait",
    "DefaultTime2Retain",
];

fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

fn yes(value: bool) -> String {
    if value { "Yes" } else { "No" }.to_owned()
}

/// The first of the offered values that is known; RFC 7143 section 6.2.1.
fn choose(offered: &str, known: &[&str]) -> Option<String> {
    offered.split(',').find(|value| known.contains(value)).map(str::to_owned)
}

impl Parameters {
    /// Deals with one key of the operational stage: the answer, if it has one.
    pub fn negotiate(&mut self, key: &str, value: &str, discovery: bool) -> Result<Option<String>, BadValue> {
        let bad = || BadValue { key: key.to_owned(), value: value.to_owned() };
        if value == "NotUnderstood" || value == "Irrelevant" || value == "Reject" {
            // Nothing of ours was offered that could be answered so.
            return Ok(None);
        }
        if discovery && IRRELEVANT_TO_DISCOVERY.contains(&key) {
            return Ok(Some("Irrelevant".to_owned()));
        }
        let answer = match key {
            "HeaderDigest" | "DataDigest" => {
                let Some(chosen) = choose(value, &["CRC32C", "None"]) else {
                    return Ok(Some("Reject".to_owned()));
                };
                let field =
                    if key == "HeaderDigest" { &mut self.header_digest } else { &mut self.data_digest };
                *field = chosen == "CRC32C";
                chosen
            }
            "InitialR2T" => {
                self.initial_r2t = boolean(value).ok_or_else(bad)?;
                yes(self.initial_r2t)
            }
            "ImmediateData" => {
                self.immediate_data = boolean(value).ok_or_else(bad)?;
                yes(self.immediate_data)
            }
            "DataPDUInOrder" | "DataSequenceInOrder" => boolean(value).map(|_| yes(true)).ok_or_else(bad)?,
            "IFMarker" | "OFMarker" => boolean(value).map(|_| yes(false)).ok_or_else(bad)?,
            "MaxRecvDataSegmentLength" => {
                let bytes = number(value)
                    .filter(|bytes| (DATA_SEGMENT_BYTES_MIN..=SEGMENT_BYTES_LIMIT).contains(bytes));
                self.initiator_segment_bytes = bytes.ok_or_else(bad)?;
                return Ok(None);
            }
            "MaxBurstLength" => {
                self.burst_bytes = self.smaller(value, BURST_BYTES).ok_or_else(bad)?;
                self.burst_bytes.to_string()
            }
            "FirstBurstLength" => {
                let most = FIRST_BURST_BYTES.min(self.burst_bytes);
                self.first_burst_bytes = self.smaller(value, most).ok_or_else(bad)?;
                self.first_burst_bytes.to_string()
            }
            // How many connections, and how many R2Ts: one of each.
            "MaxConnections" | "MaxOutstandingR2T" => number(value)
                .filter(|count| (1..=65535).contains(count))
                .map(|_| "1".to_owned())
                .ok_or_else(bad)?,
            "ErrorRecoveryLevel" => {
                number(value).filter(|level| *level <= 2).map(|_| "0".to_owned()).ok_or_else(bad)?
            }
            // The larger time to wait, and none to keep what was allegiant to a connection.
            "DefaultTime2Wait" => number(value)
                .filter(|time| *time <= 3600)
                .map(|time| time.max(2).to_string())
                .ok_or_else(bad)?,
            "DefaultTime2Retain" => {
                number(value).filter(|time| *time <= 3600).map(|_| "0".to_owned()).ok_or_else(bad)?
            }
            "TaskReporting" => choose(value, &["RFC3720"]).unwrap_or_else(|| "Reject".to_owned()),
            // RFC 7144 section 7.1.1: 1 is RFC 7143, 2 is RFC 7144, of which the smaller one counts.
            "iSCSIProtocolLevel" => {
                let level = number(value).filter(|level| *level <= 31).ok_or_else(bad)?;
                self.protocol_level = level.min(PROTOCOL_LEVEL_MAX);
                self.protocol_level.to_string()
            }
            "RDMAExtensions" => boolean(value).map(|_| yes(false)).ok_or_else(bad)?,
            "IFMarkInt" | "OFMarkInt" => "Irrelevant".to_owned(),
            "InitiatorAlias" | "SessionType" | "InitiatorName" | "TargetName" => return Ok(None),
            _ => "NotUnderstood".to_owned(),
        };
        Ok(Some(answer))
    }

    fn smaller(&self, value: &str, ours: u32) -> Option<u32> {
        let theirs =
            number(value).filter(|bytes| (DATA_SEGMENT_BYTES_MIN..=SEGMENT_BYTES_LIMIT).contains(bytes))?;
        Some(theirs.min(ours))
    }

    /// What must hold between values when everything is agreed.
    pub fn settle(&mut self) {
        self.first_burst_bytes = self.first_burst_bytes.min(self.burst_bytes);
    }

    /// What this target declares in the operational stage.
    pub fn declare(text: &mut Vec<u8>) {
        put(text, "MaxRecvDataSegmentLength", &DATA_SEGMENT_BYTES_MAX.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(key: &str, value: &str) -> Option<String> {
        Parameters::default()
            .negotiate(key, value, false)
            .unwrap_or_else(|error| Some(format!("bad: {error}")))
    }

    #[test]
    fn each_key_is_answered_by_its_rule() {
        let table = [
            ("HeaderDigest", "CRC32C,None", Some("CRC32C")),
            ("HeaderDigest", "None,CRC32C", Some("None")),
            ("DataDigest", "X-other,None", Some("None")),
            ("DataDigest", "X-other", Some("Reject")),
            ("InitialR2T", "No", Some("No")),
            ("ImmediateData", "Yes", Some("Yes")),
            ("DataPDUInOrder", "No", Some("Yes")),
            ("IFMarker", "Yes", Some("No")),
            ("MaxRecvDataSegmentLength", "65536", None),
            ("MaxBurstLength", "16776192", Some("1048576")),
            ("MaxBurstLength", "0x10000", Some("65536")),
            ("FirstBurstLength", "16777215", Some("262144")),
            ("MaxConnections", "8", Some("1")),
            ("MaxOutstandingR2T", "16", Some("1")),
            ("ErrorRecoveryLevel", "2", Some("0")),
            ("DefaultTime2Wait", "0", Some("2")),
            ("DefaultTime2Wait", "20", Some("20")),
            ("DefaultTime2Retain", "20", Some("0")),
            ("iSCSIProtocolLevel", "1", Some("1")),
            ("iSCSIProtocolLevel", "7", Some("2")),
            ("TaskReporting", "FastAbort,RFC3720", Some("RFC3720")),
            ("OFMarkInt", "2048~8192", Some("Irrelevant")),
            ("X-com.example.key", "1", Some("NotUnderstood")),
            ("InitiatorAlias", "name", None),
            ("HeaderDigest", "NotUnderstood", None),
        ];
        for (key, value, expected) in table {
            assert_eq!(answer(key, value).as_deref(), expected, "{key}={value}");
        }
    }

    #[test]
    fn impossible_values_end_the_login() {
        for (key, value) in [
            ("InitialR2T", "yes"),
            ("MaxRecvDataSegmentLength", "511"),
            ("MaxRecvDataSegmentLength", "16777216"),
            ("MaxBurstLength", "x"),
            ("MaxConnections", "0"),
            ("ErrorRecoveryLevel", "3"),
            ("DefaultTime2Wait", "3601"),
        ] {
            assert!(answer(key, value).is_some_and(|text| text.starts_with("bad: ")), "{key}={value}");
        }
    }

    #[test]
    fn discovery_needs_little() {
        let mut parameters = Parameters::default();
        let discovery = |parameters: &mut Parameters, key| parameters.negotiate(key, "No", true);
        assert_eq!(discovery(&mut parameters, "InitialR2T"), Ok(Some("Irrelevant".to_owned())));
        assert_eq!(parameters, Parameters::default());
    }

    #[test]
    fn the_first_burst_is_one_of_the_bursts() {
        let mut parameters = Parameters { burst_bytes: 4096, ..Parameters::default() };
        parameters.settle();
        assert_eq!(parameters.first_burst_bytes, 4096);
    }
}
