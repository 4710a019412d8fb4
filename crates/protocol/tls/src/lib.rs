//! TLS over a stream of `env`, by rustls.
//!
//! What it is: [`ServerTls`], certificates read once; [`accept`], the handshake of a server; and a stream that looks to its
//! user like the one below it, and can move to another core like it. What it is not: no socket, no protocol above TLS, no client.
//!
//! Invariants:
//! - Nothing reaches the caller before the handshake is complete, and, where clients need a certificate, before theirs is verified.
//! - A session holds one receive of ciphertext, one record of plaintext, and while it sends as much as it sends at once.
//! - A peer that ends without saying so reads as one that has closed: protocols above know by themselves where they end.

mod config;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{ConfigError, ServerTls};
pub use stream::{accept, attach};
