//! Small matrices over the field: what a code and a recovery are made of.

use crate::field::{inverse, multiply, power};

/// A matrix, row by row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    columns: usize,
    elements: Vec<u8>,
}

impl Matrix {
    fn from_fn(rows: usize, columns: usize, element: impl Fn(usize, usize) -> u8) -> Self {
        let element = &element;
        let elements = (0..rows).flat_map(|row| (0..columns).map(move |column| element(row, column)));
        Self { columns, elements: elements.collect() }
    }

    /// Row r holds the powers of r: any `columns` of its rows are independent.
    fn vandermonde(rows: usize, columns: usize) -> Self {
        Self::from_fn(rows, columns, |row, column| power(u8::try_from(row).expect("few rows"), column))
    }

    /// One row a member, one column a data member; the rows of the data members are the identity. Any `data` rows are
    /// independent, because multiplication by one invertible matrix leaves them so.
    pub fn systematic(data: usize, members: usize) -> Self {
        let vandermonde = Self::vandermonde(members, data);
        let top = vandermonde.select(&(0..data).collect::<Vec<_>>());
        vandermonde.times(&top.inverted())
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.elements.len() / self.columns
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[u8] {
        &self.elements[row * self.columns..][..self.columns]
    }

    /// The rows named, in that order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let elements = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Self { columns: self.columns, elements }
    }

    /// The product.
    pub fn times(&self, right: &Self) -> Self {
        assert_eq!(self.columns, right.rows(), "a product of matrices that do not fit");
        Self::from_fn(self.rows(), right.columns, |row, column| {
            let left = self.row(row).iter().enumerate();
            left.fold(0, |sum, (at, &element)| sum ^ multiply(element, right.row(at)[column]))
        })
    }

    /// The inverse of a square matrix of independent rows, by Gauss and Jordan.
    ///
    /// # Panics
    /// When the rows depend on each other: no matrix of a code does that.
    pub fn inverted(&self) -> Self {
        let size = self.columns;
        assert_eq!(self.rows(), size, "only a square matrix has an inverse");
        let mut work = Self::from_fn(size, 2 * size, |row, column| match column.checked_sub(size) {
            None => self.row(row)[column],
            Some(column) => u8::from(row == column),
        });
        for pivot in 0..size {
            let from = (pivot..size).find(|&row| work.row(row)[pivot] != 0).expect("independent rows");
            work.swap_rows(pivot, from);
            work.scale_row(pivot, inverse(work.row(pivot)[pivot]));
            for row in (0..size).filter(|&row| row != pivot) {
                work.subtract_row(row, pivot, work.row(row)[pivot]);
            }
        }
        Self::from_fn(size, size, |row, column| work.row(row)[size + column])
    }

    fn swap_rows(&mut self, first: usize, second: usize) {
        for column in 0..self.columns {
            self.elements.swap(first * self.columns + column, second * self.columns + column);
        }
    }

    fn scale_row(&mut self, row: usize, factor: u8) {
        for element in &mut self.elements[row * self.columns..][..self.columns] {
            *element = multiply(*element, factor);
        }
    }

    fn subtract_row(&mut self, row: usize, other: usize, factor: u8) {
        for column in 0..self.columns {
            self.elements[row * self.columns + column] ^= multiply(factor, self.row(other)[column]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_systematic_matrix_begins_with_the_identity() {
        let matrix = Matrix::systematic(4, 6);
        let identity = Matrix::from_fn(4, 4, |row, column| u8::from(row == column));
        assert_eq!(matrix.select(&[0, 1, 2, 3]), identity);
        assert!(matrix.row(4).iter().chain(matrix.row(5)).all(|&element| element != 0));
    }

    #[test]
    fn an_inverse_undoes() {
        let matrix = Matrix::systematic(5, 8).select(&[7, 1, 5, 3, 6]);
        let identity = Matrix::from_fn(5, 5, |row, column| u8::from(row == column));
        assert_eq!(matrix.times(&matrix.inverted()), identity);
        assert_eq!(matrix.inverted().times(&matrix), identity);
    }

    #[test]
    #[should_panic(expected = "independent rows")]
    fn dependent_rows_have_no_inverse() {
        Matrix::systematic(2, 3).select(&[2, 2]).inverted();
    }
}
