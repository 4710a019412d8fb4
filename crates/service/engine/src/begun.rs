//! Changes of a volume that are under way, so that whoever takes its place can wait until the last of them has ended.

use std::cell::Cell;

use quarry_env::Signal;

/// Counts the changes of two ages: those that were begun before the last look, and those since.
#[derive(Default)]
pub(crate) struct Begun {
    counts: [Cell<usize>; 2],
    age: Cell<usize>,
    ended: Signal,
}

/// A change that is under way until this is dropped.
pub(crate) struct UnderWay<'a> {
    begun: &'a Begun,
    age: usize,
}

impl Begun {
    /// Counts a change.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        let age = self.age.get();
        self.counts[age].set(self.counts[age].get() + 1);
        UnderWay { begun: self, age }
    }

    /// Waits until every change that was begun before has ended. One caller at a time.
    pub(crate) async fn end(&self) {
        let older = self.age.get();
        self.age.set(1 - older);
        loop {
            let version = self.ended.version();
            if self.counts[older].get() == 0 {
                return;
            }
            self.ended.after(version).await;
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let count = &self.begun.counts[self.age];
        count.set(count.get() - 1);
        if count.get() == 0 && self.age != self.begun.age.get() {
            self.begun.ended.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn changes_that_were_begun_before_are_waited_for_and_later_ones_are_not() {
        let begun = Begun::default();
        let before = begun.begin();
        let mut end = Box::pin(begun.end());
        assert!(end.as_mut().now_or_never().is_none());
        let later = begun.begin();
        drop(before);
        assert!(end.as_mut().now_or_never().is_some());
        assert!(begun.end().now_or_never().is_none());
        drop(later);
        assert!(begun.end().now_or_never().is_some());
    }
}
