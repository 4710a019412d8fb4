//! From the stored bytes of a block to the block: what is compressed is expanded, what is encrypted is refused.

use quarry_format::crc32c;
use quarry_format::node::{Entry, Method};
use quarry_types::limits::BLOCK_BYTES;

/// Bytes of the length in front of compressed data.
const LENGTH_BYTES: usize = 2;

/// The bytes, if their checksum is right.
pub fn check(bytes: &[u8], checksum: u32) -> Result<Vec<u8>, String> {
    match crc32c(bytes) {
        computed if computed == checksum => Ok(bytes.to_vec()),
        computed => Err(format!("checksum {computed:#010x} instead of {checksum:#010x}")),
    }
}

/// The block that `stored` was made of.
pub fn expand(entry: &Entry, stored: Vec<u8>) -> Result<Vec<u8>, String> {
    if entry.key.0 != 0 {
        return Err(format!("it is encrypted under key {}", entry.key));
    }
    if entry.method == Method::AsIs {
        return Ok(stored);
    }
    let length =
        stored.first_chunk::<LENGTH_BYTES>().map_or(0, |length| usize::from(u16::from_le_bytes(*length)));
    let data = stored.get(LENGTH_BYTES..LENGTH_BYTES + length).ok_or("its compressed data is cut off")?;
    let mut block = vec![0; BLOCK_BYTES];
    let bytes = match entry.method {
        Method::AsIs => unreachable!("returned above"),
        Method::Lz4 => lz4_flex::block::decompress_into(data, &mut block).ok(),
        Method::Zstd => zstd::bulk::decompress_to_buffer(data, &mut block[..]).ok(),
    };
    match bytes {
        Some(BLOCK_BYTES) => Ok(block),
        _ => Err("its compressed data does not expand to a block".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use quarry_types::{KeyId, LogAddress, SnapshotCounter};

    use super::*;

    fn entry(method: Method, key: u16) -> Entry {
        let (address, birth) = (LogAddress(1), SnapshotCounter(0));
        Entry { address, checksum: 0, birth, key: KeyId(key), stored_sectors: 1, method }
    }

    fn stored(data: &[u8]) -> Vec<u8> {
        let mut stored = (data.len() as u16).to_le_bytes().to_vec();
        stored.extend(data);
        stored.resize(512, 0);
        stored
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let block: Vec<u8> = (0..BLOCK_BYTES).map(|at| (at / 100) as u8).collect();
        let (lz4, zstd) =
            (lz4_flex::block::compress(&block), zstd::bulk::compress(&block, 1).expect("it compresses"));
        assert_eq!(expand(&entry(Method::Lz4, 0), stored(&lz4)), Ok(block.clone()));
        assert_eq!(expand(&entry(Method::Zstd, 0), stored(&zstd)), Ok(block.clone()));
        assert_eq!(expand(&entry(Method::AsIs, 0), block.clone()), Ok(block));
    }

    #[test]
    fn what_is_no_block_is_an_error() {
        let short = lz4_flex::block::compress(&[1; 100]);
        for (entry, stored, part) in [
            (entry(Method::Lz4, 0), stored(&short), "does not expand"),
            (entry(Method::Zstd, 0), stored(&short), "does not expand"),
            (entry(Method::Lz4, 0), vec![0xff; 512], "cut off"),
            (entry(Method::Lz4, 0), Vec::new(), "cut off"),
            (entry(Method::AsIs, 7), vec![0; BLOCK_BYTES], "encrypted under key 7"),
        ] {
            let error = expand(&entry, stored).expect_err("it is no block");
            assert!(error.contains(part), "{error}");
        }
    }
}
