//! A volume in memory that initiators see as unit 0.

use std::rc::Rc;

use quarry_env::BufferPool;
use quarry_target::{Access, Audience, Fabric, Mapping, Volumes};
use quarry_types::VolumeId;
use quarry_volume::Volume;

use crate::volume::MemoryVolume;

/// The only volume.
pub struct One(pub Rc<MemoryVolume>);

impl One {
    /// A volume of 1 MiB, and the table in which everybody sees it.
    pub fn new(buffers: BufferPool) -> (Rc<Self>, Access) {
        let volume = MemoryVolume::new(buffers, "fuzz", 7, 1 << 20);
        let access = Access::default();
        let mapping = Mapping {
            export: "fuzz".to_owned(),
            fabric: Fabric::Iscsi,
            audience: Audience::Everyone,
            number: 0,
            volume: volume.info(),
            core: 0,
            read_only: false,
        };
        access.map(mapping).expect("an empty table has room");
        (Rc::new(Self(volume)), access)
    }
}

impl Volumes for One {
    fn volume(&self, id: VolumeId) -> Option<Rc<dyn Volume>> {
        (self.0.info().id == id).then(|| self.0.clone() as Rc<dyn Volume>)
    }
}
