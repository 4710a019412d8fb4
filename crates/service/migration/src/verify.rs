//! The comparison: every byte of both sides, and what differs copied again.

use quarry_env::View;

use crate::MigrationError;
use crate::copy::{all, pieces};
use crate::migration::Sides;

type Result<T> = std::result::Result<T, MigrationError>;

impl Sides {
    /// Compares the next region; returns how much was read of each side.
    pub(crate) async fn verify_region(&self) -> Result<u64> {
        let at = self.progress.get().verified_bytes;
        let (end, _) = self.region(at, false).await?;
        let turn = self.queue.enter(at..end);
        turn.begin().await;
        self.check()?;
        let (end, is_hole) = self.region(at, false).await?;
        let end = end.min(turn.range().end);
        if !is_hole {
            all(pieces(at, end).map(|(at, end)| self.verify_piece(at, end))).await?;
        }
        // A change that the source has failed meanwhile, before this region, has set it back.
        self.update(|progress| {
            if progress.verified_bytes == at {
                progress.verified_bytes = end;
            }
        });
        Ok(if is_hole { 0 } else { end - at })
    }

    async fn verify_piece(&self, at: u64, end: u64) -> Result<()> {
        let (data, found) =
            futures::future::join(self.source_data(at, end), self.destination_data(at, end)).await;
        let (data, found) = (data?, found?);
        if first_difference(&data, &found).is_none() {
            return Ok(());
        }
        self.update(|progress| progress.repaired_bytes += end - at);
        self.put(at, data.clone(), false).await?;
        match first_difference(&data, &self.destination_data(at, end).await?) {
            None => Ok(()),
            Some(differs) => Err(MigrationError::Unequal { at: at + differs as u64 }),
        }
    }
}

fn first_difference(one: &View, other: &View) -> Option<usize> {
    if one[..] == other[..] {
        return None;
    }
    let differs = one.iter().zip(other.iter()).position(|(one, other)| one != other);
    Some(differs.unwrap_or_else(|| one.len().min(other.len())))
}
