//! Members that are missing, from k that are there.

use crate::kernel::Kernel;
use crate::matrix::Matrix;

/// How to compute certain members from k others. Good for any range of the group, as often as one likes.
#[derive(Clone, Debug)]
pub struct Recovery {
    pub(crate) kernel: Kernel,
    pub(crate) sources: Vec<usize>,
    pub(crate) wanted: Vec<usize>,
    /// One row a wanted member, one column a source.
    pub(crate) coefficients: Matrix,
}

impl Recovery {
    /// The members to read, from the lowest.
    pub fn sources(&self) -> &[usize] {
        &self.sources
    }

    /// The members that are computed, from the lowest.
    pub fn wanted(&self) -> &[usize] {
        &self.wanted
    }

    /// Computes one range of the wanted members from the same range of the sources, each in the order of
    /// [`Self::wanted`] and [`Self::sources`].
    ///
    /// # Panics
    /// When there is not one slice a member, or they are not all of one length.
    pub fn run(&self, sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
        self.kernel.multiply(&self.coefficients, sources, outputs);
    }
}
