//! What a node lends to a protocol: its volumes and its cores.

use std::rc::Rc;

use quarry_types::VolumeId;
use quarry_volume::Volume;

/// The volumes that one core owns.
pub trait Volumes {
    /// The volume with this id, if this core owns it and it is open.
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>>;
}

/// The way to the other cores, for what a protocol has negotiated on the core that accepted the connection.
pub trait HandOver<T: Send + 'static> {
    /// The number of the core that calls.
    fn core(&self) -> usize;
    /// Brings `item` to core `core`, another one than the caller's. An item for a core that has ended is dropped.
    fn hand_over(&self, core: usize, item: T);
}
