//! Records as bytes: JSON in an envelope that carries a version, legible with any tool when things go wrong.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the catalog as a whole, and that of records which say nothing that was not always said.
pub(crate) const VERSION: u32 = 1;
/// The highest version of a record that this code reads.
pub(crate) const RECORD_VERSION_MAX: u32 = 3;

/// What is kept in an envelope.
pub(crate) trait Record: Serialize {
    /// The lowest version whose readers understand all that it says: older ones must not take it for something else.
    fn version(&self) -> u32 {
        VERSION
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Deserialize)]
struct Opened<T> {
    record: T,
}

/// Why bytes are not a record.
#[derive(Debug)]
pub(crate) enum DecodeError {
    Corrupt(String),
    Newer(u32),
}

pub(crate) fn encode<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope { version: record.version(), record })
        .expect("records hold texts and numbers only, which JSON can always hold")
}

/// The version is read before anything else, so that a newer record is not mistaken for a damaged one.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let corrupt = |error: serde_json::Error| DecodeError::Corrupt(error.to_string());
    let VersionOnly { version } = serde_json::from_slice(bytes).map_err(corrupt)?;
    if version > RECORD_VERSION_MAX {
        return Err(DecodeError::Newer(version));
    }
    let opened: Opened<T> = serde_json::from_slice(bytes).map_err(corrupt)?;
    Ok(opened.record)
}

#[cfg(test)]
mod tests {
    use quarry_api_types::{ExportId, HostId, Protocol, Timestamp, VolumeId};

    use super::*;
    use crate::{AudienceRecord, ExportRecord};

    #[test]
    fn the_form_of_a_record_is_fixed() {
        let record = ExportRecord {
            id: ExportId::from_random(1),
            volume_id: VolumeId::from_random(2),
            volume: "vm-17".parse().unwrap(),
            snapshot: None,
            protocol: Protocol::Nbd,
            audience: None,
            number: None,
            read_only: false,
            created: Timestamp::from_unix_ms(1_795_167_000_000),
        };
        let bytes = encode(&record);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"record\":{\"id\":\"00000000-0000-4000-8000-000000000001\",\
             \"volume_id\":\"00000000-0000-4000-8000-000000000002\",\"volume\":\"vm-17\",\"protocol\":\"nbd\",\
             \"created\":\"2026-11-20T09:30:00Z\"}}"
        );
        assert_eq!(decode::<ExportRecord>(&bytes).unwrap(), record);
        // A record from before there were snapshots has the same form, so it is read as well.
        let of_snapshot = ExportRecord { snapshot: Some("monday".parse().unwrap()), ..record.clone() };
        let bytes = encode(&of_snapshot);
        assert!(String::from_utf8_lossy(&bytes).contains("\"volume\":\"vm-17\",\"snapshot\":\"monday\""));
        assert_eq!(decode::<ExportRecord>(&bytes).unwrap(), of_snapshot);
    }

    #[test]
    fn what_an_older_reader_would_serve_to_anybody_or_let_them_write_to_it_does_not_read() {
        let record = ExportRecord {
            id: ExportId::from_random(1),
            volume_id: VolumeId::from_random(2),
            volume: "vm-17".parse().unwrap(),
            snapshot: None,
            protocol: Protocol::Iscsi,
            audience: Some(AudienceRecord::Host(HostId::from_random(3))),
            number: Some(7),
            read_only: true,
            created: Timestamp::from_unix_ms(1_795_167_000_000),
        };
        let bytes = encode(&record);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":2,\"record\":{\"id\":\"00000000-0000-4000-8000-000000000001\",\
             \"volume_id\":\"00000000-0000-4000-8000-000000000002\",\"volume\":\"vm-17\",\"protocol\":\"iscsi\",\
             \"audience\":{\"host\":\"00000000-0000-4000-8000-000000000003\"},\"number\":7,\"read_only\":true,\
             \"created\":\"2026-11-20T09:30:00Z\"}}"
        );
        assert_eq!(decode::<ExportRecord>(&bytes).unwrap(), record);
        let nbd = ExportRecord { protocol: Protocol::Nbd, audience: None, number: None, ..record };
        assert!(encode(&nbd).starts_with(b"{\"version\":2,"), "it is read-only");
        let of_machine = ExportRecord { protocol: Protocol::VhostUser, read_only: false, ..nbd };
        let bytes = encode(&of_machine);
        assert!(bytes.starts_with(b"{\"version\":3,"), "an older reader does not know the protocol");
        assert_eq!(decode::<ExportRecord>(&bytes).unwrap(), of_machine);
    }

    #[test]
    fn newer_and_damaged_records_are_told_apart() {
        let newer = br#"{"version":4,"record":{"what":"ever"}}"#;
        assert!(matches!(decode::<ExportRecord>(newer), Err(DecodeError::Newer(4))));
        for damaged in
            [&b""[..], b"{", b"\xff\xfe", b"{}", br#"{"version":1}"#, br#"{"version":1,"record":{}}"#]
        {
            assert!(matches!(decode::<ExportRecord>(damaged), Err(DecodeError::Corrupt(_))), "{damaged:?}");
        }
    }
}
