//! The payload of a batch while it is being filled: small pieces are copied together, large ones are taken as they are.

use quarry_env::{Buffer, BufferPool, View};

/// What is copied together at once; also room for the header of most batches in front of it.
const BUFFER_BYTES: usize = 256 << 10;
/// From this size on a piece that is aligned is written from where it is.
const BY_REFERENCE_BYTES_MIN: usize = 32 << 10;
/// Alignment that direct I/O may need of memory.
const MEMORY_ALIGNMENT: usize = 4096;

/// Where a payload lies behind the header of its batch, as long as the batch takes more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// So many bytes behind the header.
    Whole(usize),
    /// So many bytes behind the payloads that are whole granules.
    Packed(usize),
}

/// Pieces of payload in order.
#[derive(Default)]
struct Area {
    views: Vec<View>,
    open: Option<(Buffer, usize)>,
    bytes: usize,
    /// The first granule of the first buffer was left free for the batch's header.
    headroom: bool,
}

impl Area {
    fn append_view(&mut self, pool: &BufferPool, granule: usize, view: &View) {
        let aligned = view.as_ptr().addr().is_multiple_of(MEMORY_ALIGNMENT);
        if view.len() >= BY_REFERENCE_BYTES_MIN && aligned {
            self.close_buffer();
            self.bytes += view.len();
            self.views.push(view.clone());
        } else {
            self.append(pool, granule, view);
        }
    }

    fn append(&mut self, pool: &BufferPool, granule: usize, mut piece: &[u8]) {
        while !piece.is_empty() {
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
            *filled += taken;
            self.bytes += taken;
            piece = &piece[taken..];
        }
    }

    /// Fills the last granule with zeroes.
    fn pad(&mut self, pool: &BufferPool, granule: usize) {
        let padding = self.bytes.next_multiple_of(granule) - self.bytes;
        self.append(pool, granule, &vec![0; padding]);
    }

    fn close_buffer(&mut self) {
        if let Some((buffer, filled)) = self.open.take()
            && filled > 0
        {
            self.views.push(buffer.freeze().slice(0..filled));
        }
    }

    /// Its views, without the headroom.
    fn into_views(mut self, granule: usize) -> Vec<View> {
        self.close_buffer();
        if self.headroom {
            let first = &self.views[0];
            self.views[0] = first.slice(granule..first.len());
        }
        self.views
    }

    /// Puts `header` into the headroom, if there is some, it fits, and all is in the one buffer: the view of that.
    fn take_header(&mut self, header: &[u8], granule: usize) -> Option<View> {
        let fits = self.views.is_empty() && self.headroom && header.len() <= granule;
        let (buffer, _) = self.open.as_mut().filter(|_| fits)?;
        buffer[..header.len()].copy_from_slice(header);
        buffer[header.len()..granule].fill(0);
        self.close_buffer();
        self.views.pop()
    }
}

/// The payloads of a batch: see [`Layout`](quarry_format::batch::Layout) for their order.
pub(crate) struct Payload {
    granule_bytes: usize,
    whole: Area,
    packed: Area,
}

impl Payload {
    pub(crate) fn new(granule_bytes: usize) -> Self {
        Self { granule_bytes, whole: Area::default(), packed: Area::default() }
    }

    /// Bytes so far, with padding.
    pub(crate) fn bytes(&self) -> usize {
        self.whole.bytes + self.packed.bytes.next_multiple_of(self.granule_bytes)
    }

    /// Bytes so far of payloads that are whole granules.
    pub(crate) fn whole_bytes(&self) -> usize {
        self.whole.bytes
    }

    /// Appends a piece that is a multiple of the granule.
    pub(crate) fn append_view(&mut self, pool: &BufferPool, view: &View) -> Place {
        let place = Place::Whole(self.whole.bytes);
        self.whole.append_view(pool, self.granule_bytes, view);
        place
    }

    /// Appends a copy of a piece that is a multiple of a sector.
    pub(crate) fn append(&mut self, pool: &BufferPool, piece: &[u8]) -> Place {
        let is_whole = piece.len().is_multiple_of(self.granule_bytes);
        let area = if is_whole { &mut self.whole } else { &mut self.packed };
        let offset = area.bytes;
        area.append(pool, self.granule_bytes, piece);
        if is_whole { Place::Whole(offset) } else { Place::Packed(offset) }
    }

    /// Puts the header in front and gives all views: into the headroom, if there is one and the header fits.
    pub(crate) fn with_header(mut self, pool: &BufferPool, header: &[u8]) -> (Vec<View>, PayloadViews) {
        let granule = self.granule_bytes;
        self.packed.pad(pool, granule);
        let first = if self.whole.bytes > 0 { &mut self.whole } else { &mut self.packed };
        if let Some(view) = first.take_header(header, granule) {
            let mut payload = vec![view.slice(granule..view.len())];
            let mut views = vec![view];
            if self.whole.bytes > 0 {
                let packed = self.packed.into_views(granule);
                payload.extend(packed.iter().cloned());
                views.extend(packed);
            }
            return (views, PayloadViews(payload));
        }
        let mut views = self.whole.into_views(granule);
        views.extend(self.packed.into_views(granule));
        let payload = PayloadViews(views);
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
