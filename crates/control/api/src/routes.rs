//! The handlers, a module for each sort of thing.

pub(crate) mod devices;
pub(crate) mod exports;
pub(crate) mod node;
pub(crate) mod pools;
pub(crate) mod volumes;
