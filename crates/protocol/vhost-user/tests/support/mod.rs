//! What the tests share: a server on a real core whose volumes lie in memory, and a machine with a driver.

pub mod driver;
pub mod node;
#[path = "../../../nbd/tests/support/volume.rs"]
#[allow(dead_code, reason = "other protocols use more of it")]
pub mod volume;
