//! Disks: what they hold, what is under way on them, and the handles by which processes use them.

mod contract;
mod course;
mod crash;
mod effect;
mod fate;
mod handle;
mod medium;
mod operation;
mod outlive;
mod pages;
mod source;
mod spec;
mod spindle;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use crash::CrashModel;
pub use crash::Losses;
pub(crate) use handle::SimDisks;
pub(crate) use pages::{PAGE_BYTES, Pages};
pub(crate) use spec::Directory;
pub use spec::{DirectorySpec, DiskSpec, Latency};
pub use spindle::Spindle;
pub use state::DiskStatus;
pub(crate) use state::{DiskSet, Script};
