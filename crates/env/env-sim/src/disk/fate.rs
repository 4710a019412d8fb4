//! Which parts of a write come to something when it is not done as a whole.

use crate::dice::Dice;

#[derive(Clone, Copy)]
enum Shape {
    All,
    None,
    /// Units below this one.
    Before(u64),
    /// Each unit by its own draw.
    Scattered,
}

/// The fate of one write, unit by unit. A unit is what the disk promises not to tear.
pub(crate) struct Fate {
    shape: Shape,
    unit_bytes: u64,
    /// Several sectors of one unit share its draw.
    last: Option<(u64, bool)>,
}

impl Fate {
    pub(crate) fn all() -> Self {
        Self { shape: Shape::All, unit_bytes: 1, last: None }
    }

    pub(crate) fn none() -> Self {
        Self { shape: Shape::None, unit_bytes: 1, last: None }
    }

    /// Kept, lost, cut off or scattered, with equal chances.
    pub(crate) fn any(dice: &Dice, offset: u64, length: u64, unit_bytes: u32) -> Self {
        match dice.below(4) {
            0 => Self::all(),
            1 => Self::none(),
            _ => Self::torn(dice, offset, length, unit_bytes),
        }
    }

    /// Cut off or scattered.
    pub(crate) fn torn(dice: &Dice, offset: u64, length: u64, unit_bytes: u32) -> Self {
        let unit_bytes = u64::from(unit_bytes);
        let units = (offset % unit_bytes + length).div_ceil(unit_bytes);
        let shape = match dice.below(2) {
            0 => Shape::Before(offset / unit_bytes + dice.below(units + 1)),
            _ => Shape::Scattered,
        };
        Self { shape, unit_bytes, last: None }
    }

    /// Whether the sector at this byte of the disk is written. To be asked in ascending order.
    pub(crate) fn keeps(&mut self, position: u64, dice: &Dice) -> bool {
        let unit = position / self.unit_bytes;
        match self.shape {
            Shape::All => true,
            Shape::None => false,
            Shape::Before(end) => unit < end,
            Shape::Scattered => match self.last {
                Some((last, kept)) if last == unit => kept,
                _ => {
                    let kept = dice.next_u32() & 1 == 1;
                    self.last = Some((unit, kept));
                    kept
                }
            },
        }
    }
}
