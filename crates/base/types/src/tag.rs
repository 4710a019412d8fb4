//! What proves that an encrypted block is what was written.

/// The authentication tag of AES-GCM, 16 bytes (NIST SP 800-38D, section 5.2.1.2). All zero where nothing is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Tag(pub [u8; Tag::BYTES]);

impl Tag {
    /// Bytes of a tag.
    pub const BYTES: usize = 16;
    /// The tag of what is not encrypted.
    pub const NONE: Self = Self([0; Self::BYTES]);
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}
