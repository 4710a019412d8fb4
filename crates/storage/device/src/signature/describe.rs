//! Names and ids out of what was recognised. Everything here was written by others: lengths are bounded, text is cleaned.

use quarry_types::ByteSize;
use uuid::Uuid;

use super::Found;

/// Longest name that is repeated to a person, in characters.
const TEXT_CHARS_MAX: usize = 64;
/// Most entries of a GPT that are counted; the usual table has 128.
const GPT_ENTRIES_MAX: u64 = 1024;

/// Nothing to add.
pub fn name(found: &Found) -> Option<String> {
    Some(found.name.to_owned())
}

/// Printable text up to the first NUL, without blanks around it.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    let printable: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    printable.trim().to_owned()
}

/// `NAME 'label' (uuid)`, as far as there are label and uuid at these offsets.
fn labelled(found: &Found, name: &str, label: Option<(u64, usize)>, uuid: Option<u64>) -> String {
    let label =
        label.and_then(|(offset, length)| found.areas.get(offset, length)).map(text).unwrap_or_default();
    let uuid =
        uuid.and_then(|offset| found.areas.get(offset, 16)).and_then(|bytes| Uuid::from_slice(bytes).ok());
    let mut description = name.to_owned();
    if !label.is_empty() {
        description.push_str(&format!(" '{label}'"));
    }
    if let Some(uuid) = uuid.filter(|uuid| !uuid.is_nil()) {
        description.push_str(&format!(" ({uuid})"));
    }
    description
}

/// The ext superblock lies at 1024; which of the three it is, its features tell (Linux `fs/ext4/ext4.h`).
pub fn ext(found: &Found) -> Option<String> {
    const SUPERBLOCK: u64 = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    const EXT3_INCOMPATIBLE: u32 = 0x16;
    const EXT3_READ_ONLY_COMPATIBLE: u32 = 0x7;
    let [inodes, block_size, compatible, incompatible, read_only_compatible] =
        [0, 24, 92, 96, 100].map(|offset| found.areas.u32_at(SUPERBLOCK + offset));
    if inodes? == 0 || block_size? > 6 {
        return None;
    }
    let only_ext4 =
        incompatible? & !EXT3_INCOMPATIBLE != 0 || read_only_compatible? & !EXT3_READ_ONLY_COMPATIBLE != 0;
    let version = match (only_ext4, compatible? & HAS_JOURNAL != 0) {
        (true, _) => "ext4 file system",
        (false, true) => "ext3 file system",
        (false, false) => "ext2 file system",
    };
    Some(labelled(found, version, Some((SUPERBLOCK + 120, 16)), Some(SUPERBLOCK + 104)))
}

pub fn xfs(found: &Found) -> Option<String> {
    Some(labelled(found, found.name, Some((108, 12)), Some(32)))
}

pub fn btrfs(found: &Found) -> Option<String> {
    let superblock = found.place - 64;
    Some(labelled(found, found.name, Some((superblock + 299, 256)), Some(superblock + 32)))
}

pub fn swap(found: &Found) -> Option<String> {
    Some(labelled(found, found.name, Some((1052, 16)), Some(1036)))
}

pub fn fat32(found: &Found) -> Option<String> {
    Some(labelled(found, found.name, Some((71, 11)), None))
}

pub fn fat16(found: &Found) -> Option<String> {
    Some(labelled(found, found.name, Some((43, 11)), None))
}

pub fn iso9660(found: &Found) -> Option<String> {
    Some(labelled(found, found.name, Some((32808, 32)), None))
}

/// LUKS keeps its uuid as text; version 2 has a label as well.
pub fn luks(found: &Found) -> Option<String> {
    let version = found.areas.get(6, 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))?;
    let label = (version >= 2).then_some((24, 48));
    let uuid = found.areas.get(168, 40).map(text).unwrap_or_default();
    let described = labelled(found, &format!("LUKS{version} encrypted device"), label, None);
    Some(if uuid.is_empty() { described } else { format!("{described} ({uuid})") })
}

pub fn lvm(found: &Found) -> Option<String> {
    if found.areas.get(found.place + 24, 8)? != b"LVM2 001" {
        return None;
    }
    let id = found.areas.get(found.place + 32, 32).map(text).unwrap_or_default();
    Some(if id.is_empty() { found.name.to_owned() } else { format!("{} ({id})", found.name) })
}

pub fn md1(found: &Found) -> Option<String> {
    let version = found.areas.u32_at(found.place + 4)?;
    (version == 1).then(|| labelled(found, found.name, Some((found.place + 32, 32)), Some(found.place + 16)))
}

pub fn ceph(found: &Found) -> Option<String> {
    let osd = found.areas.get(found.place + 23, 36).map(text).unwrap_or_default();
    Some(if osd.is_empty() { found.name.to_owned() } else { format!("{} ({osd})", found.name) })
}

pub fn qcow2(found: &Found) -> Option<String> {
    let size = found.areas.get(24, 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    Some(match size {
        Some(bytes) => format!("{} of {}", found.name, ByteSize(bytes)),
        None => found.name.to_owned(),
    })
}

/// The name of the pool stands in the label's XDR name/value list, which fills 16 to 128 KiB.
pub fn zfs(found: &Found) -> Option<String> {
    const LIST: u64 = 16 << 10;
    const LIST_BYTES: usize = 112 << 10;
    const NAME: &[u8] = b"\0\0\0\x04name\0\0\0\x09\0\0\0\x01";
    let pool = found.areas.get(LIST, LIST_BYTES).and_then(|list| {
        let value = list.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
        let length = u32::from_be_bytes(list.get(value..value + 4)?.try_into().ok()?) as usize;
        Some(text(list.get(value + 4..value.checked_add(4)?.checked_add(length)?)?))
    });
    Some(match pool {
        Some(pool) if !pool.is_empty() => format!("{} of pool '{pool}'", found.name),
        _ => found.name.to_owned(),
    })
}

/// UEFI 2.10 section 5.3: the header names the place, number and size of the entries; a type of zeroes is unused.
pub fn gpt(found: &Found) -> Option<String> {
    let sector_bytes = found.place;
    let entries = found.areas.u64_at(found.place + 72)?.checked_mul(sector_bytes)?;
    let count = u64::from(found.areas.u32_at(found.place + 80)?).min(GPT_ENTRIES_MAX);
    let entry_bytes = u64::from(found.areas.u32_at(found.place + 84)?);
    let used = (0..count).filter(|index| {
        let entry = entries.checked_add(index * entry_bytes).and_then(|entry| found.areas.get(entry, 16));
        entry.is_some_and(|kind| kind.iter().any(|&byte| byte != 0))
    });
    Some(partitions(found.name, used.count()))
}

/// Two bytes are no proof: each of the four entries must be well formed, and one in use.
pub fn mbr(found: &Found) -> Option<String> {
    const ENTRIES: [u64; 4] = [446, 462, 478, 494];
    let mut used = 0;
    for entry in ENTRIES {
        let [status, kind] = [0, 4].map(|offset| found.areas.u8_at(entry + offset));
        if !matches!(status?, 0x00 | 0x80) {
            return None;
        }
        let sectors = found.areas.u32_at(entry + 12)?;
        used += usize::from(kind? != 0 && sectors != 0);
    }
    (used > 0).then(|| partitions(found.name, used))
}

fn partitions(name: &str, count: usize) -> String {
    match count {
        0 => format!("{name} without partitions"),
        1 => format!("{name} with 1 partition"),
        _ => format!("{name} with {count} partitions"),
    }
}
