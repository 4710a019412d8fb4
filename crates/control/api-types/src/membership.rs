//! Which devices a pool has, and data on its way between them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;
use crate::pool::may_name_a_device;

/// A request for one more device in a pool, or for one instead of another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDevice {
    /// Absolute path on the node (a file, a block device, or a directory in which a file is made), or the address of a server's disk.
    #[schema(
        pattern = "^(/|pmem:///|nbd://|nbd\\+unix://|nvme-tcp://|iscsi://|s3://)[^\\x00]*$",
        example = "/dev/sdc"
    )]
    pub path: String,
    /// Take a device that has something on it, which is lost. Never takes a device of a pool open here.
    #[serde(default)]
    #[schema(default = false)]
    pub force: bool,
}

impl AddDevice {
    /// Checks all that can be judged without looking at the device.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match may_name_a_device(&self.path) {
            true => Ok(()),
            false => {
                let message = format!(
                    "'{}' is neither an absolute path nor the address of a server's disk",
                    self.path.escape_debug()
                );
                Err(InvalidRequest::new("path", message))
            }
        }
    }
}

/// What of a pool does not lie where it should: after a device has failed, while one is drained, after one has joined, after the
/// number of copies was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Rebuild {
    /// Segments to be moved or copied.
    pub chunks: u64,
    /// Segments with fewer good copies than they should have, also where no device is left for more.
    pub exposed_chunks: u64,
    /// Segments of which no copy can be read: they come back with their devices, or not at all.
    pub lost_chunks: u64,
    /// What is left to be copied, in bytes, at most.
    pub left_bytes: u64,
    /// What was copied since the pool was opened, in bytes.
    pub copied_bytes: u64,
    /// What is copied in a second now, in bytes.
    pub bytes_per_s: u64,
    /// When it will be done at this rate, in seconds; absent when there is nothing to do or nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// It does not get on: there is no space on other devices, or what is to be copied cannot be read.
    pub stuck: bool,
}

impl Rebuild {
    /// Whether everything lies where it should, as far as that can be had with the devices that there are.
    pub fn is_done(&self) -> bool {
        self.chunks == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute() {
        let add = |path: &str| AddDevice { path: path.to_owned(), force: false };
        assert_eq!(add("/dev/sdb").check(), Ok(()));
        assert_eq!(add("nbd://127.0.0.1/disk").check(), Ok(()));
        for path in ["", "sdb", "/a\0b"] {
            assert_eq!(add(path).check().unwrap_err().field, "path");
        }
    }
}
