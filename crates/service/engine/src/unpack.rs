//! From what is stored to what was written: blocks as they are, blocks that are decrypted and expanded, and holes.

use quarry_crypt::Ciphers;
use quarry_env::View;
use quarry_format::node::{Entry, Mapped, Method};
use quarry_map::Run;
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_volume::{ErrorKind, Result, Views, VolumeError};

use crate::EngineVolume;

/// Blocks that are unpacked into one buffer.
const BLOCKS_AT_ONCE: usize = 64;

/// Whether the block is stored as hosts see it.
pub(crate) fn is_plain(entry: &Entry) -> bool {
    entry.method == Method::AsIs && !entry.is_encrypted()
}

/// Stored bytes, one record behind the other.
struct Stored {
    views: std::vec::IntoIter<View>,
    rest: Option<View>,
}

impl Stored {
    /// The bytes of the next record, which lies in one view.
    fn take(&mut self, bytes: usize) -> View {
        let view = self.rest.take().or_else(|| self.views.next()).expect("each record was read");
        if view.len() == bytes {
            return view;
        }
        self.rest = Some(view.slice(bytes..view.len()));
        view.slice(0..bytes)
    }
}

impl EngineVolume {
    /// The blocks of `runs`, of whose records `views` are the stored bytes.
    pub(crate) fn unpack(&self, runs: &[Run], views: Views) -> Result<Views> {
        let mut stored = Stored { views: views.into_vec().into_iter(), rest: None };
        let mut all = Views::new();
        let packed = |run: &Run| matches!(run, Run::Data(mapped) if !is_plain(&mapped.entry));
        for group in runs.chunk_by(|one, next| packed(one) && packed(next)) {
            match group {
                [Run::Hole { blocks }] => all.extend(self.zero_views(*blocks)),
                [Run::Data(mapped)] if is_plain(&mapped.entry) => all.push(stored.take(BLOCK_BYTES)),
                group => {
                    for group in group.chunks(BLOCKS_AT_ONCE) {
                        all.push(self.unpack_blocks(group, &mut stored)?);
                    }
                }
            }
        }
        Ok(all)
    }

    fn unpack_blocks(&self, runs: &[Run], stored: &mut Stored) -> Result<View> {
        let mut blocks = self.engine.env.buffers.allocate(runs.len() * BLOCK_BYTES);
        let mut clear = [0; BLOCK_BYTES];
        for (run, block) in runs.iter().zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
            let Run::Data(mapped) = run else { unreachable!("only records are unpacked") };
            let bytes = stored.take(usize::from(mapped.entry.stored_sectors) * SECTOR_BYTES);
            self.unpack_block(mapped, &bytes, &mut clear, block)?;
        }
        Ok(blocks.freeze())
    }

    fn unpack_block(
        &self,
        Mapped { entry, tag }: &Mapped,
        stored: &[u8],
        clear: &mut [u8; BLOCK_BYTES],
        block: &mut [u8],
    ) -> Result<()> {
        let corrupt = |error: &dyn std::error::Error| {
            let name = self.state.head.borrow().name.clone();
            let what = format!("volume {name}, record {:?}: {error}", entry.address);
            VolumeError::new(ErrorKind::Corrupt, "read", what)
        };
        if !entry.is_encrypted() {
            return quarry_reduce::expand(entry.method, stored, block).map_err(|error| corrupt(&error));
        }
        let keys = &self.engine.volumes.keys;
        let ciphers = keys.get(entry.key).ok_or_else(|| self.locked("read"))?;
        let salt = keys.salt(entry.address.segment()).ok_or_else(|| corrupt(&quarry_crypt::Forged))?;
        let open = |into: &mut [u8]| Ciphers::open(&ciphers, &salt, entry.address, (stored, tag), into);
        if entry.method == Method::AsIs {
            return open(block).map_err(|error| corrupt(&error));
        }
        let clear = &mut clear[..stored.len()];
        open(clear).map_err(|error| corrupt(&error))?;
        quarry_reduce::expand(entry.method, clear, block).map_err(|error| corrupt(&error))
    }

    /// The error of a volume whose key is not there.
    pub(crate) fn locked(&self, operation: &'static str) -> VolumeError {
        let head = self.state.head.borrow();
        let key = self.engine.volumes.keys.name(head.key).unwrap_or_default();
        let what = format!(
            "volume {} is encrypted and its key is not there: open the key store that holds '{key}'",
            head.name
        );
        VolumeError::new(ErrorKind::Unavailable, operation, what)
    }
}
