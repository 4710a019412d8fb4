//! Tests of the finished binaries, from outside: short runs of the scenarios of `cargo xtask`.
//!
//! What it is: a package without code of its own, so that `cargo test --workspace` runs `tests/`. What it is not: the
//! scenarios themselves, which live in xtask and run longer by hand.
//!
//! Invariant: the tests take turns, across processes too, because each of them fills the machine.
