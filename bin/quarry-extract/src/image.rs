//! The newest state of each log that an anchor names and that can be read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use quarry_format::anchor::Anchor;
use quarry_format::image::Image;
use quarry_format::label::{ANCHOR_BYTES, ANCHORS_PER_LOG, GRANULE_BYTES, anchor_offset};
use quarry_format::{FormatError, crc32c};
use quarry_types::LogId;
use quarry_types::limits::LOGS_MAX;

use crate::pool::Pool;

/// Larger images are not written: an anchor has no room for more chunks.
const IMAGE_BYTES_MAX: u64 = 4 << 30;

type Anchors = BTreeMap<LogId, Vec<Anchor>>;

/// The image of each log, and what is wrong with newer ones.
pub fn images(pool: &Pool) -> Result<(Vec<Image>, Vec<String>)> {
    let (mut images, mut flaws) = (Vec::new(), Vec::new());
    let (anchors, damaged) = anchors(pool)?;
    for log in damaged.into_iter().filter(|log| !anchors.contains_key(log)) {
        flaws.push(format!("log {log}: its anchors are damaged; its volumes are not known"));
    }
    for (log, anchors) in anchors {
        let mut found = None;
        for anchor in anchors {
            match read(pool, &anchor)? {
                Ok(image) => {
                    found = Some(image);
                    break;
                }
                Err(wrong) => {
                    flaws.push(format!("log {log}: image {} cannot be read: {wrong}", anchor.sequence))
                }
            }
        }
        match found {
            Some(image) => images.push(image),
            None => {
                flaws.push(format!("log {log}: none of its images can be read; its volumes are not known"))
            }
        }
    }
    Ok((images, flaws))
}

/// The distinct anchors of each log, the newest first, and logs of which there are some that cannot be understood.
fn anchors(pool: &Pool) -> Result<(Anchors, BTreeSet<LogId>)> {
    let mut all = Anchors::new();
    let (mut damaged, mut empty) = (BTreeSet::new(), BTreeSet::new());
    for device in pool.devices.values() {
        for (log, which) in
            (0..LOGS_MAX).flat_map(|log| (0..ANCHORS_PER_LOG).map(move |which| (LogId(log), which)))
        {
            let mut bytes = vec![0; ANCHOR_BYTES];
            if device.read(&mut bytes, anchor_offset(log, which)).is_err() {
                damaged.insert((log, which));
                continue;
            }
            match Anchor::decode(&bytes) {
                Ok(anchor) if anchor.pool == pool.label.pool && anchor.log == log => {
                    all.entry(log).or_default().push(anchor);
                }
                Err(error) if is_newer(&error) => bail!("'{}': {error}", device.path.display()),
                // Torn, and then its twin counts.
                Err(_) if bytes.iter().any(|&byte| byte != 0) => _ = damaged.insert((log, which)),
                // Never written, or by another pool.
                _ => _ = empty.insert((log, which)),
            }
        }
    }
    for anchors in all.values_mut() {
        anchors.sort_by_key(|anchor| std::cmp::Reverse((anchor.sequence, anchor.incarnation)));
        anchors.dedup();
    }
    // Anchors are written to all devices: what only some have was written there by mistake.
    Ok((all, damaged.difference(&empty).map(|(log, _)| *log).collect()))
}

/// Whether a newer version has written it.
pub fn is_newer(error: &FormatError) -> bool {
    matches!(error, FormatError::Version { found, supported, .. } if found > supported)
}

/// Reads the image that an anchor names, chunk by chunk. Outer errors end the program.
fn read(pool: &Pool, anchor: &Anchor) -> Result<Result<Image, String>> {
    if anchor.image_bytes > IMAGE_BYTES_MAX {
        return Ok(Err(format!("it would have {} bytes", anchor.image_bytes)));
    }
    // Each copy of each chunk may be bad, and only the whole has a checksum: the first copy of every chunk, then the second.
    let copies = anchor.chunks.iter().map(|chunk| chunk.slots.len()).max().unwrap_or(0);
    let mut wrong = "it has no copy".to_owned();
    for copy in 0..copies {
        let bytes = match assemble(pool, anchor, copy) {
            Ok(bytes) => bytes,
            Err(error) => {
                wrong = error;
                continue;
            }
        };
        if crc32c(&bytes) != anchor.image_checksum {
            wrong = "its checksum is wrong".to_owned();
            continue;
        }
        return match Image::decode(&bytes) {
            Ok(image) => Ok(Ok(image)),
            Err(error) => bail!("log {}: {error}", anchor.log),
        };
    }
    Ok(Err(wrong))
}

/// The image from copy `copy` of each chunk, or another one where that cannot be read.
fn assemble(pool: &Pool, anchor: &Anchor, copy: usize) -> Result<Vec<u8>, String> {
    let per_chunk = (pool.label.segment_bytes - u64::from(GRANULE_BYTES)) as usize;
    let (mut bytes, mut left) = (Vec::new(), anchor.image_bytes as usize);
    for chunk in &anchor.chunks {
        let length = left.min(per_chunk);
        let mut slots = chunk.slots.clone();
        let middle = copy.min(slots.len().saturating_sub(1));
        slots.rotate_left(middle);
        let part = pool.read_checked(&slots, GRANULE_BYTES.into(), length, |part| Ok(part.to_vec()))?;
        bytes.extend(part);
        left -= length;
    }
    if left == 0 { Ok(bytes) } else { Err("its chunks do not hold all of it".to_owned()) }
}
