//! The erasure code of a group, once more: by the book and a byte at a time, from docs/format/log.md alone.

/// The polynomial of the field, x^8 + x^4 + x^3 + x^2 + 1.
const POLYNOMIAL: u16 = 0x11d;

fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut a) = (0u16, u16::from(a));
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= a;
        }
        a = if a & 0x80 == 0 { a << 1 } else { a << 1 ^ POLYNOMIAL };
    }
    product as u8
}

fn inverse(a: u8) -> u8 {
    (1..=u8::MAX).find(|&b| multiply(a, b) == 1).expect("all but zero have one")
}

type Matrix = Vec<Vec<u8>>;

fn times(left: &Matrix, right: &Matrix) -> Matrix {
    let element = |row: &Vec<u8>, column: usize| {
        row.iter().zip(right).fold(0, |sum, (&factor, of)| sum ^ multiply(factor, of[column]))
    };
    left.iter().map(|row| (0..right[0].len()).map(|column| element(row, column)).collect()).collect()
}

fn inverted(matrix: &Matrix) -> Matrix {
    let size = matrix.len();
    let identity = |row: usize| (0..size).map(move |column| u8::from(row == column));
    let mut work: Matrix = matrix
        .iter()
        .enumerate()
        .map(|(row, left)| left.iter().copied().chain(identity(row)).collect())
        .collect();
    for pivot in 0..size {
        let from = (pivot..size).find(|&row| work[row][pivot] != 0).expect("the rows are independent");
        work.swap(pivot, from);
        let scale = inverse(work[pivot][pivot]);
        work[pivot].iter_mut().for_each(|element| *element = multiply(*element, scale));
        let pivot_row = work[pivot].clone();
        for (_, elements) in work.iter_mut().enumerate().filter(|(row, _)| *row != pivot) {
            let factor = elements[pivot];
            elements
                .iter_mut()
                .zip(&pivot_row)
                .for_each(|(element, &other)| *element ^= multiply(factor, other));
        }
    }
    work.into_iter().map(|row| row[size..].to_vec()).collect()
}

/// Row r holds the powers of r, multiplied by the inverse of the first `data` rows: one row a member.
fn rows(data: usize, members: usize) -> Matrix {
    let power = |base: u8, exponent: usize| (0..exponent).fold(1, |power, _| multiply(power, base));
    let vandermonde: Matrix =
        (0..members as u8).map(|row| (0..data).map(|column| power(row, column)).collect()).collect();
    times(&vandermonde, &inverted(&vandermonde[..data].to_vec()))
}

/// Computes bytes of a member from the same bytes of `data` others, each given with its number.
pub fn recover(data: usize, members: usize, wanted: usize, sources: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let rows = rows(data, members);
    let known: Matrix = sources.iter().map(|(member, _)| rows[*member].clone()).collect();
    let factors = times(&vec![rows[wanted].clone()], &inverted(&known)).remove(0);
    let length = sources.first().map_or(0, |(_, bytes)| bytes.len());
    (0..length)
        .map(|at| {
            let products =
                factors.iter().zip(sources).map(|(&factor, (_, bytes))| multiply(factor, bytes[at]));
            products.fold(0, |sum, product| sum ^ product)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_members_give_back_the_others() {
        for (data, members) in [(2, 3), (4, 6), (8, 11)] {
            let values: Vec<Vec<u8>> =
                (0..data).map(|member| vec![(member as u8).wrapping_mul(37), 200, 0]).collect();
            let given: Vec<(usize, Vec<u8>)> = values.iter().cloned().enumerate().collect();
            let all: Vec<Vec<u8>> =
                (0..members).map(|wanted| recover(data, members, wanted, &given)).collect();
            assert_eq!(all[..data], values, "data members are stored as they are");
            let last: Vec<(usize, Vec<u8>)> =
                (members - data..members).map(|at| (at, all[at].clone())).collect();
            for (wanted, value) in all.iter().enumerate().take(members - data) {
                assert_eq!(&recover(data, members, wanted, &last), value, "{data} of {members}: {wanted}");
            }
        }
    }

    /// The examples of crates/storage/ec/tests/vectors.rs: the product writes the same code.
    #[test]
    fn the_code_is_that_of_the_product() {
        for (bytes, parity) in [
            (&[1, 16][..], &[0x23, 0x32, 0x45][..]),
            (&[1, 16, 77], &[0x5c, 0x3c, 0x2d]),
            (&[1, 16, 77, 129], &[0x3e]),
        ] {
            let data: Vec<(usize, Vec<u8>)> = bytes.iter().map(|&byte| vec![byte]).enumerate().collect();
            let (k, members) = (data.len(), data.len() + parity.len());
            for (index, &byte) in parity.iter().enumerate() {
                assert_eq!(recover(k, members, k + index, &data), [byte], "{k}+{}", parity.len());
            }
        }
    }
}
