//! Digests of data in pieces: CRC-32C (NVMe/TCP 1.0, 3.3.1).

use crc_fast::{CrcAlgorithm, Digest};
use quarry_env::View;
use quarry_nvme_wire::digest::digest;

/// The digest of what lies in `views`, one behind the other.
pub fn digest_of_views(views: &[View]) -> u32 {
    if let [view] = views {
        return digest(view);
    }
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    views.iter().for_each(|view| digest.update(view));
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use quarry_env::BufferPool;

    use super::*;

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let whole = BufferPool::default().copy_of(b"123456789");
        assert_eq!(digest(&whole), 0xE306_9283);
        let pieces = [whole.slice(0..2), whole.slice(2..3), whole.slice(3..9)];
        assert_eq!(digest_of_views(&pieces), digest(&whole));
    }
}
