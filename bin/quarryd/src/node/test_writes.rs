//! What a test writes to a volume as a host would.

use quarry_volume::WriteFlags;

use crate::test_node::{TestNode, name};

impl TestNode {
    /// Writes so many MiB of a volume, all alike, and flushes.
    pub async fn write(&self, volume: &str, from_mib: u64, mib: u64) {
        let found = self.node.locate(&name(volume)).await.expect("it is there");
        let id = found.id();
        let writing = self.cores.call(found.core(), move |state| async move {
            let volume = state.own_volume(id).expect("it is on its core");
            for at in from_mib..from_mib + mib {
                let bytes = state.env.buffers.copy_of(&vec![at as u8 + 1; 1 << 20]);
                volume.write(at << 20, bytes, WriteFlags::default()).await.expect("a write");
            }
            volume.flush().await.expect("a flush");
        });
        writing.await.expect("the core runs");
    }

    /// Reads that again, and compares.
    pub async fn check(&self, volume: &str, from_mib: u64, mib: u64) {
        let found = self.node.locate(&name(volume)).await.expect("it is there");
        let id = found.id();
        let reading = self.cores.call(found.core(), move |state| async move {
            let volume = state.own_volume(id).expect("it is on its core");
            for at in from_mib..from_mib + mib {
                let views = volume.read(at << 20, 1 << 20).await.expect("a read");
                assert!(views.iter().all(|view| view.iter().all(|&byte| byte == at as u8 + 1)), "MiB {at}");
            }
        });
        reading.await.expect("the core runs");
    }
}
