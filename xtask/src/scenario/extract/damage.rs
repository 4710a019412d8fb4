//! Devices that are missing or rotten: what can be had is had, and what cannot is named to the byte.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Extract, copies, expect};
use crate::node::Node;
use crate::report::Steps;

/// Where the slots begin on a device.
const SLOTS_OFFSET: u64 = 1 << 20;
const BLOCK_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
const NODE_MAGIC: &[u8] = b"QRYNODE\0";
/// Where a node says its level.
const NODE_LEVEL: usize = 16;

pub(super) fn run(
    node: &Node,
    extract: &Extract<'_>,
    devices: &[PathBuf],
    all: &[String],
    steps: &mut Steps,
) -> Result<()> {
    for missing in 0..devices.len() {
        steps.step(format!("without device {missing}: everything, from the other copies"), || {
            let left: Vec<PathBuf> = except(devices, missing);
            let listed = extract.list(&left, 3)?;
            let flaws = listed[0]["flaws"].to_string();
            ensure!(flaws.contains(&format!("device {missing} is missing")), "the flaws are {flaws}");
            extract.compare_some(node, all, &left)
        })?;
    }
    steps.step("all slots of one device rotten: everything, from the other copies", || {
        let rotten = copies(extract.scratch, "rotten", devices)?;
        rot(&rotten[1], |_| true)?;
        extract.compare_some(node, all, &rotten)
    })?;
    steps.step("one block rotten on every copy: named to the byte, the rest is there", || {
        lost_block(extract, devices)
    })?;
    steps.step("all leaves rotten on every copy: what the tail has is there, the rest is named", || {
        lost_leaves(extract, devices)
    })?;
    steps.step("a label that is gone on one place is read from the other", || {
        let torn = copies(extract.scratch, "torn", devices)?;
        File::options().write(true).open(&torn[0])?.write_all_at(&[0xff; 4096], 0)?;
        extract.list(&torn, 3)?;
        extract.compare(node, &all[0], &torn, &["raw"])
    })
}

fn except(devices: &[PathBuf], missing: usize) -> Vec<PathBuf> {
    let left = devices.iter().enumerate().filter(|(index, _)| *index != missing);
    left.map(|(_, device)| device.clone()).collect()
}

/// Damages each sector of the slots that `is_meant` picks. Returns how many there were.
fn rot(device: &Path, is_meant: impl Fn(&[u8]) -> bool) -> Result<usize> {
    let mut bytes = fs::read(device)?;
    let mut count = 0;
    for sector in bytes[SLOTS_OFFSET as usize..].chunks_exact_mut(SECTOR_BYTES) {
        if is_meant(sector) {
            sector[100] ^= 0x10;
            count += 1;
        }
    }
    fs::write(device, bytes)?;
    Ok(count)
}

/// Writes `path` from damaged devices; returns what was reported, and fails unless all else is as in `good`.
fn salvage(extract: &Extract<'_>, path: &str, devices: &[PathBuf], good: &[u8]) -> Result<Vec<Range<usize>>> {
    let out = extract.scratch.join("salvaged.raw");
    expect(&extract.run(path, &out, devices, &[])?, 1)?;
    ensure!(!out.exists(), "a damaged image was written without --skip-damaged");
    let output = extract.run(path, &out, devices, &["--skip-damaged"])?;
    expect(&output, 3)?;
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    let lost: Vec<Range<usize>> = lines
        .lines()
        .filter_map(|line| line.strip_prefix("damaged: bytes "))
        .map(|line| {
            let (start, rest) = line.split_once(" to ").context("no range")?;
            let (end, _) = rest.split_once(' ').context("no range")?;
            Ok(start.parse()?..end.parse()?)
        })
        .collect::<Result<_>>()?;
    let mut salvaged = fs::read(&out)?;
    ensure!(salvaged.len() == good.len(), "the image has another size");
    for range in &lost {
        ensure!(salvaged[range.clone()].iter().all(|&byte| byte == 0), "what is lost is not zero");
        salvaged[range.clone()].copy_from_slice(&good[range.clone()]);
    }
    ensure!(salvaged == good, "what was not reported differs");
    fs::remove_file(out)?;
    Ok(lost)
}

fn lost_block(extract: &Extract<'_>, devices: &[PathBuf]) -> Result<()> {
    let good = fs::read(extract.write("disk", "good.raw", devices, &[])?)?;
    let is_data = |block: &[u8]| block.iter().any(|&byte| byte != 0);
    let number = good.chunks_exact(BLOCK_BYTES).rposition(is_data).context("the volume is empty")?;
    let range = number * BLOCK_BYTES..(number + 1) * BLOCK_BYTES;
    let damaged = copies(extract.scratch, "damaged", devices)?;
    let sector = &good[range.start..range.start + SECTOR_BYTES];
    let mut rotten = 0;
    for device in &damaged {
        rotten += rot(device, |found| found == sector)?;
    }
    ensure!(rotten > 0, "the block is on no device");
    let lost = salvage(extract, "disk", &damaged, &good)?;
    ensure!(lost == [range.clone()], "lost is {lost:?}, not {range:?}");
    Ok(())
}

fn lost_leaves(extract: &Extract<'_>, devices: &[PathBuf]) -> Result<()> {
    let good = fs::read(extract.write("disk", "good.raw", devices, &[])?)?;
    let damaged = copies(extract.scratch, "damaged", devices)?;
    let is_leaf = |sector: &[u8]| sector.starts_with(NODE_MAGIC) && sector[NODE_LEVEL] == 0;
    for device in &damaged {
        ensure!(rot(device, is_leaf)? > 0, "there is no leaf on {}", device.display());
    }
    let lost = salvage(extract, "disk", &damaged, &good)?;
    let bytes: usize = lost.iter().map(|range| range.len()).sum();
    ensure!(bytes > 0 && bytes < good.len(), "{bytes} of {} bytes are lost", good.len());
    Ok(())
}
