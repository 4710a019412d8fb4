//! What a written sector looks like: a function of seed, sector and version, so that any other byte shows.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 8 | seed of the run |
//! | 16 | 8 | sector number |
//! | 24 | 4 | version, never 0 |
//! | 28 | 4 | zero |
//! | 32 | 472 | filling |
//! | 504 | 8 | checksum of the 504 bytes before it |

/// The unit of versions.
pub const SECTOR_BYTES: usize = 512;
const MAGIC: u64 = u64::from_le_bytes(*b"QRYORACL");
const WORDS: usize = SECTOR_BYTES / 8;

/// The number of a write, unique in a run; 0 stands for "reads as zeroes".
pub type Version = u32;

/// What a sector turned out to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeroes.
    Zero,
    /// Exactly what this write put at this place.
    Written(Version),
    /// A whole sector of ours, but of another place or run.
    Misplaced {
        /// Sector number that it carries.
        sector: u64,
        /// Version that it carries.
        version: Version,
        /// Seed that it carries.
        seed: u64,
    },
    /// Anything else.
    Garbage,
}

/// SplitMix64's output function.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

fn fill_sector(bytes: &mut [u8], seed: u64, sector: u64, version: Version) {
    let key = mix(seed ^ mix(sector.wrapping_add(u64::from(version) << 40)));
    let mut checksum = key;
    let (words, _) = bytes.as_chunks_mut::<8>();
    for (index, bytes) in words[..WORDS - 1].iter_mut().enumerate() {
        let word = match index {
            0 => MAGIC,
            1 => seed,
            2 => sector,
            3 => u64::from(version),
            // The second half is compressible.
            _ if index >= WORDS / 2 => key,
            _ => mix(key.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        };
        checksum = (checksum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        *bytes = word.to_le_bytes();
    }
    words[WORDS - 1] = checksum.to_le_bytes();
}

/// Fills whole sectors with what write `version` puts there; the first is number `sector` of the volume.
pub fn fill(bytes: &mut [u8], seed: u64, sector: u64, version: Version) {
    for (index, bytes) in bytes.chunks_exact_mut(SECTOR_BYTES).enumerate() {
        fill_sector(bytes, seed, sector + index as u64, version);
    }
}

/// Says what one sector holds that was read as number `sector`.
pub fn identify(bytes: &[u8], seed: u64, sector: u64) -> Content {
    let word =
        |index: usize| u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"));
    if word(0) != MAGIC {
        let is_zero = bytes.iter().all(|&byte| byte == 0);
        return if is_zero { Content::Zero } else { Content::Garbage };
    }
    let (found_seed, found_sector, Ok(version)) = (word(1), word(2), Version::try_from(word(3))) else {
        return Content::Garbage;
    };
    let mut expected = [0; SECTOR_BYTES];
    fill_sector(&mut expected, found_seed, found_sector, version);
    if bytes != expected {
        Content::Garbage
    } else if (found_seed, found_sector) == (seed, sector) {
        Content::Written(version)
    } else {
        Content::Misplaced { sector: found_sector, version, seed: found_seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_tells_what_it_is_and_every_other_byte_shows() {
        let mut bytes = vec![0; 2 * SECTOR_BYTES];
        assert_eq!(identify(&bytes[..512], 9, 100), Content::Zero);
        fill(&mut bytes, 9, 100, 7);
        assert_eq!(identify(&bytes[..512], 9, 100), Content::Written(7));
        assert_eq!(identify(&bytes[512..], 9, 101), Content::Written(7));
        assert_eq!(identify(&bytes[512..], 9, 100), Content::Misplaced { sector: 101, version: 7, seed: 9 });
        assert_eq!(identify(&bytes[..512], 8, 100), Content::Misplaced { sector: 100, version: 7, seed: 9 });
        for index in 0..SECTOR_BYTES {
            bytes[index] ^= 0x10;
            assert_ne!(identify(&bytes[..512], 9, 100), Content::Written(7), "byte {index}");
            bytes[index] ^= 0x10;
        }
    }
}
