//! What a write becomes before it is appended: blocks as they are, smaller ones, references to those that are there already, and
//! holes where it is all zeroes.

use quarry_env::{View, yield_now};
use quarry_format::node::{Mapped, Method};
use quarry_format::record::{Record, SharedBlock, StoredBlock};
use quarry_log::{Appended, StoredPiece};
use quarry_reduce::Fingerprint;
use quarry_types::limits::{BATCH_HEADER_BYTES_MAX, BLOCK_BYTES, SECTOR_BYTES};
use quarry_types::{Compression, Deduplication, KeyId, SnapshotCounter, VolumeSettings};

use crate::EngineVolume;
use crate::deduplicate::Recognised;
use crate::engine::Reduced;

/// Blocks that are compressed before others get their turn.
const BLOCKS_AT_ONCE: usize = 32;
/// Blocks of one record that refers to what is there.
const SHARED_AT_ONCE: usize = 256;

const _: () = assert!(SHARED_AT_ONCE * SharedBlock::BYTES_MAX < BATCH_HEADER_BYTES_MAX / 4);

static ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// One block of a write.
enum Piece {
    /// It becomes a hole.
    Zero,
    /// Its stored form.
    Stored(StoredPiece),
    /// It is there already. As it is, it would be the part of the write at its place.
    Shared(Mapped, Fingerprint),
}

/// The blocks of a write as they are to be stored.
pub(crate) struct Prepared {
    data: View,
    /// `None`: all of them as they are, in clear.
    pieces: Option<Vec<Piece>>,
}

/// How the blocks of a volume are made smaller.
#[derive(Clone, Copy)]
struct Reduction {
    compression: Compression,
    /// Blocks of zeroes become holes.
    unmaps: bool,
}

impl EngineVolume {
    /// Makes the blocks of `data` smaller, if the volume wants that and they let. Holes, and blocks that share the place of others,
    /// only where `may_unmap` says so.
    pub(crate) async fn prepare(&self, data: &View, may_unmap: bool) -> Prepared {
        let (settings, key) = {
            let head = self.state.head.borrow();
            (head.settings, head.key)
        };
        let (compression, reduces) = (settings.compression, reduces(&settings));
        if !reduces && key.0 == 0 {
            return Prepared { data: data.clone(), pieces: None };
        }
        let recognised = if may_unmap { self.recognise(data).await } else { None };
        let reduction = Reduction { compression, unmaps: may_unmap && reduces };
        let mut pieces = Vec::with_capacity(data.len() / BLOCK_BYTES);
        for start in (0..data.len()).step_by(BLOCKS_AT_ONCE * BLOCK_BYTES) {
            if start > 0 {
                yield_now().await;
            }
            let end = data.len().min(start + BLOCKS_AT_ONCE * BLOCK_BYTES);
            let recognised = recognised.as_ref().map(|all| &all[start / BLOCK_BYTES..end / BLOCK_BYTES]);
            self.prepare_some(&data.slice(start..end), reduction, recognised, &mut pieces);
        }
        Prepared { data: data.clone(), pieces: Some(pieces) }
    }

    /// The same for a few blocks, of which some may be written in part, without a wait. They become no holes.
    pub(crate) fn prepare_at_once(&self, data: &View) -> Prepared {
        let (settings, key) = {
            let head = self.state.head.borrow();
            (head.settings, head.key)
        };
        let mut pieces = None;
        if reduces(&settings) || key.0 != 0 {
            let reduction = Reduction { compression: settings.compression, unmaps: false };
            let recognise = |start: usize| Recognised {
                fingerprint: self.fingerprint(&data.slice(start..start + BLOCK_BYTES)),
                known: None,
            };
            let recognised: Vec<Recognised> = (0..data.len()).step_by(BLOCK_BYTES).map(recognise).collect();
            self.prepare_some(data, reduction, Some(&recognised), pieces.get_or_insert_default());
        }
        Prepared { data: data.clone(), pieces }
    }

    fn prepare_some(
        &self,
        data: &View,
        Reduction { compression, unmaps }: Reduction,
        recognised: Option<&[Recognised]>,
        pieces: &mut Vec<Piece>,
    ) {
        let engine = &self.engine;
        let mut bypass = self.state.bypass.borrow_mut();
        let mut reducer = engine.reducer.borrow_mut();
        // What has become smaller, one behind the other: never more than there was.
        let mut smaller = None;
        let mut filled = 0;
        let mut found = Vec::with_capacity(data.len() / BLOCK_BYTES);
        for (index, block) in data.chunks_exact(BLOCK_BYTES).enumerate() {
            let known = recognised.and_then(|all| all[index].known);
            if known.is_some() || unmaps && is_zero(block) {
                found.push(None);
                continue;
            }
            let tries = compression != Compression::Off && bypass.tries();
            let reduced = if tries { reducer.reduce(compression, block) } else { None };
            if tries {
                bypass.note(reduced.is_some());
            }
            let Some((method, stored)) = reduced else {
                found.push(Some((Method::AsIs, 0..0)));
                continue;
            };
            let buffer = smaller.get_or_insert_with(|| engine.env.buffers.allocate(data.len()));
            buffer[filled..filled + stored.len()].copy_from_slice(stored);
            found.push(Some((method, filled..filled + stored.len())));
            filled += stored.len();
        }
        let smaller = smaller.map(|buffer| buffer.freeze());
        for (index, piece) in found.into_iter().enumerate() {
            let recognised = recognised.map(|all| &all[index]);
            let mark = recognised.and_then(|recognised| recognised.fingerprint);
            let known = recognised.and_then(|recognised| Some((recognised.known?, recognised.fingerprint?)));
            pieces.push(match (piece, known, &smaller) {
                (None, Some((known, fingerprint)), _) => Piece::Shared(known, fingerprint),
                (None, None, _) => Piece::Zero,
                (Some((method, range)), _, Some(smaller)) if method != Method::AsIs => {
                    Piece::Stored(StoredPiece { method, bytes: smaller.slice(range), mark })
                }
                (Some(_), ..) => Piece::Stored(as_it_is(data, index, mark)),
            });
        }
    }

