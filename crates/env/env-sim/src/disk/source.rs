//! The bytes of a write, walked once from front to back.

use std::rc::Rc;

use quarry_env::View;

use super::pages::{PAGE_BYTES, Page};

/// What is written: views one behind the other, or one byte over and over.
pub(crate) enum Source<'a> {
    /// The data of a write from some place on.
    Views { views: &'a [View], within: usize },
    /// What a discarded range holds.
    Filled(u8),
}

impl<'a> Source<'a> {
    pub(crate) fn views(views: &'a [View]) -> Self {
        Self::Views { views, within: 0 }
    }

    pub(crate) fn skip(&mut self, bytes: usize) {
        let Self::Views { views, within } = self else { return };
        *within += bytes;
        while let [first, rest @ ..] = views
            && *within >= first.len()
        {
            *within -= first.len();
            *views = rest;
        }
    }

    pub(crate) fn take(&mut self, buffer: &mut [u8]) {
        let mut rest = buffer;
        while !rest.is_empty() {
            let bytes = match self {
                Self::Filled(byte) => return rest.fill(*byte),
                Self::Views { views, within } => {
                    let here = &views[0][*within..];
                    let bytes = here.len().min(rest.len());
                    rest[..bytes].copy_from_slice(&here[..bytes]);
                    bytes
                }
            };
            self.skip(bytes);
            rest = &mut rest[bytes..];
        }
    }

    /// The next whole page in one copy, where it lies in one piece.
    pub(crate) fn page(&mut self) -> Option<Page> {
        let Self::Views { views, within } = self else { return None };
        let page = Rc::from(views.first()?.get(*within..*within + PAGE_BYTES)?);
        self.skip(PAGE_BYTES);
        Some(page)
    }
}
