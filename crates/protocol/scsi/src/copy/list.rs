//! The parameter list of EXTENDED COPY: which units, and which of their blocks.

use quarry_types::VolumeId;

use super::{BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_OFFSET, DESCRIPTOR_BYTES_MAX, HEADER_BYTES, IDENTIFICATION};
use crate::cdb::{u16_at, u32_at, u64_at};
use crate::identify::VENDOR;
use crate::limits::{BLOCK_BYTES, COPY_SEGMENT_BYTES_MAX, COPY_SEGMENTS_MAX, COPY_TARGETS_MAX};
use crate::sense::{Code, Sense};
use crate::vpd::{naa, serial};

const TARGET_BYTES: usize = 32;

/// A unit, by one of the designators of its page 83.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CopyTarget {
    kind: u8,
    designator: Vec<u8>,
}

impl CopyTarget {
    pub(crate) fn is(&self, volume: VolumeId) -> bool {
        match self.kind {
            1 => self.designator.strip_prefix(&VENDOR[..]).is_some_and(|rest| {
                // A target descriptor has no room for the whole serial number.
                !rest.is_empty() && serial(volume).as_bytes().starts_with(rest)
            }),
            3 => self.designator == naa(volume),
            _ => false,
        }
    }
}

/// A range to copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) source_offset: u64,
    pub(crate) destination_offset: u64,
    pub(crate) bytes: u64,
}

/// The whole list.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct CopyList {
    pub(crate) identifier: u8,
    pub(crate) keeps_result: bool,
    pub(crate) targets: Vec<CopyTarget>,
    pub(crate) segments: Vec<Segment>,
}

impl CopyList {
    pub(crate) fn parse(list: &[u8]) -> Result<Self, Sense> {
        let wrong_length = Sense::illegal(Code::PARAMETER_LIST_LENGTH);
        let header = HEADER_BYTES as usize;
        if list.len() < header {
            return Err(wrong_length);
        }
        let targets_bytes = usize::from(u16_at(list, 2));
        let segments_bytes = u32_at(list, 8) as usize;
        let all = targets_bytes.saturating_add(segments_bytes);
        if all > DESCRIPTOR_BYTES_MAX as usize || list.len() - header < all {
            return Err(wrong_length);
        }
        if u32_at(list, 12) != 0 {
            return Err(Sense::field_in_parameters(12));
        }
        let (targets, segments) = list[header..header + all].split_at(targets_bytes);
        // SPC-4 6.4.3: 11b is "neither an identifier nor a result".
        let usage = list[1] >> 3 & 3;
        Ok(Self {
            identifier: list[0],
            keeps_result: usage != 3,
            targets: parse_targets(targets)?,
            segments: parse_segments(segments)?,
        })
    }
}

fn parse_targets(bytes: &[u8]) -> Result<Vec<CopyTarget>, Sense> {
    if !bytes.len().is_multiple_of(TARGET_BYTES) {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    if bytes.len() / TARGET_BYTES > COPY_TARGETS_MAX {
        return Err(Sense::illegal(Code::TOO_MANY_TARGETS));
    }
    bytes.chunks_exact(TARGET_BYTES).map(parse_target).collect()
}

fn parse_target(bytes: &[u8]) -> Result<CopyTarget, Sense> {
    if bytes[0] != IDENTIFICATION {
        return Err(Sense::illegal(Code::UNSUPPORTED_TARGET));
    }
    let length = usize::from(bytes[7]);
    if length > 20 {
        return Err(Sense::field_in_parameters(HEADER_BYTES as u16 + 7));
    }
    Ok(CopyTarget { kind: bytes[5] & 0x0F, designator: bytes[8..8 + length].to_vec() })
}

fn parse_segments(bytes: &[u8]) -> Result<Vec<Segment>, Sense> {
    let wrong_length = Sense::illegal(Code::PARAMETER_LIST_LENGTH);
    let mut segments = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.len() < 4 {
            return Err(wrong_length);
        }
        let length = usize::from(u16_at(rest, 2)) + 4;
        if rest.len() < length {
            return Err(wrong_length);
        }
        if segments.len() >= COPY_SEGMENTS_MAX {
            return Err(Sense::illegal(Code::TOO_MANY_SEGMENTS));
        }
        segments.push(parse_segment(&rest[..length])?);
        rest = &rest[length..];
    }
    Ok(segments)
}

