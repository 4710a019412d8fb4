//! What a write becomes before it is appended: blocks as they are, smaller ones, and holes where it is all zeroes.

use quarry_env::{View, yield_now};
use quarry_format::node::Method;
use quarry_format::record::Record;
use quarry_log::Appended;
use quarry_types::Compression;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};

use crate::EngineVolume;

/// Blocks that are compressed before others get their turn.
const BLOCKS_AT_ONCE: usize = 32;

static ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// One block of a write.
enum Piece {
    /// It becomes a hole.
    Zero,
    /// Its stored form.
    Stored(Method, View),
}

/// The blocks of a write as they are to be stored.
pub(crate) struct Prepared {
    data: View,
    /// `None`: all of them as they are, in clear.
    pieces: Option<Vec<Piece>>,
}

impl EngineVolume {
    /// Makes the blocks of `data` smaller, if the volume wants that and they let. Holes only where `may_unmap` says so.
    pub(crate) async fn prepare(&self, data: &View, may_unmap: bool) -> Prepared {
        let (compression, key) = {
            let head = self.state.head.borrow();
            (head.settings.compression, head.key)
        };
        if compression == Compression::Off && key.0 == 0 {
            return Prepared { data: data.clone(), pieces: None };
        }
        let mut pieces = Vec::with_capacity(data.len() / BLOCK_BYTES);
        for start in (0..data.len()).step_by(BLOCKS_AT_ONCE * BLOCK_BYTES) {
            if start > 0 {
                yield_now().await;
            }
            let end = data.len().min(start + BLOCKS_AT_ONCE * BLOCK_BYTES);
            self.prepare_some(&data.slice(start..end), compression, may_unmap, &mut pieces);
        }
        Prepared { data: data.clone(), pieces: Some(pieces) }
    }

    /// The same for one block of which a part is written, at once. It becomes no hole.
    pub(crate) fn prepare_block(&self, block: &View) -> Prepared {
        let (compression, key) = {
            let head = self.state.head.borrow();
            (head.settings.compression, head.key)
        };
        let mut pieces = None;
        if compression != Compression::Off || key.0 != 0 {
            self.prepare_some(block, compression, false, pieces.get_or_insert_default());
        }
        Prepared { data: block.clone(), pieces }
    }

    fn prepare_some(&self, data: &View, compression: Compression, may_unmap: bool, pieces: &mut Vec<Piece>) {
        let engine = &self.engine;
        let mut bypass = self.state.bypass.borrow_mut();
        let mut reducer = engine.reducer.borrow_mut();
        // What has become smaller, one behind the other: never more than there was.
        let mut smaller = None;
        let mut filled = 0;
        let mut found = Vec::with_capacity(data.len() / BLOCK_BYTES);
        for block in data.chunks_exact(BLOCK_BYTES) {
            if may_unmap && compression != Compression::Off && block == ZEROES {
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
        let (mut zero, mut stored_bytes) = (0, 0);
        for (index, piece) in found.into_iter().enumerate() {
            pieces.push(match (piece, &smaller) {
                (None, _) => {
                    zero += BLOCK_BYTES as u64;
                    Piece::Zero
                }
                (Some((method, range)), Some(smaller)) if method != Method::AsIs => {
                    stored_bytes += range.len() as u64;
                    Piece::Stored(method, smaller.slice(range))
                }
                (Some(_), _) => {
                    stored_bytes += BLOCK_BYTES as u64;
                    Piece::Stored(Method::AsIs, data.slice(index * BLOCK_BYTES..(index + 1) * BLOCK_BYTES))
                }
            });
        }
        if compression != Compression::Off {
            engine.statistics.note_reduced(data.len() as u64, zero, stored_bytes);
        }
    }

    /// Appends what was prepared. The last record to count tells of all: after one that failed no other succeeds.
    pub(crate) fn append_prepared(&self, first_block: u64, prepared: Prepared) -> Appended {
        let (engine, volume) = (&self.engine, self.state.number);
        let (birth, key) = (engine.birth.get(), self.state.head.borrow().key);
        let Some(pieces) = prepared.pieces else {
            let appended = engine.log.append_write(volume, first_block, birth, key, &prepared.data);
            engine.note_append();
            return appended;
        };
        let mut last = None;
        let mut block = first_block;
        let kind = |piece: &Piece| matches!(piece, Piece::Zero);
        for run in pieces.chunk_by(|one, next| kind(one) == kind(next)) {
            let first = block;
            block += run.len() as u64;
            if kind(&run[0]) {
                let blocks = run.len() as u64;
                last = Some(engine.log.append_record(Record::Zero { volume, first_block: first, blocks }));
                continue;
            }
            let is_plain = |piece: &Piece| matches!(piece, Piece::Stored(Method::AsIs, _));
            if key.0 == 0 && run.iter().all(is_plain) {
                let start = (first - first_block) as usize * BLOCK_BYTES;
                let data = prepared.data.slice(start..start + run.len() * BLOCK_BYTES);
                last = Some(engine.log.append_write(volume, first, birth, key, &data));
                continue;
            }
            let blocks: Vec<(Method, View)> = run
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Zero => None,
                    Piece::Stored(method, bytes) => Some((*method, bytes.clone())),
                })
                .collect();
            debug_assert!(blocks.iter().all(|(_, bytes)| bytes.len().is_multiple_of(SECTOR_BYTES)));
            last = Some(engine.log.append_stored(volume, first, birth, key, &blocks));
        }
        engine.note_append();
        last.expect("a write has a block")
    }
}
