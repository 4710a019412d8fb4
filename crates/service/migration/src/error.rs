//! Why a migration does not go on.

use std::rc::Rc;

use quarry_volume::VolumeError;

/// Why a copy has ended before its end. The source is complete in every case.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrationError {
    /// The source cannot be read.
    #[error("the source cannot be read at byte {at}")]
    Source {
        /// Where the region begins.
        at: u64,
        /// Its error.
        #[source]
        error: Rc<VolumeError>,
    },
    /// The destination does not take what is copied, or gives nothing back.
    #[error("the destination failed at byte {at}")]
    Destination {
        /// Where the region begins.
        at: u64,
        /// Its error.
        #[source]
        error: Rc<VolumeError>,
    },
    /// The destination has failed a change that a host made; that host has it on the source.
    #[error("the destination failed a change that a host made at byte {at}")]
    Change {
        /// Where the change begins.
        at: u64,
        /// Its error.
        #[source]
        error: Rc<VolumeError>,
    },
    /// The destination was written anew and still gives something else back.
    #[error("the destination does not return what was written to it at byte {at}")]
    Unequal {
        /// The first byte that differs.
        at: u64,
    },
    /// A side did not flush when everything was there.
    #[error("the {side} could not be flushed")]
    Flush {
        /// Which.
        side: &'static str,
        /// Its error.
        #[source]
        error: Rc<VolumeError>,
    },
    /// Somebody has stopped it.
    #[error("it was stopped")]
    Stopped,
}
