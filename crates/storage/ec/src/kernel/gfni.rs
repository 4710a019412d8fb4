//! GFNI: one VGF2P8AFFINEQB multiplies 32 bytes by a constant, as a matrix of bits. (VGF2P8MULB multiplies in the field
//! of AES, which is another one.)

use std::arch::x86_64::{
    __m256i, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use crate::field::BIT_MATRICES;
use crate::matrix::Matrix;

const VECTOR_BYTES: usize = 32;
/// Vectors of each output that are summed at once: with three outputs they and the matrices just fit into the registers.
const VECTORS: usize = 4;
const STEP_BYTES: usize = VECTORS * VECTOR_BYTES;

/// Computes the bytes of all whole steps; returns how many these are. Slices are of one length, which the caller checks.
pub fn multiply(coefficients: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]]) -> usize {
    // SAFETY: a code is made only with kernels that the machine has.
    unsafe {
        match outputs {
            [] => 0,
            [a] => rows(coefficients, sources, [a]),
            [a, b] => rows(coefficients, sources, [a, b]),
            [a, b, c] => rows(coefficients, sources, [a, b, c]),
            _ => unreachable!("the caller has counted them"),
        }
    }
}

#[target_feature(enable = "gfni,avx2")]
fn rows<const ROWS: usize>(
    coefficients: &Matrix,
    sources: &[&[u8]],
    mut outputs: [&mut [u8]; ROWS],
) -> usize {
    let whole = sources[0].len() / STEP_BYTES * STEP_BYTES;
    let coefficients: [&[u8]; ROWS] = std::array::from_fn(|row| coefficients.row(row));
    for at in (0..whole).step_by(STEP_BYTES) {
        let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
        for (column, source) in sources.iter().enumerate() {
            let matrices: [__m256i; ROWS] = std::array::from_fn(|row| bit_matrix(coefficients[row][column]));
            let source = &source[at..at + STEP_BYTES];
            for vector in 0..VECTORS {
                let bytes = load(&source[vector * VECTOR_BYTES..]);
                for (sums, matrix) in sums.iter_mut().zip(matrices) {
                    let products = _mm256_gf2p8affine_epi64_epi8::<0>(bytes, matrix);
                    sums[vector] = _mm256_xor_si256(sums[vector], products);
                }
            }
        }
        for (output, sums) in outputs.iter_mut().zip(sums) {
            store(&mut output[at..at + STEP_BYTES], sums);
        }
    }
    whole
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8]) -> __m256i {
    let bytes = &bytes[..VECTOR_BYTES];
    // SAFETY: the slice has as many bytes as are loaded; no alignment is needed.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8], vectors: [__m256i; VECTORS]) {
    for (vector, bytes) in vectors.into_iter().zip(bytes.chunks_exact_mut(VECTOR_BYTES)) {
        // SAFETY: the slice has as many bytes as are stored; no alignment is needed.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) };
    }
}

#[target_feature(enable = "avx2")]
fn bit_matrix(coefficient: u8) -> __m256i {
    _mm256_set1_epi64x(BIT_MATRICES[usize::from(coefficient)].cast_signed())
}
