//! Little-endian fields at fixed places.

/// 16 bits at `at`, which must lie inside.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// 32 bits at `at`, which must lie inside.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// 64 bits at `at`, which must lie inside.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the length of the array")
}

/// A structure under construction, all zero where nothing was put.
pub struct Page(Vec<u8>);

impl Page {
    /// `length` zeroes.
    pub fn new(length: usize) -> Self {
        Self(vec![0; length])
    }

    /// Puts bytes at `at`.
    pub fn bytes(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Puts 8 bits.
    pub fn u8(&mut self, at: usize, value: u8) -> &mut Self {
        self.bytes(at, &[value])
    }

    /// Puts 16 bits.
    pub fn u16(&mut self, at: usize, value: u16) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Puts 32 bits.
    pub fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Puts 64 bits.
    pub fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Puts the low 64 bits of a field of 128.
    pub fn u128(&mut self, at: usize, value: u128) -> &mut Self {
        self.bytes(at, &value.to_le_bytes())
    }

    /// Puts text, cut to `length` and filled with `fill`.
    pub fn text(&mut self, at: usize, length: usize, fill: u8, text: &str) -> &mut Self {
        self.0[at..at + length].fill(fill);
        let text = &text.as_bytes()[..text.len().min(length)];
        self.bytes(at, text)
    }

    /// The finished structure.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}
