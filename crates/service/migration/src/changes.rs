//! Changes of hosts while the volume moves: on the source, and where it was copied on the destination too.

use std::ops::Range;
use std::rc::Rc;

use futures::future::{LocalBoxFuture, join};
use quarry_env::{View, completion};
use quarry_volume::{Comparison, Result, Volume, WriteFlags, ZeroMode};

use crate::migration::Sides;
use crate::{Migration, MigrationError};

/// What is to become of a range.
#[derive(Clone)]
enum Content {
    Data(View),
    /// Data that lands whole or not at all.
    Atomic(View),
    Zeroes(ZeroMode),
    Discarded,
}

#[derive(Clone)]
struct Change {
    offset: u64,
    length: u64,
    content: Content,
}

impl Change {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.length)
    }

    /// The part of it before byte `end`.
    fn before(&self, end: u64) -> Option<Self> {
        let length = end.min(self.range().end).checked_sub(self.offset).filter(|&length| length > 0)?;
        let content = match &self.content {
            Content::Atomic(_) if length == self.length => self.content.clone(),
            // The rest is on the source alone, which counts until all of it was copied.
            Content::Data(data) | Content::Atomic(data) => Content::Data(data.slice(0..length as usize)),
            other => other.clone(),
        };
        Some(Self { length, content, ..*self })
    }

    async fn apply(self, volume: &dyn Volume, flags: WriteFlags) -> Result<()> {
        let Self { offset, length, content } = self;
        match content {
            Content::Data(data) => volume.write(offset, data, flags).await,
            Content::Atomic(data) => volume.write_atomic(offset, data, flags).await,
            Content::Zeroes(mode) => volume.write_zeroes(offset, length, mode, flags).await,
            Content::Discarded => volume.discard(offset, length, flags).await,
        }
    }
}

impl Migration {
    pub(crate) fn write_both(
        &self,
        offset: u64,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        self.change(Change { offset, length: data.len() as u64, content: Content::Data(data) }, flags)
    }

    pub(crate) fn write_atomic_both(
        &self,
        offset: u64,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        self.change(Change { offset, length: data.len() as u64, content: Content::Atomic(data) }, flags)
    }

    pub(crate) fn write_zeroes_both(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        self.change(Change { offset, length, content: Content::Zeroes(mode) }, flags)
    }

    pub(crate) fn discard_both(
        &self,
        offset: u64,
        length: u64,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        self.change(Change { offset, length, content: Content::Discarded }, flags)
    }

    pub(crate) fn compare_and_write_both(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        let change = Change { offset, length: data.len() as u64, content: Content::Data(data.clone()) };
        self.in_turn(change.range(), move |sides| async move {
            if let Some(next) = sides.next.get() {
                return next.compare_and_write(offset, expected, data, flags).await;
            }
            let compared = sides.source.compare_and_write(offset, expected, data, flags).await;
            match &compared {
                Ok(Comparison::Written) => sides.follow(&change).await,
                Ok(Comparison::Differs { .. }) => {}
                Err(_) => sides.distrust(&change.range()),
            }
            compared
        })
    }

    fn change(&self, change: Change, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.in_turn(change.range(), move |sides| async move {
            match sides.next.get() {
                Some(next) => change.apply(&**next, flags).await,
                None => sides.apply(change, flags).await,
            }
        })
    }

    /// Carries a change out when it has its turn, to its end also when nobody waits for it any more: half of it would leave the two
    /// sides unequal.
    fn in_turn<T: 'static, Fut>(
        &self,
        range: Range<u64>,
        task: impl FnOnce(Rc<Sides>) -> Fut + 'static,
    ) -> LocalBoxFuture<'_, Result<T>>
    where
        Fut: Future<Output = Result<T>> + 'static,
    {
        let (sides, turn) = (self.0.clone(), self.0.queue.enter(range));
        sides.host_operations.set(sides.host_operations.get() + 1);
        let (completer, completion) = completion();
        let whole = async move {
            turn.begin().await;
            let result = task(sides).await;
            drop(turn);
            completer.complete(result);
        };
        self.0.env.spawner.spawn(whole).detach();
        Box::pin(completion)
    }
}

impl Sides {
    async fn apply(&self, change: Change, flags: WriteFlags) -> Result<()> {
        let range = change.range();
        let (on_source, ()) = join(change.clone().apply(&*self.source, flags), self.follow(&change)).await;
        if on_source.is_err() {
            self.distrust(&range);
        }
        on_source
    }

    /// Does on the destination what happens on the source, as far as it was copied. The watermark does not move over the range of a
    /// change that has its turn.
    async fn follow(&self, change: &Change) {
        let copied_bytes = self.progress.get().copied_bytes;
        let Some(part) = change.before(copied_bytes).filter(|_| !self.has_failed()) else { return };
        if let Err(error) = part.apply(&*self.destination, WriteFlags::default()).await {
            self.fail(MigrationError::Change { at: change.offset, error: Rc::new(error) });
        }
    }
}
