use proptest::prelude::*;

use super::*;
use crate::probe::{Content, judge};

const SIZE_BYTES: u64 = 64 << 20;

/// A disk of zeroes but for some bytes.
struct Image {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Image {
    fn with(parts: &[(u64, &[u8])]) -> Self {
        let mut image = Self { head: vec![0; 1 << 20], tail: vec![0; 128 << 10] };
        for (offset, bytes) in parts {
            let (area, start) = match offset.checked_sub(SIZE_BYTES - image.tail.len() as u64) {
                Some(start) => (&mut image.tail, start),
                None => (&mut image.head, *offset),
            };
            area[start as usize..start as usize + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    fn areas(&self) -> Areas<'_> {
        Areas { size_bytes: SIZE_BYTES, head: &self.head, tail: &self.tail }
    }

    fn found(&self) -> String {
        match judge(&self.areas()) {
            Content::Foreign { what } => what,
            other => panic!("{other:?}"),
        }
    }
}

const UUID: [u8; 16] = [0x11; 16];
const UUID_TEXT: &str = "(11111111-1111-1111-1111-111111111111)";

type Cases<'a> = Vec<(Vec<(u64, &'a [u8])>, String)>;

fn check(cases: Cases) {
    for (parts, what) in cases {
        assert_eq!(Image::with(&parts).found(), what);
    }
}

fn ext(incompatible: u32, compatible: u32) -> Vec<u8> {
    let mut superblock = vec![0; 136];
    superblock[0] = 16;
    superblock[56..58].copy_from_slice(b"\x53\xef");
    superblock[92..96].copy_from_slice(&compatible.to_le_bytes());
    superblock[96..100].copy_from_slice(&incompatible.to_le_bytes());
    superblock[104..120].copy_from_slice(&UUID);
    superblock[120..124].copy_from_slice(b"data");
    superblock
}

#[test]
fn file_systems_are_named() {
    let (ext2, ext3, ext4) = (ext(2, 0), ext(2, 4), ext(0x42, 4));
    let zfs_name = b"\0\0\0\x04name\0\0\0\x09\0\0\0\x01\0\0\0\x04tank";
    check(vec![
        (vec![(1024, &ext2)], format!("ext2 file system 'data' {UUID_TEXT}")),
        (vec![(1024, &ext3)], format!("ext3 file system 'data' {UUID_TEXT}")),
        (vec![(1024, &ext4)], format!("ext4 file system 'data' {UUID_TEXT}")),
        (vec![(0, b"XFSB"), (32, &UUID), (108, b"box")], format!("XFS file system 'box' {UUID_TEXT}")),
        (
            vec![(65600, b"_BHRfS_M"), (65568, &UUID), (65835, b"b")],
            format!("btrfs file system 'b' {UUID_TEXT}"),
        ),
        (vec![(131072, b"\x0c\xb1\xba\0\0\0\0\0"), (16500, zfs_name)], "ZFS device of pool 'tank'".into()),
        (vec![(135168, b"\0\0\0\0\0\xba\xb1\x0c")], "ZFS device".into()),
        (vec![(3, b"NTFS    "), (510, b"\x55\xaa")], "NTFS file system".into()),
        (vec![(3, b"EXFAT   "), (510, b"\x55\xaa")], "exFAT file system".into()),
        (vec![(71, b"USB STICK  FAT32   "), (510, b"\x55\xaa")], "FAT32 file system 'USB STICK'".into()),
        (vec![(54, b"FAT16   ")], "FAT file system".into()),
        (vec![(32769, b"CD001"), (32808, b"Debian 13   ")], "ISO 9660 file system 'Debian 13'".into()),
    ]);
}

#[test]
fn layers_below_file_systems_are_named() {
    check(vec![
        (vec![(4086, b"SWAPSPACE2"), (1036, &UUID)], format!("swap space {UUID_TEXT}")),
        (vec![(65526, b"SWAPSPACE2")], "swap space".into()),
        (
            vec![(512, b"LABELONE"), (536, b"LVM2 001"), (544, b"abcdefgh")],
            "LVM physical volume (abcdefgh)".into(),
        ),
        (
            vec![(0, b"LUKS\xba\xbe\0\x02"), (24, b"safe"), (168, b"6b6f-11")],
            "LUKS2 encrypted device 'safe' (6b6f-11)".into(),
        ),
        (vec![(0, b"LUKS\xba\xbe\0\x01"), (168, b"6b6f-11")], "LUKS1 encrypted device (6b6f-11)".into()),
        (
            vec![(4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0"), (4128, b"host:0")],
            "Linux RAID member (md 1.x) 'host:0'".into(),
        ),
        (vec![(SIZE_BYTES - 8192, b"\xfc\x4e\x2b\xa9\x01\0\0\0")], "Linux RAID member (md 1.x)".into()),
        (vec![(SIZE_BYTES - 65536, b"\xfc\x4e\x2b\xa9")], "Linux RAID member (md 0.90)".into()),
        (vec![(0, b"bluestore block device\n1234-5\n")], "Ceph BlueStore device (1234-5)".into()),
    ]);
}

#[test]
fn disk_images_are_named() {
    let size = (10u64 << 30).to_be_bytes();
    check(vec![
        (vec![(0, b"QFI\xfb\0\0\0\x03"), (24, &size)], "qcow2 image of 10 GiB".into()),
        (vec![(0, b"KDMV")], "VMDK image".into()),
        (vec![(0, b"vhdxfile")], "VHDX image".into()),
        (vec![(64, b"\x7f\x10\xda\xbe")], "VDI image".into()),
        (vec![(SIZE_BYTES - 512, b"conectix")], "VHD image".into()),
    ]);
}

#[test]
fn partition_tables_are_named_and_counted() {
    let partition = [0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0];
    let boot_sector = (510, &b"\x55\xaa"[..]);
    let entries_of_128 = [128, 0, 0, 0, 128, 0, 0, 0];
    let gpt = vec![
        boot_sector,
        (446, &partition),
        (512, b"EFI PART"),
        (584, &[2]),
        (592, &entries_of_128),
        (1024, &UUID),
        (1024 + 3 * 128, &UUID),
    ];
    let absurd = vec![(4096, &b"EFI PART"[..]), (4168, &[2]), (4176, &[255; 8])];
    check(vec![
        (
            vec![boot_sector, (446, &partition), (478, &partition)],
            "MBR partition table with 2 partitions".into(),
        ),
        (gpt, "GPT partition table with 2 partitions".into()),
        (absurd, "GPT partition table without partitions".into()),
        (vec![(SIZE_BYTES - 512, b"EFI PART")], "backup of a GPT partition table".into()),
    ]);
}

#[test]
fn what_nobody_knows_is_shown() {
    let zeroes = " 00".repeat(14);
    check(vec![
        (vec![(510, b"\x55\xaa")], format!("unknown data (first bytes, at 510: 55 aa{zeroes})")),
        (vec![(SIZE_BYTES - 1, b"\x07")], format!("unknown data (first bytes, at {}: 07)", SIZE_BYTES - 1)),
    ]);
}

#[test]
fn an_empty_disk_is_empty_however_small() {
    assert_eq!(judge(&Image::with(&[]).areas()), Content::Empty);
    assert_eq!(judge(&Areas { size_bytes: 0, head: &[], tail: &[] }), Content::Empty);
    assert_eq!(judge(&Areas { size_bytes: 512, head: &[0; 512], tail: &[] }), Content::Empty);
}

#[test]
fn no_control_character_of_a_foreign_name_reaches_a_terminal() {
    let found = Image::with(&[(0, b"XFSB"), (108, b"\x1b[31mred\r\n")]).found();
    assert_eq!(found, "XFS file system '[31mred'");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The magic of every entry in the table, with noise around it, is looked at without a panic.
    #[test]
    fn noise_behind_a_magic_never_panics(
        entry in 0..SIGNATURES.len(), noise in prop::collection::vec(any::<u8>(), 64 << 10), tail in any::<u64>(),
    ) {
        let mut image = Image::with(&[(0, &noise), (SIZE_BYTES - 8, &tail.to_le_bytes())]);
        let signature = &SIGNATURES[entry];
        for place in signature.places.offsets(SIZE_BYTES) {
            let (area, start) = match place.checked_sub(SIZE_BYTES - image.tail.len() as u64) {
                Some(start) => (&mut image.tail, start),
                None => (&mut image.head, place),
            };
            area[start as usize..start as usize + signature.magic.len()].copy_from_slice(signature.magic);
        }
        let foreign = matches!(judge(&image.areas()), Content::Foreign { .. });
        prop_assert!(foreign);
    }

    #[test]
    fn a_disk_of_any_size_is_looked_at_without_a_panic(
        head in prop::collection::vec(any::<u8>(), 0..20_000), tail in prop::collection::vec(any::<u8>(), 0..600),
        between in 0u64..3,
    ) {
        let size_bytes = (head.len() + tail.len()) as u64 + between * 512;
        judge(&Areas { size_bytes, head: &head, tail: &tail });
    }
}
