//! The payload of a batch while it is being filled: small pieces are copied together, large ones are taken as they are.

use quarry_env::{Buffer, BufferPool, View};

/// What is copied together at once; also room for the header of most batches in front of it.
const BUFFER_BYTES: usize = 256 << 10;
/// From this size on a piece that is aligned is written from where it is.
const BY_REFERENCE_BYTES_MIN: usize = 32 << 10;
/// Alignment that direct I/O may need of memory.
const MEMORY_ALIGNMENT: usize = 4096;

/// Pieces of payload in order. The first granule of the first buffer is left free for the batch's header.
#[derive(Default)]
pub(crate) struct Payload {
    granule_bytes: usize,
    views: Vec<View>,
    open: Option<(Buffer, usize)>,
    bytes: usize,
    headroom: bool,
}

impl Payload {
    pub(crate) fn new(granule_bytes: usize) -> Self {
        Self { granule_bytes, ..Self::default() }
    }

    /// Bytes so far, with padding.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a piece that is a multiple of the granule.
    pub(crate) fn append_view(&mut self, pool: &BufferPool, view: &View) {
        let aligned = view.as_ptr().addr().is_multiple_of(MEMORY_ALIGNMENT);
        if view.len() >= BY_REFERENCE_BYTES_MIN && aligned {
            self.close_buffer();
            self.bytes += view.len();
            self.views.push(view.clone());
        } else {
            self.append(pool, view);
        }
    }

    /// Appends a copy of `piece`, padded with zeroes to the granule.
    pub(crate) fn append(&mut self, pool: &BufferPool, mut piece: &[u8]) {
        while !piece.is_empty() {
            let granule = self.granule_bytes;
            if self.open.as_ref().is_some_and(|(buffer, filled)| *filled == buffer.capacity()) {
                self.close_buffer();
            }
            let (buffer, filled) = self.open.get_or_insert_with(|| {
                let is_first = self.bytes == 0;
                self.headroom |= is_first;
                (pool.allocate(BUFFER_BYTES), if is_first { granule } else { 0 })
            });
            let taken = piece.len().min(buffer.capacity() - *filled);
            buffer[*filled..*filled + taken].copy_from_slice(&piece[..taken]);
            let padded = taken.next_multiple_of(granule);
            buffer[*filled + taken..*filled + padded].fill(0);
            *filled += padded;
            self.bytes += padded;
            piece = &piece[taken..];
        }
    }

    fn close_buffer(&mut self) {
        if let Some((buffer, filled)) = self.open.take()
            && filled > 0
        {
            self.views.push(buffer.freeze().slice(0..filled));
        }
    }

    /// Puts the header in front and gives all views: into the headroom, if there is one and the header fits.
    pub(crate) fn with_header(mut self, pool: &BufferPool, header: &[u8]) -> (Vec<View>, PayloadViews) {
        let granule = self.granule_bytes;
        let alone = self.views.is_empty();
        if alone
            && header.len() <= granule
            && self.headroom
            && let Some((buffer, _)) = &mut self.open
        {
            buffer[..header.len()].copy_from_slice(header);
            buffer[header.len()..granule].fill(0);
            self.close_buffer();
            let whole = self.views[0].clone();
            let payload = whole.slice(granule..whole.len());
            return (self.views, PayloadViews(vec![payload]));
        }
        self.close_buffer();
        if self.headroom {
            let first = &self.views[0];
            self.views[0] = first.slice(granule..first.len());
        }
        let payload = PayloadViews(self.views);
        (payload.with_header(pool, header, granule), payload)
    }
}

/// The frozen payload of a batch, without its header: what is kept until the batch is on all copies.
pub(crate) struct PayloadViews(Vec<View>);

impl PayloadViews {
    /// All views of the batch with another header in front.
    pub(crate) fn with_header(&self, pool: &BufferPool, header: &[u8], granule_bytes: usize) -> Vec<View> {
        let mut buffer = pool.allocate(header.len().next_multiple_of(granule_bytes));
        buffer[..header.len()].copy_from_slice(header);
        buffer[header.len()..].fill(0);
        let mut views = vec![buffer.freeze()];
        views.extend(self.0.iter().filter(|view| !view.is_empty()).cloned());
        views
    }
}
