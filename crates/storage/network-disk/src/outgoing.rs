//! What is to be sent next, gathered from many requests.

use quarry_env::{BufferPool, View};

enum Part {
    /// As many of the next bytes.
    Bytes(usize),
    Payload(Vec<View>),
}

/// Headers, which are copied into one buffer, and payloads as they are.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

impl Outgoing {
    /// Puts bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        match self.parts.last_mut() {
            Some(Part::Bytes(count)) => *count += bytes.len(),
            _ => self.parts.push(Part::Bytes(bytes.len())),
        }
    }

    /// Puts data without a copy.
    pub fn put_payload(&mut self, payload: Vec<View>) {
        if !payload.is_empty() {
            self.parts.push(Part::Payload(payload));
        }
    }

    /// All of it, in order.
    pub fn into_views(self, buffers: &BufferPool) -> Vec<View> {
        if self.parts.is_empty() {
            return Vec::new();
        }
        let bytes = buffers.copy_of(&self.bytes);
        let mut views = Vec::new();
        let mut at = 0;
        for part in self.parts {
            match part {
                Part::Bytes(count) => {
                    views.push(bytes.slice(at..at + count));
                    at += count;
                }
                Part::Payload(payload) => views.extend(payload),
            }
        }
        views
    }
}

/// The part of `views` that begins at `offset` and has `length` bytes, which must be there.
pub fn part_of(views: &[View], offset: usize, length: usize) -> Vec<View> {
    let (mut skip, mut left) = (offset, length);
    let mut part = Vec::new();
    for view in views {
        if left == 0 {
            break;
        }
        if skip >= view.len() {
            skip -= view.len();
            continue;
        }
        let taken = left.min(view.len() - skip);
        part.push(view.slice(skip..skip + taken));
        (skip, left) = (0, left - taken);
    }
    assert_eq!(left, 0, "whoever asks has looked how long it is");
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(views: &[View]) -> Vec<u8> {
        views.iter().flat_map(|view| view.to_vec()).collect()
    }

    #[test]
    fn what_is_put_is_sent_in_order() {
        let pool = BufferPool::default();
        let mut out = Outgoing::default();
        out.put(&[1, 2]);
        out.put(&[3]);
        out.put_payload(vec![pool.copy_of(&[4, 5]), pool.copy_of(&[6])]);
        out.put_payload(Vec::new());
        out.put(&[7]);
        let views = out.into_views(&pool);
        assert_eq!((flat(&views), views.len()), (vec![1, 2, 3, 4, 5, 6, 7], 4));
        assert!(Outgoing::default().into_views(&pool).is_empty());
    }

    #[test]
    fn parts_cross_views() {
        let pool = BufferPool::default();
        let bytes: Vec<u8> = (0..100).collect();
        let views = [&bytes[..10], &bytes[10..11], &bytes[11..]].map(|piece| pool.copy_of(piece));
        for (offset, length) in [(0, 100), (9, 3), (10, 1), (50, 50), (100, 0)] {
            assert_eq!(flat(&part_of(&views, offset, length)), bytes[offset..offset + length]);
        }
    }
}
