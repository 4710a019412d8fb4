//! The code itself, written down: what is on devices depends on it.

use quarry_ec::{Code, Shape};

/// The parity of the data bytes 1, 16, 77, 129, 200, 3, 254, 90, as many of them as the shape has data members.
const PARITY: [(&str, &str); 21] = [
    ("2+1", "23"),
    ("2+2", "2332"),
    ("2+3", "233245"),
    ("3+1", "5c"),
    ("3+2", "5c3c"),
    ("3+3", "5c3c2d"),
    ("4+1", "3e"),
    ("4+2", "3edb"),
    ("4+3", "3edbd4"),
    ("5+1", "2d"),
    ("5+2", "2d22"),
    ("5+3", "2d221a"),
    ("6+1", "7e"),
    ("6+2", "7e68"),
    ("6+3", "7e6809"),
    ("7+1", "e8"),
    ("7+2", "e8d0"),
    ("7+3", "e8d05b"),
    ("8+1", "2a"),
    ("8+2", "2a60"),
    ("8+3", "2a6033"),
];

#[test]
fn the_code_has_not_changed() {
    let found: Vec<(String, String)> = Shape::all()
        .map(|shape| {
            let bytes = [1, 16, 77, 129, 200, 3, 254, 90].map(|byte| [byte]);
            let data: Vec<&[u8]> = bytes[..shape.data()].iter().map(|byte| &byte[..]).collect();
            let mut parity = vec![[0]; shape.parity()];
            let mut outputs: Vec<&mut [u8]> = parity.iter_mut().map(|byte| &mut byte[..]).collect();
            Code::new(shape).encode(&data, &mut outputs);
            (shape.to_string(), parity.iter().map(|[byte]| format!("{byte:02x}")).collect())
        })
        .collect();
    let found: Vec<(&str, &str)> = found.iter().map(|(shape, parity)| (&shape[..], &parity[..])).collect();
    assert_eq!(found, PARITY);
}
