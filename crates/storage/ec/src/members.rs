//! A set of members of a group.

/// A set of members, by number: data members from 0, parity members behind them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Members(u16);

impl Members {
    /// The members 0 to `count` - 1.
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    /// With one more.
    #[must_use]
    pub fn with(self, member: usize) -> Self {
        assert!(member < 16, "no code has a member {member}");
        Self(self.0 | 1 << member)
    }

    /// With one less.
    #[must_use]
    pub fn without(self, member: usize) -> Self {
        self.iter().filter(|&other| other != member).collect()
    }

    /// Whether it is in the set.
    pub fn contains(self, member: usize) -> bool {
        self.iter().any(|other| other == member)
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// All of them, from the lowest.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..16).filter(move |member| self.0 >> member & 1 != 0)
    }
}

impl FromIterator<usize> for Members {
    fn from_iter<I: IntoIterator<Item = usize>>(members: I) -> Self {
        members.into_iter().fold(Self::default(), Self::with)
    }
}