    /// Appends what was prepared. The last record to count tells of all: after one that failed no other succeeds.
    pub(crate) fn append_prepared(&self, first_block: u64, prepared: Prepared) -> Appended {
        let (engine, volume) = (&self.engine, self.state.number);
        let (birth, key) = (engine.birth.get(), self.state.head.borrow().key);
        let Prepared { data, pieces } = prepared;
        let Some(mut pieces) = pieces else {
            let appended = engine.log.append_write(volume, first_block, birth, key, &data);
            engine.note_append();
            return appended;
        };
        // What was there may have gone meanwhile.
        for (index, piece) in pieces.iter_mut().enumerate() {
            if let Piece::Shared(known, fingerprint) = piece
                && !self.still_known(known)
            {
                *piece = Piece::Stored(as_it_is(&data, index, Some(*fingerprint)));
            }
        }
        self.note_reduced(&pieces);
        let mut last = None;
        let mut block = first_block;
        for run in pieces.chunk_by(|one, next| std::mem::discriminant(one) == std::mem::discriminant(next)) {
            let first = block;
            block += run.len() as u64;
            match &run[0] {
                Piece::Zero => {
                    let blocks = run.len() as u64;
                    last =
                        Some(engine.log.append_record(Record::Zero { volume, first_block: first, blocks }));
                }
                Piece::Shared(..) => last = Some(self.append_shared(first, (birth, key), run)),
                Piece::Stored(_) => {
                    let start = (first - first_block) as usize * BLOCK_BYTES;
                    let data = data.slice(start..start + run.len() * BLOCK_BYTES);
                    last = Some(self.append_stored(first, (birth, key), run, &data));
                }
            }
        }
        engine.note_append();
        last.expect("a write has a block")
    }

    /// Appends blocks that `data` shows as they are.
    fn append_stored(
        &self,
        first_block: u64,
        (birth, key): (SnapshotCounter, KeyId),
        run: &[Piece],
        data: &View,
    ) -> Appended {
        let (log, volume) = (&self.engine.log, self.state.number);
        let is_plain = |piece: &Piece| {
            matches!(piece, Piece::Stored(StoredPiece { method: Method::AsIs, mark: None, .. }))
        };
        if key.0 == 0 && run.iter().all(is_plain) {
            return log.append_write(volume, first_block, birth, key, data);
        }
        let stored = |piece: &Piece| match piece {
            Piece::Stored(stored) => Some(stored.clone()),
            Piece::Zero | Piece::Shared(..) => None,
        };
        let blocks: Vec<StoredPiece> = run.iter().filter_map(stored).collect();
        debug_assert!(blocks.iter().all(|block| block.bytes.len().is_multiple_of(SECTOR_BYTES)));
        log.append_stored(volume, first_block, birth, key, &blocks)
    }

    /// Appends blocks that are there already. From now on what they refer to stays.
    fn append_shared(
        &self,
        first_block: u64,
        (birth, key): (SnapshotCounter, KeyId),
        run: &[Piece],
    ) -> Appended {
        let (engine, volume) = (&self.engine, self.state.number);
        let shared = |piece: &Piece| match piece {
            Piece::Shared(Mapped { entry, tag }, _) => {
                let (method, sectors, checksum) = (entry.method, entry.stored_sectors, entry.checksum);
                let stored = StoredBlock { method, sectors, checksum, tag: *tag };
                Some(SharedBlock { address: entry.address, stored })
            }
            Piece::Zero | Piece::Stored(_) => None,
        };
        let mut last = None;
        for (part, run) in run.chunks(SHARED_AT_ONCE).enumerate() {
            let blocks: Vec<SharedBlock> = run.iter().filter_map(shared).collect();
            blocks.iter().for_each(|block| engine.volumes.references.append(block.address));
            let first_block = first_block + (part * SHARED_AT_ONCE) as u64;
            last = Some(engine.log.append_record(Record::WriteShared {
                volume,
                first_block,
                birth,
                key,
                blocks,
            }));
        }
        last.expect("a run has a block")
    }

    fn note_reduced(&self, pieces: &[Piece]) {
        let settings = self.state.head.borrow().settings;
        if reduces(&settings) {
            let statistics = &self.engine.statistics;
            for piece in pieces {
                match piece {
                    Piece::Zero => statistics.note_reduced(BLOCK_BYTES, Reduced::Zero),
                    Piece::Shared(..) => statistics.note_reduced(BLOCK_BYTES, Reduced::Shared),
                    Piece::Stored(stored) => {
                        statistics.note_reduced(BLOCK_BYTES, Reduced::To(stored.bytes.len()));
                    }
                }
            }
        }
    }
}

pub(crate) fn is_zero(block: &[u8]) -> bool {
    block == ZEROES
}

/// Whether the volume wants its blocks smaller.
fn reduces(settings: &VolumeSettings) -> bool {
    settings.compression != Compression::Off || settings.deduplication != Deduplication::Off
}

fn as_it_is(data: &View, index: usize, mark: Option<Fingerprint>) -> StoredPiece {
    let bytes = data.slice(index * BLOCK_BYTES..(index + 1) * BLOCK_BYTES);
    StoredPiece { method: Method::AsIs, bytes, mark }
}
