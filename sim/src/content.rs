//! What the sectors of a volume hold: each tells its place and its version all over, so that any byte that is not where
//! it belongs shows.

use quarry_types::SECTOR_BYTES;
use quarry_types::limits::BLOCK_SECTORS;

/// The version of a sector that reads as zeroes.
pub const ZEROES: u64 = 0;

/// Versions from here on look the same in every block of every volume, so that there is something to share.
pub const COMMON: u64 = 1 << 40;

const WORDS: usize = 4;
const TAG: u64 = 0x5155_4152_5259 << 16;

/// Bytes of a sector that no write has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// What the sector says of itself, if all of it fits: seed, volume, sector, version.
    pub says: Option<[u64; WORDS]>,
}

fn words(seed: u64, volume: usize, sector: u64, version: u64) -> [u64; WORDS] {
    if version >= COMMON {
        return [seed, TAG | 0xffff, sector % u64::from(BLOCK_SECTORS), version];
    }
    [seed, TAG | volume as u64, sector, version]
}

/// A sector that begins with `words` and says them again and again; some versions after a while as noise, so that some blocks
/// compress well, some a little and some not at all.
fn sector(words: [u64; WORDS]) -> [u8; SECTOR_BYTES] {
    let clear = match words[WORDS - 1] / 3 % 4 {
        0 => WORDS,
        1 => SECTOR_BYTES / 16,
        _ => SECTOR_BYTES / 8,
    };
    let mut noise =
        words.iter().fold(0, |noise: u64, word| (noise ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut bytes = [0; SECTOR_BYTES];
    for (index, to) in bytes.chunks_exact_mut(8).enumerate() {
        noise = (noise ^ noise >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(index as u64);
        let word = words[index % WORDS] ^ if index < clear { 0 } else { noise };
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Fills `bytes`, whole sectors from `first_sector` on, with `version` (not 0).
pub fn fill(bytes: &mut [u8], seed: u64, volume: usize, first_sector: u64, version: u64) {
    for (number, bytes) in (first_sector..).zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
        bytes.copy_from_slice(&sector(words(seed, volume, number, version)));
    }
}

/// The version that one sector holds.
pub fn version(bytes: &[u8], seed: u64, volume: usize, number: u64) -> Result<u64, Foreign> {
    let word = |at: usize| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("eight bytes"));
    let says: [u64; WORDS] = std::array::from_fn(word);
    if says == [0; WORDS] {
        let zeroes = bytes.iter().all(|&byte| byte == 0);
        return if zeroes { Ok(ZEROES) } else { Err(Foreign { says: None }) };
    }
    if bytes != sector(says) {
        return Err(Foreign { says: None });
    }
    let version = says[3];
    if version != ZEROES && says == words(seed, volume, number, version) {
        Ok(version)
    } else {
        Err(Foreign { says: Some(says) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_tells_its_version_and_nothing_else_does() {
        let mut bytes = vec![0; 3 * SECTOR_BYTES];
        fill(&mut bytes[SECTOR_BYTES..], 5, 2, 101, 77);
        let sector = |index: usize| &bytes[index * SECTOR_BYTES..(index + 1) * SECTOR_BYTES];
        assert_eq!(version(sector(0), 5, 2, 100), Ok(ZEROES));
        assert_eq!(version(sector(1), 5, 2, 101), Ok(77));
        assert_eq!(version(sector(2), 5, 2, 102), Ok(77));
        assert!(version(sector(2), 5, 2, 101).is_err(), "misplaced");
        assert!(version(sector(2), 5, 1, 102).is_err(), "of another volume");
        let common = COMMON + 2;
        let mut two = vec![0; 2 * SECTOR_BYTES];
        fill(&mut two[..SECTOR_BYTES], 5, 2, 102, common);
        fill(&mut two[SECTOR_BYTES..], 5, 3, 110, common);
        assert_eq!(two[..SECTOR_BYTES], two[SECTOR_BYTES..]);
        assert_eq!(version(&two[..SECTOR_BYTES], 5, 4, 6), Ok(common));
        assert!(version(&two[..SECTOR_BYTES], 5, 2, 103).is_err(), "misplaced in its block");
        let mut torn = sector(1).to_vec();
        torn[500] ^= 1;
        assert_eq!(version(&torn, 5, 2, 101), Err(Foreign { says: None }));
    }
}
