//! A claim: who uses a device that cannot be locked. In the header of every device behind a network.

use crate::{FormatError, Reader, Writer};

const MAGIC: u64 = u64::from_le_bytes(*b"QRYCLAIM");
const VERSION: u16 = 1;
const NAME: &str = "claim";
/// Bytes of a claim on a device.
pub const CLAIM_BYTES: usize = 4096;

/// Who uses a device. Its holder raises the sequence every few seconds as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// A random number of the process.
    pub holder: u128,
    /// Rises with each renewal.
    pub sequence: u64,
    /// Whether the holder still uses the device; it says so when it has ended well.
    pub is_held: bool,
}

impl Claim {
    /// The bytes, [`CLAIM_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(MAGIC, VERSION);
        writer.raw(&self.holder.to_le_bytes()).u64(self.sequence).u8(u8::from(self.is_held));
        writer.raw(&vec![0; CLAIM_BYTES - writer.len()]);
        writer.finish()
    }

    /// Reads a claim that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(NAME, MAGIC, VERSION, bytes)?;
        let holder = u128::from_le_bytes(reader.id()?);
        let sequence = reader.u64()?;
        let is_held = match reader.u8()? {
            0 => false,
            1 => true,
            other => return Err(reader.field("held", other.into())),
        };
        reader.zero("padding", reader.remaining())?;
        Ok(Self { holder, sequence, is_held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_back_and_damage_is_noticed() {
        let claim = Claim { holder: u128::MAX / 3, sequence: 7, is_held: true };
        let bytes = claim.encode();
        assert_eq!((bytes.len(), Claim::decode(&bytes)), (CLAIM_BYTES, Ok(claim)));
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Claim::decode(&damaged).is_err());
        }
        assert!(Claim::decode(&[0; CLAIM_BYTES]).is_err());
    }
}
