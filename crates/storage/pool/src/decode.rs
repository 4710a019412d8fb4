//! Bytes of a chunk that cannot be read, or are wrong, from the other chunks of its group.
//!
//! The code does not say which of its members are right: whoever asks does, by a checksum, and other combinations of members are tried
//! as long as there are any.

use futures::future::join_all;
use quarry_ec::Members;
use quarry_env::{Buffer, View};
use quarry_format::chunk::CHUNK_HEADER_BYTES;
use quarry_format::parity::ParityTable;

use crate::{Chunk, Expected, Group, Pool};

/// Whole granules of a group: the same range of each member.
#[derive(Clone, Copy)]
pub(crate) struct Stripe {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

impl Pool {
    /// A piece of a chunk, verified, from the other chunks of its group.
    pub(crate) async fn decode_piece(&self, chunk: &Chunk, offset: u64, piece: &Expected) -> Option<View> {
        let accept = |bytes: &[u8]| piece.holds(bytes).then_some(());
        self.decode_bytes(chunk, offset, piece.bytes(), accept).await.map(|((), view)| view)
    }

    /// Bytes of a chunk as the other chunks of its group say, if `accept` takes them, and what it made of them.
    pub(crate) async fn decode_bytes<T>(
        &self,
        chunk: &Chunk,
        offset: u64,
        bytes: usize,
        mut accept: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<(T, View)> {
        let group = chunk.group()?;
        let member = group.index_of(chunk)?;
        let (start, skipped, length) = self.granules(offset, bytes);
        let stripe = Stripe { offset: start as usize, bytes: length };
        let mut accepted = None;
        let whole = self
            .decode(&group, member, stripe, &mut |whole| {
                accepted = accept(&whole[skipped..skipped + bytes]);
                accepted.is_some()
            })
            .await?;
        Some((accepted?, whole.freeze().slice(skipped..skipped + bytes)))
    }

    /// Whether others of its group cannot be read there.
    pub(crate) async fn lacks_members(&self, chunk: &Chunk, offset: u64, bytes: usize) -> bool {
        let Some(group) = chunk.group() else { return false };
        let (start, _, length) = self.granules(offset, bytes);
        let stripe = Stripe { offset: start as usize, bytes: length };
        let others = (0..group.shape().members()).filter(|&index| group.member(index).id() != chunk.id());
        let reads = join_all(others.map(|index| self.read_member(&group, index, stripe))).await;
        reads.iter().any(Option::is_none)
    }

    /// What `accept` makes of bytes of a chunk: of the first copy, or combination of the other chunks of its group, of which it makes
    /// something.
    pub async fn find_bytes<T>(
        &self,
        chunk: &Chunk,
        offset: u64,
        bytes: usize,
        mut accept: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        for slot in chunk.slots() {
            if let Ok(view) = self.read_copy_part(slot, offset, bytes).await
                && let Some(found) = accept(&view)
            {
                return Some(found);
            }
        }
        Some(self.decode_bytes(chunk, offset, bytes, accept).await?.0)
    }

    /// Whole granules of a chunk as the other chunks of its group say, not verified.
    pub async fn decode_unverified(&self, chunk: &Chunk, offset: u64, bytes: usize) -> Option<Buffer> {
        let group = chunk.group()?;
        let member = group.index_of(chunk)?;
        let stripe = Stripe { offset: offset as usize, bytes };
        self.decode(&group, member, stripe, &mut |_| true).await
    }

    /// Whole granules of a member as the others say, from the first combination of them that `accept` takes.
    pub(crate) async fn decode(
        &self,
        group: &Group,
        member: usize,
        stripe: Stripe,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<Buffer> {
        let granule = self.geometry().granule_bytes as usize;
        let mut whole = self.env.buffers.allocate_zeroed(stripe.bytes);
        let mut rest = stripe;
        if stripe.offset == 0 {
            let header = self.header_of_member(group, member).await?;
            whole[..header.len()].copy_from_slice(&header);
            rest = Stripe { offset: granule, bytes: stripe.bytes - granule };
            if rest.bytes == 0 {
                return accept(&whole).then_some(whole);
            }
        }
        let coded = stripe.bytes - rest.bytes;
        let mut sources = Sources::new(self, group, member, rest);
        let shape = group.shape();
        let mut tried = Vec::new();
        // The first k that can be read; then all of them, in every combination.
        for wanted in [shape.data(), shape.members()] {
            sources.read(wanted).await;
            for combination in combinations(sources.good(), shape.data()) {
                if tried.contains(&combination) {
                    continue;
                }
                sources.combine(combination, &mut whole[coded..]);
                if accept(&whole) {
                    return Some(whole);
                }
                tried.push(combination);
            }
        }
        None
    }

    /// The header of a chunk with data, as a chunk with parity has it.
    async fn header_of_member(&self, group: &Group, member: usize) -> Option<[u8; CHUNK_HEADER_BYTES]> {
        let granule = self.geometry().granule_bytes as usize;
        let parity = &group.members()[group.shape().data()..];
        for chunk in parity {
            for slot in chunk.slots() {
                let Ok(bytes) = self.read_copy(slot, 0, granule).await else { continue };
                let Ok(table) = ParityTable::decode(&bytes) else { continue };
                let of_chunk = table.members.get(member).filter(|of| of.chunk == group.member(member).id());
                if let Some(of_chunk) = of_chunk {
                    return Some(of_chunk.header);
                }
            }
        }
        None
    }

    /// Granules of a member as one of its copies has them; zeroes behind its end.
    async fn read_member(&self, group: &Group, index: usize, stripe: Stripe) -> Option<Buffer> {
        let chunk = group.member(index);
        let there = group.end(index).saturating_sub(stripe.offset).min(stripe.bytes);
        let mut whole = self.env.buffers.allocate_zeroed(stripe.bytes);
        if there == 0 {
            return Some(whole);
        }
        for slot in chunk.read_order(self) {
            if self.shared.is_failed(slot.device) {
                continue;
            }
            if let Ok(bytes) = self.read_copy(slot, stripe.offset as u64, there).await {
                if there == stripe.bytes {
                    return Some(bytes);
                }
                whole[..there].copy_from_slice(&bytes);
                return Some(whole);
            }
        }
        None
    }
}

/// What the other members of a group hold.
struct Sources<'a> {
    pool: &'a Pool,
    group: &'a Group,
    member: usize,
    stripe: Stripe,
    /// By member, those that have been read.
    read: Vec<Option<Buffer>>,
    /// Members that have not been asked.
    unread: Members,
}

impl<'a> Sources<'a> {
    fn new(pool: &'a Pool, group: &'a Group, member: usize, stripe: Stripe) -> Self {
        let unread = group.present(&pool.shared).without(member);
        let read = (0..group.shape().members()).map(|_| None).collect();
        Self { pool, group, member, stripe, read, unread }
    }

