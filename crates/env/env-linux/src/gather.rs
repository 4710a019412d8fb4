//! Views as the kernel wants them: one range where they lie behind each other in memory, else a vector.

use std::cell::RefCell;
use std::ops::Range;

use quarry_env::View;

/// Most ranges in one request (`IOV_MAX`); what is behind them follows with the next.
const RANGES_MAX: usize = 1024;
/// Most bytes in one request; more follow with the next. A multiple of every sector size, below the kernel's bound.
const REQUEST_BYTES_MAX: usize = 1 << 30;
/// Vectors that are kept for reuse.
const KEPT_MAX: usize = 64;

/// A message header and the ranges that it points to. Boxed, so that it stays where it is while the kernel reads it.
pub(crate) struct Gather {
    header: libc::msghdr,
    ranges: Vec<libc::iovec>,
}

/// Vectors without an owner. Boxed, because an operation keeps its vector's address while it moves.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is reused")]
pub(crate) struct Gathers(RefCell<Vec<Box<Gather>>>);

impl Gathers {
    pub(crate) fn take(&self) -> Box<Gather> {
        self.0.borrow_mut().pop().unwrap_or_else(|| {
            // SAFETY: all-zero is a valid msghdr: null pointers and lengths of 0.
            Box::new(Gather { header: unsafe { std::mem::zeroed() }, ranges: Vec::new() })
        })
    }

    pub(crate) fn give_back(&self, gather: Box<Gather>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(gather);
        }
    }
}

impl Gather {
    /// Points to `data` from its byte `skip` on, in as few ranges as possible and at most [`RANGES_MAX`].
    pub(crate) fn point_to(&mut self, data: &[View], mut skip: usize) {
        self.ranges.clear();
        let mut previous: Option<&View> = None;
        for view in data {
            if skip >= view.len() {
                skip -= view.len();
                continue;
            }
            let rest = &view[skip..];
            skip = 0;
            let merges = previous.is_some_and(|previous| previous.continues_in(view));
            let full = self.ranges.len() == RANGES_MAX;
            match self.ranges.last_mut() {
                Some(range) if merges => range.iov_len += rest.len(),
                _ if full => break,
                _ => self
                    .ranges
                    .push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() }),
            }
            previous = Some(view);
        }
    }

    pub(crate) fn ranges(&self) -> &[libc::iovec] {
        &self.ranges
    }

    /// The header of a message made of the ranges; valid until the next [`Self::point_to`].
    pub(crate) fn message(&mut self) -> *const libc::msghdr {
        self.header.msg_iov = self.ranges.as_mut_ptr();
        self.header.msg_iovlen = self.ranges.len() as _;
        &raw const self.header
    }
}

/// How many of `length` bytes go into one request.
pub(crate) fn request_bytes(length: usize) -> u32 {
    length.min(REQUEST_BYTES_MAX) as u32
}

/// Total length of `data` in bytes.
pub(crate) fn length(data: &[View]) -> usize {
    data.iter().map(|view| view.len()).sum()
}

/// Whether `data` is one range of memory.
pub(crate) fn is_contiguous(data: &[View]) -> bool {
    data.windows(2).all(|pair| pair[0].continues_in(&pair[1]))
}

/// The bytes `part` of `data`, which [`is_contiguous`].
pub(crate) fn contiguous(data: &[View], part: Range<usize>) -> (*const u8, u32) {
    // SAFETY: the views lie behind each other in one buffer, so an offset below their total length stays inside it.
    let start = unsafe { data[0].as_ptr().add(part.start) };
    (start, request_bytes(part.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quarry_env::BufferPool;

    use super::*;

    fn bytes_of(gather: &Gather) -> Vec<u8> {
        let mut bytes = Vec::new();
        for range in gather.ranges() {
            // SAFETY: the ranges point into views that the caller keeps.
            bytes.extend(unsafe { std::slice::from_raw_parts(range.iov_base.cast::<u8>(), range.iov_len) });
        }
        bytes
    }

    proptest! {
        /// Whatever the pieces and however much is done, the ranges are the rest of the bytes.
        #[test]
        fn ranges_are_the_rest_of_the_views(
            pieces in prop::collection::vec((0usize..3, 0usize..500, 1usize..500), 1..40),
            skipped in 0.0f64..1.0,
        ) {
            let pool = BufferPool::default();
            let buffers: Vec<View> = (0..3u8)
                .map(|seed| {
                    let bytes: Vec<u8> = (0..1000usize).map(|i| (i as u8).wrapping_mul(7).wrapping_add(seed)).collect();
                    pool.copy_of(&bytes)
                })
                .collect();
            let data: Vec<View> =
                pieces.iter().map(|&(buffer, start, length)| buffers[buffer].slice(start..start + length)).collect();
            let all: Vec<u8> = data.iter().flat_map(|view| view.to_vec()).collect();
            prop_assert_eq!(length(&data), all.len());
            let skip = (all.len() as f64 * skipped) as usize;
            let mut gather = Gathers::default().take();
            gather.point_to(&data, skip);
            prop_assert_eq!(bytes_of(&gather), all[skip..].to_vec());
        }
    }

    #[test]
    fn neighbours_merge_and_long_lists_are_cut() {
        let pool = BufferPool::default();
        let view = pool.copy_of(&[5; 8192]);
        let pieces: Vec<View> = (0..8).map(|i| view.slice(i * 1024..(i + 1) * 1024)).collect();
        assert!(is_contiguous(&pieces));
        let mut gather = Gathers::default().take();
        gather.point_to(&pieces, 1500);
        assert_eq!(gather.ranges().len(), 1);
        assert_eq!(gather.ranges()[0].iov_len, 8192 - 1500);
        let scattered: Vec<View> = (0..RANGES_MAX + 5).map(|_| view.slice(0..512)).collect();
        assert!(!is_contiguous(&scattered));
        gather.point_to(&scattered, 0);
        assert_eq!(gather.ranges().len(), RANGES_MAX);
    }
}
