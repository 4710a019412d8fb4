//! When too much has lasted long enough to be told, and when it is over.

use crate::usual::Usual;

/// So many looks in a row must be too much before it is told.
pub const BEGIN_LOOKS: u32 = 5;
/// So many in a row must be well below that, or of nobody who uses the thing, before it is over.
pub const END_LOOKS: u32 = 10;

/// What there is to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// It has begun.
    Begins,
    /// It is over.
    Ends,
}

/// Looks at one series, again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watcher {
    stands: bool,
    looks: u32,
}

impl Watcher {
    /// One that goes on with what was told before.
    pub fn standing() -> Self {
        Self { stands: true, looks: 0 }
    }

    /// Whether it was told that there is too much, and not that it is over.
    pub fn stands(&self) -> bool {
        self.stands
    }

    /// Takes what was seen at a look; `value` is absent when nobody has used the thing enough to judge, `usual` when its past is too short.
    pub fn look(&mut self, value: Option<f64>, usual: Option<&Usual>) -> Option<Word> {
        let counts = match (value, usual) {
            (Some(value), Some(usual)) if self.stands => value < usual.end(),
            (Some(value), Some(usual)) => value > usual.bound,
            _ => self.stands,
        };
        self.looks = if counts { self.looks + 1 } else { 0 };
        let needed = if self.stands { END_LOOKS } else { BEGIN_LOOKS };
        if self.looks < needed {
            return None;
        }
        *self = Self { stands: !self.stands, looks: 0 };
        Some(if self.stands { Word::Begins } else { Word::Ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Usual = Usual { median: 1000.0, bound: 3000.0 };

    /// What is told at which look.
    fn told(watcher: &mut Watcher, values: &[Option<f64>]) -> Vec<(usize, Word)> {
        let looks = values.iter().enumerate();
        looks.filter_map(|(at, value)| Some((at, watcher.look(*value, Some(&USUAL))?))).collect()
    }

    #[test]
    fn a_tremble_is_not_told_and_what_lasts_is_told_once() {
        let mut watcher = Watcher::default();
        let tremble = [Some(9e9), Some(1000.0), Some(9e9), Some(9e9), Some(9e9), Some(9e9), Some(2000.0)];
        assert_eq!(told(&mut watcher, &tremble), []);
        assert_eq!(told(&mut watcher, &[Some(4000.0); 100]), [(4, Word::Begins)]);
        // Around the bound nothing begins and nothing ends.
        assert_eq!(told(&mut watcher, &[Some(2900.0), Some(3100.0)].repeat(50)), []);
        assert_eq!(told(&mut watcher, &[Some(1000.0); 100]), [(9, Word::Ends)]);
    }

    #[test]
    fn who_is_idle_or_new_is_no_anomaly() {
        let mut watcher = Watcher::default();
        assert!((0..100).all(|_| watcher.look(Some(9e9), None).is_none()));
        assert_eq!(told(&mut watcher, &[None; 100]), []);
        let mut watcher = Watcher::standing();
        assert!(watcher.stands());
        assert_eq!(told(&mut watcher, &[None; 100]), [(9, Word::Ends)], "nobody suffers any more");
    }
}
