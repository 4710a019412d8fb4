//! Arithmetic in GF(2^8) modulo 0x11D, and the tables from which kernels multiply. All of it is computed by the compiler.

/// x^8 + x^4 + x^3 + x^2 + 1 without its highest term.
const POLYNOMIAL: u8 = 0x1D;

/// The product, as the definition has it: what the tables are computed with.
const fn product(left: u8, right: u8) -> u8 {
    let (mut shifted, mut rest, mut product) = (left, right, 0);
    while rest != 0 {
        if rest & 1 != 0 {
            product ^= shifted;
        }
        let carries = shifted & 0x80 != 0;
        shifted <<= 1;
        if carries {
            shifted ^= POLYNOMIAL;
        }
        rest >>= 1;
    }
    product
}

/// The product of two elements.
pub fn multiply(left: u8, right: u8) -> u8 {
    let nibbles = &NIBBLES[usize::from(left)];
    nibbles[usize::from(right & 15)] ^ nibbles[16 + usize::from(right >> 4)]
}

/// `base` to the power of `exponent`; anything to the power of 0 is 1.
pub fn power(base: u8, exponent: usize) -> u8 {
    (0..exponent).fold(1, |result, _| multiply(result, base))
}

/// What gives 1 when multiplied by `element`, which must not be 0.
pub fn inverse(element: u8) -> u8 {
    assert!(element != 0, "zero has no inverse");
    INVERSES[usize::from(element)]
}

static INVERSES: [u8; 256] = inverses();

/// 2 generates all elements but 0: the inverse of 2^n is 2^(255 - n).
const fn inverses() -> [u8; 256] {
    let mut powers = [1; 256];
    let mut exponent = 1;
    while exponent < 256 {
        powers[exponent] = product(powers[exponent - 1], 2);
        exponent += 1;
    }
    let mut inverses = [0; 256];
    while exponent > 0 {
        exponent -= 1;
        inverses[powers[exponent] as usize] = powers[255 - exponent];
    }
    inverses
}

/// For each constant its products with 0..16, then its products with 0, 16, .., 240: a product is the sum of one of each.
pub static NIBBLES: [[u8; 32]; 256] = nibbles();

const fn nibbles() -> [[u8; 32]; 256] {
    let mut tables = [[0; 32]; 256];
    let mut constant = 0;
    while constant < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            tables[constant][nibble] = product(constant as u8, nibble as u8);
            tables[constant][16 + nibble] = product(constant as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        constant += 1;
    }
    tables
}

/// For each constant the 8x8 matrix of bits that multiplies by it, as GF2P8AFFINEQB wants it: byte 7-i of the word is the
/// row that gives bit i of the product.
pub static BIT_MATRICES: [u64; 256] = bit_matrices();

const fn bit_matrices() -> [u64; 256] {
    let mut matrices = [0; 256];
    let mut constant = 0;
    while constant < 256 {
        let mut input = 0;
        while input < 8 {
            let column = product(constant as u8, 1 << input);
            let mut output = 0;
            while output < 8 {
                if column >> output & 1 != 0 {
                    matrices[constant] |= 1 << (8 * (7 - output) + input);
                }
                output += 1;
            }
            input += 1;
        }
        constant += 1;
    }
    matrices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplication_is_that_of_a_field() {
        for left in 0..=255 {
            for right in 0..=255 {
                assert_eq!(multiply(left, right), product(right, left));
                assert_eq!(multiply(left, right) == 0, left == 0 || right == 0);
                let sum = multiply(left, right) ^ multiply(left, 0x5A);
                assert_eq!(multiply(left, right ^ 0x5A), sum, "it distributes over addition");
            }
            assert_eq!(multiply(left, 1), left);
        }
        for element in 1..=255 {
            assert_eq!(multiply(element, inverse(element)), 1);
        }
    }

    /// 2 generates all elements but 0, as it does for 0x11D and does not for AES's 0x11B.
    #[test]
    fn two_is_a_generator() {
        let mut seen = [false; 256];
        for exponent in 0..255 {
            assert!(!std::mem::replace(&mut seen[usize::from(power(2, exponent))], true));
        }
        assert_eq!(power(2, 8), POLYNOMIAL);
    }

    #[test]
    fn tables_multiply() {
        for constant in 0..=255u8 {
            let nibbles = &NIBBLES[usize::from(constant)];
            let matrix = BIT_MATRICES[usize::from(constant)].to_le_bytes();
            for byte in 0..=255u8 {
                let expected = product(constant, byte);
                let (low, high) = (usize::from(byte & 15), usize::from(byte >> 4));
                assert_eq!(nibbles[low] ^ nibbles[16 + high], expected);
                let bit = |output: usize| ((matrix[7 - output] & byte).count_ones() as u8 & 1) << output;
                assert_eq!((0..8).map(bit).sum::<u8>(), expected);
            }
        }
    }
}
