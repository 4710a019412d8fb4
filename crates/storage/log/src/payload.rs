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

enum Part {
    /// Pieces that were copied together, and how much of the buffer they fill, headroom included.
    Copied(Buffer, usize),
    Taken(View),
}

/// Pieces of payload in order.
#[derive(Default)]
struct Area {
    parts: Vec<Part>,
    bytes: usize,
    /// Bytes of the first buffer that were left free for the batch's header.
    headroom: usize,
}

impl Area {
    fn append_view(&mut self, pool: &BufferPool, granule: usize, view: &View) {
        let aligned = view.as_ptr().addr().is_multiple_of(MEMORY_ALIGNMENT);
        if view.len() >= BY_REFERENCE_BYTES_MIN && aligned {
            self.bytes += view.len();
            self.parts.push(Part::Taken(view.clone()));
        } else {
            self.append(pool, granule, view);
        }
    }

    fn append(&mut self, pool: &BufferPool, granule: usize, mut piece: &[u8]) {
        while !piece.is_empty() {
            let has_room =
                |part: &Part| matches!(part, Part::Copied(buffer, filled) if *filled < buffer.capacity());
            if !self.parts.last().is_some_and(has_room) {
                let headroom = if self.parts.is_empty() { granule } else { 0 };
                self.headroom += headroom;
                self.parts.push(Part::Copied(pool.allocate(BUFFER_BYTES), headroom));
            }
            let Some(Part::Copied(buffer, filled)) = self.parts.last_mut() else {
                unreachable!("the last part has room")
            };
            let taken = piece.len().min(buffer.capacity() - *filled);
            buffer[*filled..*filled + taken].copy_from_slice(&piece[..taken]);
            *filled += taken;
            self.bytes += taken;
            piece = &piece[taken..];
        }
    }

    /// Writes over what was copied to `offset`, counted without the headroom.
    fn overwrite(&mut self, offset: usize, mut bytes: &[u8]) {
        let (mut start, mut at) = (0, offset + self.headroom);
        for part in &mut self.parts {
            let length = match part {
                Part::Copied(_, filled) => *filled,
                Part::Taken(view) => view.len(),
            };
            if at < start + length && !bytes.is_empty() {
                let Part::Copied(buffer, _) = part else { panic!("only what was copied is written over") };
                let taken = bytes.len().min(start + length - at);
                buffer[at - start..at - start + taken].copy_from_slice(&bytes[..taken]);
                (bytes, at) = (&bytes[taken..], at + taken);
            }
            start += length;
        }
        assert!(bytes.is_empty(), "what is written over was appended before");
    }

    /// Fills the last granule with zeroes.
    fn pad(&mut self, pool: &BufferPool, granule: usize) {
        let padding = self.bytes.next_multiple_of(granule) - self.bytes;
        self.append(pool, granule, &vec![0; padding]);
    }

    /// Its views, without the headroom.
    fn into_views(self) -> Vec<View> {
        let mut headroom = self.headroom;
        let view = |part| match part {
            Part::Copied(buffer, filled) => buffer.freeze().slice(std::mem::take(&mut headroom)..filled),
            Part::Taken(view) => view,
        };
        self.parts.into_iter().map(view).collect()
    }

    /// Puts `header` into the headroom, if there is some, it fits, and all is in the one buffer: the view of that.
    fn take_header(&mut self, header: &[u8]) -> Option<View> {
        let headroom = self.headroom;
        if self.parts.len() != 1 || header.len() > headroom {
            return None;
        }
        match self.parts.pop() {
            Some(Part::Copied(mut buffer, filled)) => {
                buffer[..header.len()].copy_from_slice(header);
                buffer[header.len()..headroom].fill(0);
                Some(buffer.freeze().slice(0..filled))
            }
            other => {
                self.parts.extend(other);
                None
            }
        }
    }

    /// The same bytes in buffers of its own.
    fn copy_of(views: &[View], pool: &BufferPool) -> Self {
        let copy = |view: &View| {
            let mut buffer = pool.allocate(view.len());
            buffer.copy_from_slice(view);
            Part::Copied(buffer, view.len())
        };
        let bytes = views.iter().map(|view| view.len()).sum();
        Self { parts: views.iter().map(copy).collect(), bytes, headroom: 0 }
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

    /// Writes over a piece that was appended as a copy.
    pub(crate) fn overwrite(&mut self, place: Place, bytes: &[u8]) {
        match place {
            Place::Whole(offset) => self.whole.overwrite(offset, bytes),
            Place::Packed(offset) => self.packed.overwrite(offset, bytes),
        }
    }

    /// Puts the header in front and gives all views: into the headroom, if there is one and the header fits.
    pub(crate) fn with_header(mut self, pool: &BufferPool, header: &[u8]) -> (Vec<View>, PayloadViews) {
        let granule = self.granule_bytes;
        self.packed.pad(pool, granule);
        let first = if self.whole.bytes > 0 { &mut self.whole } else { &mut self.packed };
        let Some(view) = first.take_header(header) else {
            let payload = PayloadViews { whole: self.whole.into_views(), packed: self.packed.into_views() };
            return (payload.with_header(pool, header, granule), payload);
        };
        let behind = vec![view.slice(first.headroom..view.len())];
        let (whole, packed) = match self.whole.bytes {
            0 => (Vec::new(), behind),
            _ => (behind, self.packed.into_views()),
        };
        let mut views = vec![view];
        if !whole.is_empty() {
            views.extend(packed.iter().cloned());
        }
        (views, PayloadViews { whole, packed })
    }
}

/// The frozen payload of a batch, without its header: what is kept until the batch is on all copies.
pub(crate) struct PayloadViews {
    whole: Vec<View>,
    packed: Vec<View>,
}

impl PayloadViews {
    /// All views of the batch with another header in front.
    pub(crate) fn with_header(&self, pool: &BufferPool, header: &[u8], granule_bytes: usize) -> Vec<View> {
        let mut buffer = pool.allocate(header.len().next_multiple_of(granule_bytes));
        buffer[..header.len()].copy_from_slice(header);
        buffer[header.len()..].fill(0);
        let mut views = vec![buffer.freeze()];
        let all = self.whole.iter().chain(&self.packed);
        views.extend(all.filter(|view| !view.is_empty()).cloned());
        views
    }

    /// The same payload once more, so that parts of it can be written over: what was handed to the devices stays as it is.
    pub(crate) fn copy(&self, pool: &BufferPool, granule_bytes: usize) -> Payload {
        let (whole, packed) = (Area::copy_of(&self.whole, pool), Area::copy_of(&self.packed, pool));
        Payload { granule_bytes, whole, packed }
    }
}
