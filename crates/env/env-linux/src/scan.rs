//! Block devices of the machine, and who uses them.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sysfs::{DeviceNumber, attribute, names, number};

/// Devices that hold no data of their own.
const SKIPPED: [&str; 5] = ["zram", "ram", "fd", "sr", "mtdblock"];

/// Every disk and partition with data, and who holds it.
pub(crate) fn scan() -> io::Result<Vec<(PathBuf, Option<String>)>> {
    let mut found = Vec::new();
    for disk in names(Path::new("/sys/block")) {
        if SKIPPED.iter().any(|prefix| disk.starts_with(prefix)) {
            continue;
        }
        let directory = Path::new("/sys/block").join(&disk);
        add(&mut found, &directory, &disk);
        for partition in
            names(&directory).iter().filter(|name| directory.join(name).join("partition").exists())
        {
            add(&mut found, &directory.join(partition), partition);
        }
    }
    Ok(found)
}

fn add(found: &mut Vec<(PathBuf, Option<String>)>, directory: &Path, name: &str) {
    let has_size = number(directory, "size").is_some_and(|sectors| sectors > 0);
    let Some(device) = attribute(directory, "dev").as_deref().and_then(DeviceNumber::parse) else { return };
    // The kernel writes '!' where the name of the node has a '/'.
    let path = Path::new("/dev").join(name.replace('!', "/"));
    if !has_size || !path.exists() {
        return;
    }
    let holder = holder(device).or_else(|| claimed(&path));
    found.push((path, holder));
}

/// Who uses a block device, by what the kernel tells without touching it: a mount, swap, or a driver on top of it or of
/// one of its partitions.
pub(crate) fn holder(device: DeviceNumber) -> Option<String> {
    let directory = fs::canonicalize(device.directory()).ok()?;
    let partitions = names(&directory).into_iter().map(|name| directory.join(name));
    let parts = partitions.filter(|directory| directory.join("partition").exists());
    for directory in std::iter::once(directory.clone()).chain(parts) {
        let number = attribute(&directory, "dev").as_deref().and_then(DeviceNumber::parse)?;
        let held = mounted_at(number)
            .map(|point| format!("mounted at {point}"))
            .or_else(|| is_swap(number).then(|| "used as swap".to_owned()))
            .or_else(|| names(&directory.join("holders")).first().map(|name| format!("held by {name}")));
        if let Some(held) = held {
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Some(format!("{name} is {held}"));
        }
    }
    None
}

/// Where a device is mounted: its number is the third field of a line, the mount point the fifth.
fn mounted_at(device: DeviceNumber) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = DeviceNumber::parse(fields.get(2)?)?;
        (number == device).then(|| fields.get(4).map(|point| unescape(point))).flatten()
    })
}

fn is_swap(device: DeviceNumber) -> bool {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let devices: BTreeSet<u64> = swaps
        .lines()
        .skip(1)
        .filter_map(|line| fs::metadata(unescape(line.split_whitespace().next()?)).ok())
        .map(|file| file.rdev())
        .collect();
    devices.contains(&device.0)
}

/// The kernel writes space, tab, line end and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether somebody has claimed the device without a trace in sysfs: another process of this kind, for example.
fn claimed(path: &Path) -> Option<String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path);
    match opened {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            Some("claimed by another program".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        for (escaped, text) in [
            ("/", "/"),
            (r"/a\040b", "/a b"),
            (r"/a\134b\011", "/a\\b\t"),
            (r"/a\04", r"/a\04"),
            (r"\999", r"\999"),
        ] {
            assert_eq!(unescape(escaped), text, "{escaped}");
        }
    }

    #[test]
    fn a_scan_lists_each_device_once() {
        let found = scan().expect("the machine can be scanned");
        let paths: BTreeSet<&PathBuf> = found.iter().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), found.len());
        assert!(found.iter().all(|(path, _)| path.starts_with("/dev")));
    }
}
