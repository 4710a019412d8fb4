//! The map against a model, with a store that delays, reorders, fails and rots.

mod bounds;
mod damage;
mod liveness;
mod model;
mod sparse;
pub(crate) mod store;
mod world;
