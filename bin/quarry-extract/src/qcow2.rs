//! A writer of qcow2 images, version 3 (QEMU's docs/interop/qcow2.rst): sparse, without snapshots, backing file, compression.
//!
//! Clusters of 64 KiB follow each other as they come: the header's, those of the L1 table, then data and L2 tables, at the end the
//! refcounts, which are one for each cluster. One cluster and one L2 table are in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// Entries of an L2 table, and of a cluster of the refcount table.
const ENTRIES: u64 = CLUSTER_BYTES / 8;
/// Guest bytes of an L2 table.
const L2_SPAN_BYTES: u64 = ENTRIES * CLUSTER_BYTES;
/// Refcounts in a refcount block, of 16 bits each.
const REFCOUNTS: u64 = CLUSTER_BYTES / 2;
/// Bit 63 of an entry: the refcount is one.
const COPIED: u64 = 1 << 63;
const HEADER_BYTES: u32 = 104;

/// See the module.
pub struct Qcow2 {
    file: File,
    size_bytes: u64,
    l1: Vec<u64>,
    /// The first cluster that is free.
    next: u64,
    /// The L2 table that is being filled, and its place in the L1 table.
    l2: Option<(u64, Vec<u64>)>,
    /// The cluster that is being filled, and its number in the guest.
    cluster: Option<(u64, Vec<u8>)>,
}

impl Qcow2 {
    /// Begins an image.
    pub fn new(file: File, size_bytes: u64) -> io::Result<Self> {
        let l1 = vec![0; size_bytes.div_ceil(L2_SPAN_BYTES).max(1) as usize];
        let next = 1 + (l1.len() as u64 * 8).div_ceil(CLUSTER_BYTES);
        Ok(Self { file, size_bytes, l1, next, l2: None, cluster: None })
    }

    /// Writes bytes that lie in one cluster, behind all that were written before.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = offset / CLUSTER_BYTES;
        if self.cluster.as_ref().is_some_and(|(filling, _)| *filling != number) {
            self.end_cluster()?;
        }
        let (_, cluster) = self.cluster.get_or_insert_with(|| (number, vec![0; CLUSTER_BYTES as usize]));
        let start = (offset % CLUSTER_BYTES) as usize;
        cluster[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn end_cluster(&mut self) -> io::Result<()> {
        let Some((number, bytes)) = self.cluster.take() else { return Ok(()) };
        if self.l2.as_ref().is_some_and(|(filling, _)| *filling != number / ENTRIES) {
            self.end_l2()?;
        }
        let place = self.append(&bytes)?;
        let (_, l2) = self.l2.get_or_insert_with(|| (number / ENTRIES, vec![0; ENTRIES as usize]));
        l2[(number % ENTRIES) as usize] = place | COPIED;
        Ok(())
    }

    fn end_l2(&mut self) -> io::Result<()> {
        let Some((index, entries)) = self.l2.take() else { return Ok(()) };
        self.l1[index as usize] = self.append(&big_endian(&entries))? | COPIED;
        Ok(())
    }

    /// Writes whole clusters behind all others; says where.
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let place = self.next * CLUSTER_BYTES;
        self.file.write_all_at(bytes, place)?;
        self.next += (bytes.len() as u64).div_ceil(CLUSTER_BYTES);
        Ok(place)
    }

    /// Writes the tables and the header, which makes an image of it.
    pub fn finish(mut self) -> io::Result<File> {
        self.end_cluster()?;
        self.end_l2()?;
        self.file.write_all_at(&big_endian(&self.l1), CLUSTER_BYTES)?;
        let (table, table_clusters) = self.write_refcounts()?;
        let header = self.header(table, table_clusters);
        self.file.write_all_at(&header, 0)?;
        // The last cluster may be written in part.
        self.file.set_len(self.next * CLUSTER_BYTES)?;
        Ok(self.file)
    }

    /// The refcount blocks and their table, which count themselves too.
    fn write_refcounts(&mut self) -> io::Result<(u64, u64)> {
        let (mut blocks, mut table_clusters) = (1, 1);
        loop {
            let clusters = self.next + blocks + table_clusters;
            let needed = (clusters.div_ceil(REFCOUNTS), blocks.div_ceil(ENTRIES));
            if needed == (blocks, table_clusters) {
                break;
            }
            (blocks, table_clusters) = needed;
        }
        let (first, clusters) = (self.next, self.next + blocks + table_clusters);
        for block in 0..blocks {
            let used = (clusters - block * REFCOUNTS).min(REFCOUNTS) as usize;
            let mut bytes = [0, 1].repeat(used);
            bytes.resize(CLUSTER_BYTES as usize, 0);
            self.append(&bytes)?;
        }
        let places: Vec<u64> = (first..first + blocks).map(|cluster| cluster * CLUSTER_BYTES).collect();
        let table = self.append(&big_endian(&places))?;
        self.next = clusters;
        Ok((table, table_clusters))
    }

    fn header(&self, refcount_table: u64, refcount_table_clusters: u64) -> Vec<u8> {
        let mut header = b"QFI\xfb".to_vec();
        let mut u32 = |value: u32| header.extend(value.to_be_bytes());
        u32(3);
        // No backing file.
        [0, 0, 0].into_iter().for_each(&mut u32);
        u32(CLUSTER_BITS);
        header.extend(self.size_bytes.to_be_bytes());
        let mut u32 = |value: u32| header.extend(value.to_be_bytes());
        // Not encrypted.
        u32(0);
        u32(self.l1.len() as u32);
        header.extend(CLUSTER_BYTES.to_be_bytes());
        header.extend(refcount_table.to_be_bytes());
        header.extend((refcount_table_clusters as u32).to_be_bytes());
        // No snapshots; no incompatible, compatible or self-clearing features.
        header.extend([0; 4 + 8 + 3 * 8]);
        // Refcounts of 2^4 bits.
        header.extend(4u32.to_be_bytes());
        header.extend(HEADER_BYTES.to_be_bytes());
        // The end of the header extensions.
        header.extend([0; 8]);
        header
    }
}

fn big_endian(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}
