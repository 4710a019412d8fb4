//! What the kernel says about block devices under /sys.

use std::fs;
use std::path::{Path, PathBuf};

/// A device number, as `st_rdev` and `st_dev` have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct DeviceNumber(pub u64);

impl DeviceNumber {
    /// What sysfs says of the device.
    pub(crate) fn directory(self) -> PathBuf {
        let (major, minor) = (libc::major(self.0), libc::minor(self.0));
        PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
    }

    /// The number in a `dev` attribute, `MAJOR:MINOR`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self(libc::makedev(major.parse().ok()?, minor.parse().ok()?)))
    }

    /// Whether the kernel calls the device, or the disk of the partition, a spinning one. `None` for a file system
    /// without a block device of its own (tmpfs, overlay, btrfs).
    pub(crate) fn is_rotational(self) -> Option<bool> {
        let directory = fs::canonicalize(self.directory()).ok()?;
        attribute(&directory, "queue/rotational")
            .or_else(|| attribute(directory.parent()?, "queue/rotational"))
            .map(|text| text != "0")
    }
}

/// Where the kernel keeps the name of a disk: of NVMe namespaces, of SCSI disks, of virtio's, and of device mapper's and MD's.
const NAMES_OF_DISKS: [&str; 5] = ["wwid", "device/wwid", "serial", "dm/uuid", "md/uuid"];

/// What the disk that has this directory is called wherever it is attached, of a partition with the sector in which it begins.
pub(crate) fn identity(directory: &Path) -> Option<String> {
    let directory = fs::canonicalize(directory).ok()?;
    let name_of = |directory: &Path| {
        let names = NAMES_OF_DISKS.iter().filter_map(|name| attribute(directory, name));
        names.map(|name| name.trim().to_owned()).find(|name| !name.is_empty())
    };
    match attribute(&directory, "partition") {
        None => name_of(&directory),
        Some(_) => {
            let start = number(&directory, "start")?;
            name_of(directory.parent()?).map(|disk| format!("{disk} from sector {start}"))
        }
    }
}

/// The text of an attribute without its line end.
pub(crate) fn attribute(directory: &Path, name: &str) -> Option<String> {
    fs::read_to_string(directory.join(name)).ok().map(|text| text.trim_end().to_owned())
}

/// An attribute that is a number.
pub(crate) fn number(directory: &Path, name: &str) -> Option<u64> {
    attribute(directory, name)?.parse().ok()
}

/// The names in a directory, in order; empty when there is none.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_called_as_the_kernel_calls_them() {
        let root = tempfile::TempDir::new().expect("a directory");
        let disk = |name: &str, attributes: &[(&str, &str)]| {
            let directory = root.path().join(name);
            fs::create_dir_all(directory.join("device")).expect("a directory");
            for (attribute, text) in attributes {
                fs::write(directory.join(attribute), format!("{text}\n")).expect("a file");
            }
            identity(&directory)
        };
        let scsi = disk("sda", &[("device/wwid", "naa.5000c500  ")]);
        assert_eq!(scsi.as_deref(), Some("naa.5000c500"));
        assert_eq!(
            disk("sda/sda2", &[("partition", "2"), ("start", "2048")]).as_deref(),
            Some("naa.5000c500 from sector 2048")
        );
        assert_eq!(disk("nvme0n1", &[("wwid", "eui.01"), ("serial", "x")]).as_deref(), Some("eui.01"));
        assert_eq!(disk("vda", &[("serial", "")]), None, "QEMU's disks have none unless they are given one");
        assert_eq!(disk("vda/vda1", &[("partition", "1"), ("start", "2048")]), None);
        assert_eq!(identity(&root.path().join("none")), None);
    }

    #[test]
    fn device_numbers_are_read_as_sysfs_writes_them() {
        assert_eq!(DeviceNumber::parse("254:1\n"), Some(DeviceNumber(libc::makedev(254, 1))));
        for text in ["", "254", "a:b", "1:2:3", ":"] {
            assert_eq!(DeviceNumber::parse(text), None, "{text}");
        }
    }
}
