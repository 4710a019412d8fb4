//! Short numbers for requests on their way, where a protocol has few of them.

/// Which request has which number. A number is used again when its request has been answered.
#[derive(Default)]
pub struct Slots {
    cookies: Vec<Option<u64>>,
    free: Vec<u16>,
}

impl Slots {
    /// Requests that have a number.
    pub fn taken(&self) -> usize {
        self.cookies.len() - self.free.len()
    }

    /// A number for a request.
    pub fn take(&mut self, cookie: u64) -> u16 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.cookies.push(None);
            self.cookies.len() as u16 - 1
        });
        self.cookies[usize::from(slot)] = Some(cookie);
        slot
    }

    /// The request with a number, which may be any that a peer says.
    pub fn get(&self, slot: u32) -> Option<u64> {
        *self.cookies.get(usize::try_from(slot).ok()?)?
    }

    /// The same, whose number is free from now on.
    pub fn give_back(&mut self, slot: u32) -> Option<u64> {
        let cookie = self.cookies.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.free.push(slot as u16);
        Some(cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_small() {
        let mut slots = Slots::default();
        assert_eq!((slots.take(100), slots.take(101), slots.taken()), (0, 1, 2));
        assert_eq!((slots.give_back(0), slots.give_back(0), slots.give_back(7)), (Some(100), None, None));
        assert_eq!((slots.get(0), slots.get(1), slots.get(u32::MAX)), (None, Some(101), None));
        assert_eq!((slots.take(102), slots.taken()), (0, 2));
    }
}
