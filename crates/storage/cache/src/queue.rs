//! The order in which things came to a cache, as a linked list in one array, and the hand that goes over it (SIEVE, NSDI'24).

use quarry_types::LogAddress;

const NONE: u32 = u32::MAX;

struct Link {
    address: LogAddress,
    older: u32,
    younger: u32,
}

/// Addresses from the oldest to the youngest.
pub struct Queue {
    links: Vec<Link>,
    free: Vec<u32>,
    oldest: u32,
    youngest: u32,
    /// Where the hand looks next; [`NONE`] is the oldest.
    hand: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { links: Vec::new(), free: Vec::new(), oldest: NONE, youngest: NONE, hand: NONE }
    }
}

impl Queue {
    /// Adds the youngest; returns its index.
    pub fn push(&mut self, address: LogAddress) -> u32 {
        let link = Link { address, older: self.youngest, younger: NONE };
        let index = match self.free.pop() {
            Some(index) => {
                self.links[index as usize] = link;
                index
            }
            None => {
                self.links.push(link);
                u32::try_from(self.links.len() - 1).expect("memory ends long before 2^32 of them")
            }
        };
        match self.youngest {
            NONE => self.oldest = index,
            youngest => self.links[youngest as usize].younger = index,
        }
        self.youngest = index;
        index
    }

    /// Takes one out.
    pub fn remove(&mut self, index: u32) {
        let Link { older, younger, .. } = self.links[index as usize];
        match older {
            NONE => self.oldest = younger,
            older => self.links[older as usize].younger = younger,
        }
        match younger {
            NONE => self.youngest = older,
            younger => self.links[younger as usize].older = older,
        }
        if self.hand == index {
            self.hand = younger;
        }
        self.free.push(index);
    }

    /// Moves the hand, from the youngest back to the oldest, to the first address that `chosen` takes.
    pub fn advance_hand(&mut self, mut chosen: impl FnMut(LogAddress) -> bool) -> Option<LogAddress> {
        if self.oldest == NONE {
            return None;
        }
        loop {
            if self.hand == NONE {
                self.hand = self.oldest;
            }
            let Link { address, younger, .. } = self.links[self.hand as usize];
            if chosen(address) {
                return Some(address);
            }
            self.hand = younger;
        }
    }
}
