//! Sockets: connections with delays, segments of any size and bounded buffers, and the ways in which they end.

mod connection;
mod pipe;
mod state;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use connection::Side;
pub use state::ConnectionId;
pub(crate) use state::NetworkState;
pub(crate) use stream::SimNetwork;