fn parse_segment(bytes: &[u8]) -> Result<Segment, Sense> {
    let block = u64::from(BLOCK_BYTES);
    let wanted = match bytes[0] {
        BLOCK_TO_BLOCK => 28,
        BLOCK_TO_BLOCK_OFFSET => 32,
        _ => return Err(Sense::illegal(Code::UNSUPPORTED_SEGMENT)),
    };
    if bytes.len() != wanted {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    let length = match wanted {
        28 => u64::from(u16_at(bytes, 10)) * block,
        _ => u64::from(u32_at(bytes, 8)),
    };
    let offset = |at: usize| if wanted == 32 { u64::from(u16_at(bytes, at)) } else { 0 };
    let place = |lba: usize, extra: u64| {
        u64_at(bytes, lba).checked_mul(block).and_then(|offset| offset.checked_add(extra))
    };
    let whole = (length | offset(28) | offset(30)).is_multiple_of(block);
    let source_offset = place(12, offset(28));
    let destination_offset = place(20, offset(30));
    match (source_offset, destination_offset) {
        (Some(source_offset), Some(destination_offset))
            if whole && length <= u64::from(COPY_SEGMENT_BYTES_MAX) =>
        {
            let (source, destination) = (u16_at(bytes, 4), u16_at(bytes, 6));
            Ok(Segment { source, destination, source_offset, destination_offset, bytes: length })
        }
        _ => Err(Sense::field_in_parameters(HEADER_BYTES as u16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(targets: &[u8], segments: &[u8]) -> Vec<u8> {
        let mut list = vec![0; 16];
        list[0] = 7;
        list[2..4].copy_from_slice(&(targets.len() as u16).to_be_bytes());
        list[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
        [&list, targets, segments].concat()
    }

    fn target(volume: VolumeId) -> Vec<u8> {
        let mut target = vec![IDENTIFICATION, 0, 0, 0, 1, 3, 0, 16];
        target.extend_from_slice(&naa(volume));
        target.resize(TARGET_BYTES, 0);
        target
    }

    fn segment(blocks: u16) -> Vec<u8> {
        let mut segment = vec![BLOCK_TO_BLOCK, 0, 0, 24, 0, 0, 0, 1, 0, 0];
        segment.extend_from_slice(&blocks.to_be_bytes());
        segment.extend_from_slice(&5u64.to_be_bytes());
        segment.extend_from_slice(&9u64.to_be_bytes());
        segment
    }

    #[test]
    fn a_list_names_units_and_ranges() {
        let volume = VolumeId::from_random(9);
        let parsed = CopyList::parse(&list(&target(volume), &segment(3))).expect("a valid list");
        assert!(parsed.targets[0].is(volume) && !parsed.targets[0].is(VolumeId::from_random(8)));
        let expected =
            Segment { source: 0, destination: 1, source_offset: 2560, destination_offset: 4608, bytes: 1536 };
        assert_eq!((parsed.identifier, &parsed.segments[..]), (7, &[expected][..]));
    }

    #[test]
    fn wrong_lists_are_refused() {
        let volume = VolumeId::from_random(9);
        let (target, segment) = (target(volume), segment(3));
        let code = |list: &[u8]| CopyList::parse(list).expect_err("wrong").code;
        let good = list(&target, &segment);
        for length in [0, 15, 16, 47, 48, 75] {
            assert_eq!(code(&good[..length]), Code::PARAMETER_LIST_LENGTH, "{length}");
        }
        assert_eq!(code(&list(&target.repeat(17), &segment)), Code::TOO_MANY_TARGETS);
        assert_eq!(code(&list(&target, &segment.repeat(65))), Code::TOO_MANY_SEGMENTS);
        let mut other = target.clone();
        other[0] = 0xE0;
        assert_eq!(code(&list(&other, &segment)), Code::UNSUPPORTED_TARGET);
        let mut other = segment.clone();
        other[0] = 3;
        assert_eq!(code(&list(&target, &other)), Code::UNSUPPORTED_SEGMENT);
        let mut other = segment;
        other[12] = 0xFF;
        assert_eq!(code(&list(&target, &other)), Code::INVALID_FIELD_IN_PARAMETERS);
    }
}
