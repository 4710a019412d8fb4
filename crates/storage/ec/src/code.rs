//! A code: encoding, and plans of recovery.

use crate::error::CodeError;
use crate::kernel::Kernel;
use crate::matrix::Matrix;
use crate::members::Members;
use crate::recovery::Recovery;
use crate::shape::Shape;

/// The code of one shape. Cheap to keep; made once a group or once a pool.
#[derive(Clone, Debug)]
pub struct Code {
    shape: Shape,
    kernel: Kernel,
    /// One row a member.
    matrix: Matrix,
    /// The rows of the parity members.
    parity: Matrix,
}

impl Code {
    /// The code of this shape, by the fastest kernel of this machine.
    pub fn new(shape: Shape) -> Self {
        Self::with_kernel(shape, Kernel::best())
    }

    /// The code of this shape, by this kernel.
    ///
    /// # Panics
    /// When this machine does not have the kernel: see [`Kernel::available`].
    pub fn with_kernel(shape: Shape, kernel: Kernel) -> Self {
        assert!(kernel.is_available(), "this machine cannot run the kernel {kernel}");
        let matrix = Matrix::systematic(shape.data(), shape.members());
        let parity = matrix.select(&(shape.data()..shape.members()).collect::<Vec<_>>());
        Self { shape, kernel, matrix, parity }
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Computes all parity members of `data`, one slice a data member in their order.
    ///
    /// # Panics
    /// When there are not k and m slices, or they are not all of one length.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        self.kernel.multiply(&self.parity, data, parity);
    }

    /// How to compute the members `wanted` from some of those `present`, of which it takes k, data members first.
    ///
    /// # Panics
    /// When a wanted member is present, or one does not belong to this shape: neither is missing.
    pub fn recovery(&self, present: Members, wanted: Members) -> Result<Recovery, CodeError> {
        let all = Members::first(self.shape.members());
        let mut both = present.iter().chain(wanted.iter());
        assert!(both.all(|member| all.contains(member)), "{present:?}, {wanted:?} of {}", self.shape);
        assert!(wanted.iter().all(|member| !present.contains(member)), "what is there is not computed");
        let sources: Vec<usize> = present.iter().take(self.shape.data()).collect();
        if sources.len() < self.shape.data() {
            return Err(CodeError::TooFew { shape: self.shape, present: sources.len() });
        }
        // The sources are S * data, so the data is S^-1 * sources, and what is wanted W * S^-1 * sources.
        let wanted: Vec<usize> = wanted.iter().collect();
        let data_of_sources = self.matrix.select(&sources).inverted();
        let coefficients = self.matrix.select(&wanted).times(&data_of_sources);
        Ok(Recovery { kernel: self.kernel, sources, wanted, coefficients })
    }
}
