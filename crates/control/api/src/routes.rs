//! The handlers, a module for each sort of thing.

pub(crate) mod changes;
pub(crate) mod clones;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod exports;
pub(crate) mod groups;
pub(crate) mod host_groups;
pub(crate) mod hosts;
pub(crate) mod keyring;
pub(crate) mod members;
pub(crate) mod node;
pub(crate) mod pools;
pub(crate) mod snapshots;
pub(crate) mod volumes;
