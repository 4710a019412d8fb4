//! Migration: volumes that move to another place while hosts use them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::image::check_device;
use crate::{Compression, Deduplication, InvalidRequest, Name};

words! {
    /// How far a migration is.
    pub enum MigrationState {
        /// It waits until both places can be used.
        Waiting = "waiting",
        /// What the volume holds is being copied.
        Copying = "copying",
        /// Both places are being compared.
        Verifying = "verifying",
        /// The volume is at its new place, and leaves the old one.
        Switched = "switched",
        /// It was given up, and leaves the new place.
        Cancelling = "cancelling",
        /// It does not go on by itself; the volume is where it was.
        Stopped = "stopped",
    }
}

/// A volume's way to another place. It is served all the time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeMigration {
    /// The pool to which it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_pool: Option<Name>,
    /// The device to which it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_device: Option<String>,
    /// How far it is.
    pub state: MigrationState,
    /// Why it waits or has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes from the beginning of the volume that were copied.
    pub copied_bytes: u64,
    /// Bytes from the beginning of the volume that were compared and are equal.
    pub verified_bytes: u64,
    /// Bytes that the comparison has found unequal, and that were copied again. Some after a restart of the node are nothing unusual.
    pub repaired_bytes: u64,
    /// What is read from the old place in a second.
    pub bytes_per_s: u64,
    /// How long it will take at this rate, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// The most that may be read from the old place in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_s: Option<u64>,
}

/// A request to move a volume to another place, under I/O: to a pool or to a device. For a volume that has stopped on its way to
/// that place, to go on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateVolume {
    /// The pool to move it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_pool: Option<Name>,
    /// The device to move it to, byte for byte: a file, which is made if there is none, a block device, or the address of a server's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(/|pmem:///|nbd://|nbd\\+unix://|nvme-tcp://|iscsi://)[^\\x00]*$")]
    pub to_device: Option<String>,
    /// Whether what the device holds may be overwritten.
    #[serde(default)]
    #[schema(default = false)]
    pub force: bool,
    /// Whether its snapshots and its history, which stay behind, are given up.
    #[serde(default)]
    #[schema(default = false)]
    pub drop_history: bool,
    /// The most that is read from the old place in a second. Absent: as fast as the hosts leave room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1048576)]
    pub rate_bytes_per_s: Option<u64>,
    /// How its blocks are made smaller in the pool. Absent: as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Whether blocks that are there already are stored again in the pool. Absent: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Whether it is encrypted in the pool, under a new key. Absent: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
}

/// Less would not end.
const RATE_BYTES_MIN: u64 = 1 << 20;

impl MigrateVolume {
    /// Checks all that can be judged without looking at anything.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match (&self.to_pool, &self.to_device) {
            (Some(_), Some(_)) | (None, None) => {
                return Err(InvalidRequest::contradiction(
                    "to_pool",
                    "say either a pool or a device to move it to",
                ));
            }
            (Some(_), None) if self.force => {
                return Err(InvalidRequest::contradiction(
                    "force",
                    "a pool has nothing that would be overwritten",
                ));
            }
            (None, Some(device)) => {
                check_device("to_device", device)?;
                let is_plain = self.compression.is_none() && self.deduplication.is_none();
                if !is_plain || self.encrypted == Some(true) {
                    let message =
                        "a device gets the volume byte for byte, nothing is made smaller or encrypted";
                    return Err(InvalidRequest::contradiction("to_device", message));
                }
            }
            _ => {}
        }
        match self.rate_bytes_per_s {
            Some(rate) if rate < RATE_BYTES_MIN => {
                Err(InvalidRequest::new("rate_bytes_per_s", "at least 1 MiB a second is needed"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_place_to_go_to() {
        let to_pool = MigrateVolume { to_pool: Some("fast".parse().unwrap()), ..MigrateVolume::default() };
        let to_device =
            MigrateVolume { to_device: Some("/srv/lun.img".to_owned()), ..MigrateVolume::default() };
        assert!(to_pool.check().is_ok() && to_device.check().is_ok());
        let lz4 = Some(Compression::Lz4);
        assert!(MigrateVolume { compression: lz4, ..to_pool.clone() }.check().is_ok());
        for (bad, field) in [
            (MigrateVolume::default(), "to_pool"),
            (MigrateVolume { to_device: to_device.to_device.clone(), ..to_pool.clone() }, "to_pool"),
            (MigrateVolume { force: true, ..to_pool.clone() }, "force"),
            (
                MigrateVolume { to_device: Some("lun.img".to_owned()), ..MigrateVolume::default() },
                "to_device",
            ),
            (MigrateVolume { compression: lz4, ..to_device.clone() }, "to_device"),
            (MigrateVolume { encrypted: Some(true), ..to_device }, "to_device"),
            (MigrateVolume { rate_bytes_per_s: Some(1000), ..to_pool }, "rate_bytes_per_s"),
        ] {
            assert_eq!(bad.check().unwrap_err().field, field, "{bad:?}");
        }
    }
}
