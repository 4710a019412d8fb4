//! Making a stored block whole again.

use quarry_format::node::Method;
use quarry_types::limits::BLOCK_BYTES;

/// Bytes of the length in front of compressed data.
pub(crate) const LENGTH_BYTES: usize = 2;

/// Why a stored block is none, though its checksum is right: it was not written by this code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExpandError {
    /// It says that it is longer than it is.
    #[error("a compressed block of {stored} bytes says that it has {length}")]
    Length {
        /// What it says.
        length: usize,
        /// What is stored.
        stored: usize,
    },
    /// Its method cannot make a block of it.
    #[error("a compressed block does not expand")]
    Damaged,
    /// It makes less than a block of it.
    #[error("a compressed block expands to {bytes} bytes")]
    Short {
        /// What came out.
        bytes: usize,
    },
}

/// Fills `block`, of the length of a block, with what `stored` was made of.
pub fn expand(method: Method, stored: &[u8], block: &mut [u8]) -> Result<(), ExpandError> {
    assert_eq!(block.len(), BLOCK_BYTES, "blocks are expanded one by one");
    if method == Method::AsIs {
        if stored.len() != block.len() {
            return Err(ExpandError::Short { bytes: stored.len() });
        }
        block.copy_from_slice(stored);
        return Ok(());
    }
    let length = match stored.first_chunk::<LENGTH_BYTES>() {
        Some(length) => usize::from(u16::from_le_bytes(*length)),
        None => return Err(ExpandError::Short { bytes: 0 }),
    };
    let data = stored
        .get(LENGTH_BYTES..LENGTH_BYTES + length)
        .ok_or(ExpandError::Length { length, stored: stored.len() })?;
    let bytes = match method {
        Method::AsIs => unreachable!("handled above"),
        Method::Lz4 => lz4_flex::block::decompress_into(data, block).map_err(|_| ExpandError::Damaged)?,
        Method::Zstd => zstd::bulk::decompress_to_buffer(data, block).map_err(|_| ExpandError::Damaged)?,
    };
    if bytes == BLOCK_BYTES { Ok(()) } else { Err(ExpandError::Short { bytes }) }
}
