//! Image mode: volumes that lie on devices of somebody else as they are.

use quarry_types::limits::S3_SCHEME;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pool::{may_name_a_device, server_disks};
use crate::{Durability, InvalidRequest, Name};

words! {
    /// Whether a volume in image mode is served.
    pub enum ImageState {
        /// Its device is open.
        Online = "online",
        /// Its device does not answer, or is not what it was.
        Offline = "offline",
    }
}

/// Where a volume in image mode lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeImage {
    /// The device: a path, or the address of a server's disk. Byte n of the volume is byte n of the device.
    pub device: String,
    /// Whether it is only read.
    pub read_only: bool,
    /// Whether it is served.
    pub state: ImageState,
    /// Why not, or what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A request to serve a device that holds data as a volume, as it is. Nothing of Quarry's is written to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptVolume {
    /// The volume's name, unique on the node.
    pub name: Name,
    /// The absolute path of a file or a block device, or the address of a server's disk.
    #[schema(
        pattern = "^(/|pmem:///|nbd://|nbd\\+unix://|nvme-tcp://|iscsi://)[^\\x00]*$",
        example = "/dev/sdc"
    )]
    pub device: String,
    /// Whether it is only read; it is not locked then.
    #[serde(default)]
    #[schema(default = false)]
    pub read_only: bool,
    /// When an acknowledged write is safe.
    #[serde(default)]
    pub durability: Durability,
}

impl AdoptVolume {
    /// Checks all that can be judged without looking at the device.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_device("device", &self.device)
    }
}

/// Whether a text may name a device.
pub(crate) fn check_device(field: &'static str, device: &str) -> Result<(), InvalidRequest> {
    if device.starts_with(S3_SCHEME) {
        let message = "a bucket can be a device of a pool, not one that holds a volume byte for byte";
        return Err(InvalidRequest::new(field, message.to_owned()));
    }
    if may_name_a_device(device) {
        return Ok(());
    }
    let device = device.escape_debug();
    let message = format!(
        "'{device}' is neither an absolute path nor the address of a server's disk ({})",
        server_disks()
    );
    Err(InvalidRequest::new(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_path_or_an_address() {
        let adopt = |device: &str| AdoptVolume {
            name: "lun".parse().unwrap(),
            device: device.to_owned(),
            read_only: false,
            durability: Durability::Flush,
        };
        for good in ["/dev/sdb", "nbd://10.0.0.7/lun0", "nbd+unix:///lun?socket=/run/nbd.sock"] {
            assert_eq!(adopt(good).check(), Ok(()));
        }
        for bad in ["sdb", "s3://cold/a?size=1GiB"] {
            assert_eq!(adopt(bad).check().unwrap_err().field, "device");
        }
    }
}
