//! Recognising what others have put on a disk: one table of magic numbers, most telling first.
//!
//! Offsets and magics are those of the formats' own documents, as `blkid` uses them. An entry may look closer, to
//! read a name out of what it found or to reject a magic that is only two bytes long.

mod describe;
#[cfg(test)]
mod tests;

use crate::areas::Areas;

/// Where a magic may stand.
enum Places {
    /// At these offsets.
    At(&'static [u64]),
    /// This far before the end.
    BeforeEnd(&'static [u64]),
    /// At each multiple of the step in a range.
    Every { start: u64, end: u64, step: u64 },
    /// Superblock of Linux RAID 0.90: the last aligned 64 KiB, 64 KiB at least before the end.
    Md090,
    /// Superblock of Linux RAID 1.0: 8 KiB at least before the end, aligned to 4 KiB.
    Md10,
}

impl Places {
    fn offsets(&self, size_bytes: u64) -> Vec<u64> {
        match self {
            Places::At(offsets) => offsets.to_vec(),
            Places::BeforeEnd(distances) => {
                distances.iter().filter_map(|&distance| size_bytes.checked_sub(distance)).collect()
            }
            Places::Every { start, end, step } => (*start..*end).step_by(*step as usize).collect(),
            Places::Md090 => (size_bytes & !0xffff).checked_sub(64 << 10).into_iter().collect(),
            Places::Md10 => size_bytes.checked_sub(8 << 10).map(|at| at & !0xfff).into_iter().collect(),
        }
    }
}

/// A magic that was found.
pub struct Found<'a> {
    /// All that was read.
    pub areas: &'a Areas<'a>,
    /// Where the magic stands.
    pub place: u64,
    /// The name in the table.
    pub name: &'static str,
}

/// What to say about a found magic; nothing when it is not convincing.
type Describe = fn(&Found) -> Option<String>;

struct Signature {
    name: &'static str,
    places: Places,
    magic: &'static [u8],
    describe: Describe,
}

const fn at(
    name: &'static str,
    offsets: &'static [u64],
    magic: &'static [u8],
    describe: Describe,
) -> Signature {
    Signature { name, places: Places::At(offsets), magic, describe }
}

const fn elsewhere(
    name: &'static str,
    places: Places,
    magic: &'static [u8],
    describe: Describe,
) -> Signature {
    Signature { name, places, magic, describe }
}

const UBERBLOCKS: Places = Places::Every { start: 128 << 10, end: 256 << 10, step: 1 << 10 };
const PAGE_ENDS: &[u64] = &[4086, 8182, 16374, 32758, 65526];

#[rustfmt::skip]
static SIGNATURES: &[Signature] = &[
    // Layers that other data lies upon.
    at("Quarry cache disk", &[0], b"QRYCACHE", describe::name),
    at("LUKS encrypted device", &[0], b"LUKS\xba\xbe", describe::luks),
    at("LVM physical volume", &[0, 512, 1024, 1536], b"LABELONE", describe::lvm),
    at("Linux RAID member (md 1.x)", &[0, 4096], b"\xfc\x4e\x2b\xa9", describe::md1),
    elsewhere("Linux RAID member (md 1.x)", Places::Md10, b"\xfc\x4e\x2b\xa9", describe::md1),
    elsewhere("Linux RAID member (md 0.90)", Places::Md090, b"\xfc\x4e\x2b\xa9", describe::name),
    elsewhere("Linux RAID member (md 0.90)", Places::Md090, b"\xa9\x2b\x4e\xfc", describe::name),
    at("Ceph BlueStore device", &[0], b"bluestore block device\n", describe::ceph),
    at("bcache device", &[4120], b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", describe::name),
    at("Stratis device", &[520], b"!Stra0tis\x86\xff\x02\x5e\x41\x72\x68", describe::name),
    at("VDO device", &[0], b"dmvdo001", describe::name),
    at("Oracle ASM disk", &[32], b"ORCLDISK", describe::name),
    at("BitLocker encrypted volume", &[3], b"-FVE-FS-", describe::name),
    // File systems.
    elsewhere("ZFS device", UBERBLOCKS, b"\x0c\xb1\xba\0\0\0\0\0", describe::zfs),
    elsewhere("ZFS device", UBERBLOCKS, b"\0\0\0\0\0\xba\xb1\x0c", describe::zfs),
    at("btrfs file system", &[65600], b"_BHRfS_M", describe::btrfs),
    at("bcachefs file system", &[4120], b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", describe::name),
    at("XFS file system", &[0], b"XFSB", describe::xfs),
    at("ext file system", &[1080], b"\x53\xef", describe::ext),
    at("F2FS file system", &[1024], b"\x10\x20\xf5\xf2", describe::name),
    at("EROFS file system", &[1024], b"\xe2\xe1\xf5\xe0", describe::name),
    at("GFS2 file system", &[65536], b"\x01\x16\x19\x70\0\0\0\x01", describe::name),
    at("JFS file system", &[32768], b"JFS1", describe::name),
    at("ReiserFS file system", &[65588], b"ReIsEr", describe::name),
    at("squashfs file system", &[0], b"hsqs", describe::name),
    at("APFS container", &[32], b"NXSB", describe::name),
    at("HFS+ file system", &[1024], b"H+\0\x04", describe::name),
    at("HFS+ file system", &[1024], b"HX\0\x05", describe::name),
    at("ReFS file system", &[3], b"ReFS\0\0\0\0", describe::name),
    at("NTFS file system", &[3], b"NTFS    ", describe::name),
    at("exFAT file system", &[3], b"EXFAT   ", describe::name),
    at("FAT32 file system", &[82], b"FAT32   ", describe::fat32),
    at("FAT file system", &[54], b"FAT1", describe::fat16),
    at("ISO 9660 file system", &[32769], b"CD001", describe::iso9660),
    at("UDF file system", &[32769], b"BEA01", describe::name),
    at("swap space", PAGE_ENDS, b"SWAPSPACE2", describe::swap),
    at("swap space", PAGE_ENDS, b"SWAP-SPACE", describe::name),
    // Disk images.
    at("qcow2 image", &[0], b"QFI\xfb", describe::qcow2),
    at("VMDK image", &[0], b"KDMV", describe::name),
    at("VMDK image", &[0], b"COWD", describe::name),
    at("VMDK image", &[0], b"# Disk DescriptorFile", describe::name),
    at("VHDX image", &[0], b"vhdxfile", describe::name),
    at("VDI image", &[64], b"\x7f\x10\xda\xbe", describe::name),
    at("VHD image", &[0], b"conectix", describe::name),
    elsewhere("VHD image", Places::BeforeEnd(&[512]), b"conectix", describe::name),
    // Partition tables last: file systems begin with boot sectors that look like one.
    at("GPT partition table", &[512, 4096], b"EFI PART", describe::gpt),
    at("MBR partition table", &[510], b"\x55\xaa", describe::mbr),
    elsewhere("backup of a GPT partition table", Places::BeforeEnd(&[512, 4096]), b"EFI PART", describe::name),
];

/// The first entry of the table that fits, in words: what it is, and its name or id where it has one.
pub fn recognize(areas: &Areas) -> Option<String> {
    SIGNATURES.iter().find_map(|signature| {
        let places = signature.places.offsets(areas.size_bytes);
        places.into_iter().find_map(|place| {
            let magic = areas.get(place, signature.magic.len())?;
            let found = Found { areas, place, name: signature.name };
            if magic == signature.magic { (signature.describe)(&found) } else { None }
        })
    })
}
