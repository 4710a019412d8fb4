//! Without vectors: what every machine can do, and the last bytes of the others.

use crate::field::NIBBLES;
use crate::matrix::Matrix;

/// Computes all bytes from `start` on.
pub fn multiply(coefficients: &Matrix, sources: &[&[u8]], outputs: &mut [&mut [u8]], start: usize) {
    for (row, output) in outputs.iter_mut().enumerate() {
        let output = &mut output[start..];
        output.fill(0);
        for (&coefficient, source) in coefficients.row(row).iter().zip(sources) {
            add_product(coefficient, &source[start..], output);
        }
    }
}

fn add_product(coefficient: u8, source: &[u8], output: &mut [u8]) {
    let (low, high) = NIBBLES[usize::from(coefficient)].split_at(16);
    for (output, &byte) in output.iter_mut().zip(source) {
        *output ^= low[usize::from(byte & 15)] ^ high[usize::from(byte >> 4)];
    }
}
