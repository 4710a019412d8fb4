//! The handlers, a module for each sort of thing.

pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod clones;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod exports;
pub(crate) mod groups;
pub(crate) mod host_groups;
pub(crate) mod hosts;
pub(crate) mod jobs;
pub(crate) mod keyring;
pub(crate) mod members;
pub(crate) mod migrations;
pub(crate) mod node;
pub(crate) mod observe;
pub(crate) mod policies;
pub(crate) mod pools;
pub(crate) mod session;
pub(crate) mod snapshots;
pub(crate) mod state;
pub(crate) mod tenants;
pub(crate) mod tiers;
pub(crate) mod tokens;
pub(crate) mod users;
pub(crate) mod volumes;
pub(crate) mod watch;
