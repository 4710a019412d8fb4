//! The loop of everything here: a matrix of constants times k streams of bytes.
//!
//! For each byte position, output r is the sum over c of coefficient (r, c) times source c. Outputs are written and never
//! read: several sums stay in registers while the sources stream by, each of which is read once.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod gfni;
mod scalar;

use std::fmt;

use quarry_types::limits::CODE_PARITY_MAX;

use crate::matrix::Matrix;

/// Which instructions multiply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// Tables of 16 products each, byte by byte. Runs everywhere.
    Scalar,
    /// The same tables, 32 bytes at once by VPSHUFB.
    Avx2,
    /// Matrices of bits, 32 bytes at once by VGF2P8AFFINEQB.
    Gfni,
}

impl Kernel {
    /// Those of this machine, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Scalar, Self::Avx2, Self::Gfni].into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest of this machine.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Whether this machine can run it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Gfni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni"),
        }
    }

    /// Whether this machine can run it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Scalar
    }

    /// Multiplies `coefficients` with `sources` into `outputs`.
    pub(crate) fn multiply(self, coefficients: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]]) {
        assert_eq!(sources.len(), coefficients.columns(), "one slice a source");
        assert_eq!(outputs.len(), coefficients.rows(), "one slice an output");
        let length = sources[0].len();
        let outputs_fit = outputs.iter().all(|output| output.len() == length);
        assert!(outputs_fit && sources.iter().all(|source| source.len() == length), "slices of one length");
        assert!(outputs.len() <= CODE_PARITY_MAX, "no more is computed than may be missing");
        let done = match self {
            Self::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::multiply(coefficients, sources, outputs),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni => gfni::multiply(coefficients, sources, outputs),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Gfni => unreachable!("a code is made of kernels that are available"),
        };
        scalar::multiply(coefficients, sources, outputs, done);
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Gfni => "gfni",
        })
    }
}
