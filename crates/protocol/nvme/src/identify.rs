//! Identify (NVMe Base 2.0, 5.17; NVM command set 1.0, 4.1.5): who everybody is. Pure: facts in, bytes out.

mod controller;
mod namespace;

pub(crate) use controller::{ControllerFacts, controller, controller_of_set};
pub(crate) use namespace::{NamespaceFacts, descriptors, independent, list, namespace};

/// Bytes of what Identify returns.
pub(crate) const IDENTIFY_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