    /// Reads until there are so many, or as many as there can be.
    async fn read(&mut self, wanted: usize) {
        loop {
            let missing = wanted.saturating_sub(self.good().count());
            let next: Vec<usize> = self.unread.iter().take(missing).collect();
            if next.is_empty() {
                return;
            }
            let reads = next.iter().map(|&index| self.pool.read_member(self.group, index, self.stripe));
            for (index, bytes) in next.iter().zip(join_all(reads).await) {
                self.unread = self.unread.without(*index);
                self.read[*index] = bytes;
            }
        }
    }

    fn good(&self) -> Members {
        (0..self.read.len()).filter(|&index| self.read[index].is_some()).collect()
    }

    /// Computes the member from these.
    fn combine(&self, sources: Members, output: &mut [u8]) {
        let recovery = self.group.code().recovery(sources, Members::default().with(self.member));
        let recovery = recovery.expect("as many as the code needs");
        let buffer = |index: &usize| &self.read[*index].as_ref().expect("it was read")[..];
        let inputs: Vec<&[u8]> = recovery.sources().iter().map(buffer).collect();
        recovery.run(&inputs, &mut [output]);
    }
}

/// Every choice of `count` of these members, the lowest first.
fn combinations(of: Members, count: usize) -> impl Iterator<Item = Members> {
    let all: Vec<usize> = of.iter().collect();
    let chosen = move |mask: u32| -> Members {
        all.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, &member)| member).collect()
    };
    (0u32..1 << of.count()).filter(move |mask| mask.count_ones() as usize == count).map(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_combinations_are_tried_once_data_first() {
        let found: Vec<Members> = combinations([0, 2, 3, 5].into_iter().collect(), 2).collect();
        let wanted = [[0, 2], [0, 3], [2, 3], [0, 5], [2, 5], [3, 5]];
        assert_eq!(found, wanted.map(|pair| pair.into_iter().collect::<Members>()));
        assert_eq!(combinations(Members::first(10), 8).count(), 45);
        assert_eq!(combinations(Members::first(3), 4).count(), 0);
    }
}
