//! What the catalog remembers of persistent reservations: those that are to survive power loss.

use quarry_api_types::VolumeId;
use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// The reservations of a volume, or of a snapshot by its own id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReservationRecord {
    /// The volume.
    pub volume_id: VolumeId,
    /// Who is registered, in order of registration.
    pub registrations: Vec<RegistrationRecord>,
    /// The reservation, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldRecord>,
}

/// An initiator and its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistrationRecord {
    /// Who, as the protocol names initiators.
    pub initiator: String,
    /// Under which key.
    pub key: u64,
}

/// Who holds a reservation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldRecord {
    /// Of which kind it is.
    pub kind: ReservationKindRecord,
    /// Who made it.
    pub holder: String,
}

/// Whom a reservation keeps out (SPC-5 6.14.3.3, NVMe Base 2.0 8.19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationKindRecord {
    /// The holder writes, all read.
    WriteExclusive,
    /// The holder writes and reads.
    ExclusiveAccess,
    /// Registrants write, all read.
    WriteExclusiveRegistrants,
    /// Registrants write and read.
    ExclusiveAccessRegistrants,
    /// Registrants write, all read; every registrant is a holder.
    WriteExclusiveAll,
    /// Registrants write and read; every registrant is a holder.
    ExclusiveAccessAll,
}

impl Record for ReservationRecord {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn the_form_of_the_record_is_fixed() {
        let initiator = "iqn.1993-08.org.debian:01:a,i,0x000000000001".to_owned();
        let record = ReservationRecord {
            volume_id: VolumeId::from_random(1),
            registrations: vec![RegistrationRecord { initiator: initiator.clone(), key: u64::MAX }],
            held: Some(HeldRecord {
                kind: ReservationKindRecord::WriteExclusiveRegistrants,
                holder: initiator,
            }),
        };
        let bytes = encode(&record);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"record\":{\"volume_id\":\"00000000-0000-4000-8000-000000000001\",\"registrations\":[\
             {\"initiator\":\"iqn.1993-08.org.debian:01:a,i,0x000000000001\",\"key\":18446744073709551615}],\
             \"held\":{\"kind\":\"write-exclusive-registrants\",\
             \"holder\":\"iqn.1993-08.org.debian:01:a,i,0x000000000001\"}}}"
        );
        assert_eq!(decode::<ReservationRecord>(&bytes).unwrap(), record);
    }
}
