//! Command descriptor blocks (SPC-5, SBC-4).

/// TEST UNIT READY.
pub fn test_unit_ready() -> [u8; 16] {
    [0; 16]
}

/// INQUIRY: the standard data, or a page of vital product data.
pub fn inquiry(page: Option<u8>, length: u16) -> [u8; 16] {
    let mut block = [0; 16];
    (block[0], block[1], block[2]) = (0x12, u8::from(page.is_some()), page.unwrap_or(0));
    block[3..5].copy_from_slice(&length.to_be_bytes());
    block
}

/// REPORT SUPPORTED OPERATION CODES of one command.
pub fn report_supported(code: u8) -> [u8; 16] {
    let mut block = [0; 16];
    // One command, by its operation code.
    (block[0], block[1], block[2], block[3], block[9]) = (0xA3, 0x0C, 1, code, 4);
    block
}

/// READ CAPACITY (16).
pub fn read_capacity() -> [u8; 16] {
    let mut block = [0; 16];
    (block[0], block[1], block[13]) = (0x9E, 0x10, 32);
    block
}

/// MODE SENSE (6) of all pages, without block descriptors.
pub fn mode_sense(length: u8) -> [u8; 16] {
    let mut block = [0; 16];
    (block[0], block[1], block[2], block[4]) = (0x1A, 0x08, 0x3F, length);
    block
}

/// SYNCHRONIZE CACHE (16) of the whole unit.
pub fn synchronize_cache() -> [u8; 16] {
    let mut block = [0; 16];
    block[0] = 0x91;
    block
}

/// SYNCHRONIZE CACHE (10) of the whole unit.
pub fn synchronize_cache_10() -> [u8; 16] {
    let mut block = [0; 16];
    block[0] = 0x35;
    block
}

fn of_blocks(code: u8, first: u64, blocks: u32) -> [u8; 16] {
    let mut block = [0; 16];
    block[0] = code;
    block[2..10].copy_from_slice(&first.to_be_bytes());
    block[10..14].copy_from_slice(&blocks.to_be_bytes());
    block
}

/// READ (16).
pub fn read(first: u64, blocks: u32) -> [u8; 16] {
    of_blocks(0x88, first, blocks)
}

/// WRITE (16).
pub fn write(first: u64, blocks: u32) -> [u8; 16] {
    of_blocks(0x8A, first, blocks)
}

/// UNMAP of a list of [`UNMAP_BYTES`].
pub fn unmap() -> [u8; 16] {
    let mut block = [0; 16];
    (block[0], block[8]) = (0x42, UNMAP_BYTES as u8);
    block
}

/// Bytes of a list of one range.
pub const UNMAP_BYTES: usize = 24;

/// The list of one range.
pub fn unmap_list(first: u64, blocks: u32) -> [u8; UNMAP_BYTES] {
    let mut list = [0; UNMAP_BYTES];
    (list[1], list[3]) = (UNMAP_BYTES as u8 - 2, UNMAP_BYTES as u8 - 8);
    list[8..16].copy_from_slice(&first.to_be_bytes());
    list[16..20].copy_from_slice(&blocks.to_be_bytes());
    list
}
