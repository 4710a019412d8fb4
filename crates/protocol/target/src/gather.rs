//! What is to be sent, as few views: headers packed into shared memory, data where it lies.

use std::ops::Range;

use quarry_env::{Buffer, BufferPool, View};

/// Memory for headers that is allocated at once; no header is longer.
pub const HEAD_BYTES: usize = 4096;

enum Piece {
    /// Bytes of the header memory, which is not frozen yet.
    Head(Range<usize>),
    Data(View),
}

/// Collects headers and data in the order in which they are sent.
pub struct Gather {
    buffers: BufferPool,
    head: Option<Buffer>,
    used: usize,
    pieces: Vec<Piece>,
    views: Vec<View>,
}

impl Gather {
    /// One that is empty.
    pub fn new(buffers: BufferPool) -> Self {
        Self { buffers, head: None, used: 0, pieces: Vec::new(), views: Vec::new() }
    }

    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.views.is_empty()
    }

    /// Has `write` put a header into `bytes_max` bytes behind what is there; it says how many it has put.
    pub fn head(&mut self, bytes_max: usize, write: impl FnOnce(&mut [u8]) -> usize) -> usize {
        if self.head.as_ref().is_some_and(|head| head.len() - self.used < bytes_max) {
            self.close_head();
        }
        let head = self.head.get_or_insert_with(|| self.buffers.allocate(HEAD_BYTES));
        let start = self.used;
        let written = write(&mut head[start..start + bytes_max]);
        assert!(written <= bytes_max, "a header is as long as it was said to be");
        self.used += written;
        match self.pieces.last_mut() {
            Some(Piece::Head(range)) if range.end == start => range.end = self.used,
            _ => self.pieces.push(Piece::Head(start..self.used)),
        }
        written
    }

    /// Puts data behind what is there.
    pub fn data(&mut self, data: impl IntoIterator<Item = View>) {
        self.pieces.extend(data.into_iter().map(Piece::Data));
    }

    /// Everything, one view behind the other; afterwards there is nothing.
    pub fn take(&mut self) -> Vec<View> {
        self.close_head();
        std::mem::take(&mut self.views)
    }

    /// The header memory can be shared from now on.
    fn close_head(&mut self) {
        let head = self.head.take().map(Buffer::freeze);
        self.used = 0;
        self.views.reserve_exact(self.pieces.len());
        for piece in self.pieces.drain(..) {
            self.views.push(match (piece, &head) {
                (Piece::Data(view), _) => view,
                (Piece::Head(range), Some(head)) => head.slice(range),
                (Piece::Head(_), None) => unreachable!("a header was written into memory that was there"),
            });
        }
    }
}
