//! AVX2: two look-ups of 16 products each by VPSHUFB, for 32 bytes at once.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_xor_si256,
};

use crate::field::NIBBLES;
use crate::matrix::Matrix;

const VECTOR_BYTES: usize = 32;
/// Vectors of each output that are summed at once: with three outputs they and the tables just fit into the registers.
const VECTORS: usize = 2;
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

#[target_feature(enable = "avx2")]
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
            let halves = load(&source[at..at + STEP_BYTES]).map(|vector| nibbles(vector));
            for (row, sums) in sums.iter_mut().enumerate() {
                let (low, high) = tables(coefficients[row][column]);
                for (sum, halves) in sums.iter_mut().zip(halves) {
                    let products = _mm256_xor_si256(
                        _mm256_shuffle_epi8(low, halves.0),
                        _mm256_shuffle_epi8(high, halves.1),
                    );
                    *sum = _mm256_xor_si256(*sum, products);
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
fn load(bytes: &[u8]) -> [__m256i; VECTORS] {
    std::array::from_fn(|vector| {
        let bytes = &bytes[vector * VECTOR_BYTES..][..VECTOR_BYTES];
        // SAFETY: the slice has as many bytes as are loaded; no alignment is needed.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    })
}

#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8], vectors: [__m256i; VECTORS]) {
    for (vector, bytes) in vectors.into_iter().zip(bytes.chunks_exact_mut(VECTOR_BYTES)) {
        // SAFETY: the slice has as many bytes as are stored; no alignment is needed.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) };
    }
}

/// The low and the high half of each byte.
#[target_feature(enable = "avx2")]
fn nibbles(vector: __m256i) -> (__m256i, __m256i) {
    let mask = _mm256_set1_epi8(15);
    (_mm256_and_si256(vector, mask), _mm256_and_si256(_mm256_srli_epi64::<4>(vector), mask))
}

#[target_feature(enable = "avx2")]
fn tables(coefficient: u8) -> (__m256i, __m256i) {
    let (low, high) = NIBBLES[usize::from(coefficient)].split_at(16);
    // SAFETY: both halves are of 16 bytes; no alignment is needed.
    let (low, high) =
        unsafe { (_mm_loadu_si128(low.as_ptr().cast()), _mm_loadu_si128(high.as_ptr().cast())) };
    (_mm256_broadcastsi128_si256(low), _mm256_broadcastsi128_si256(high))
}
