//! A [`Stage`] with an NBD server.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use quarry_nbd::Server;
use quarry_target::{Export, Exports, Reservations};
use quarry_volume::Volume;

use super::stage::Stage;
pub use super::stage::Wire;
use super::volume::MemoryVolume;

/// A core with a server that accepts connections.
pub struct World {
    stage: Stage,
    pub exports: Exports,
    pub reservations: Reservations,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }
}

impl World {
    /// A server whose sessions may hold `budget_bytes`.
    pub fn new(budget_bytes: u64) -> Self {
        let (stage, exports) = (Stage::new(), Exports::default());
        let (env, volumes, cores) = (stage.env.clone(), stage.volumes.clone(), stage.cores.clone());
        let reservations = Reservations::default();
        let server =
            Server::new(env, exports.clone(), volumes, cores, reservations.clone(), budget_bytes, None);
        stage.env.spawner.spawn(server.serve(stage.listener())).detach();
        Self { stage, exports, reservations }
    }

    /// A volume in memory that is exported under its name.
    pub fn volume(&self, name: &str, size_bytes: u64) -> Rc<MemoryVolume> {
        let number = self.exports.list().len() as u128 + 1;
        let volume = MemoryVolume::new(self.env.buffers.clone(), name, number, size_bytes);
        let info = volume.info();
        self.volumes.0.borrow_mut().insert(info.id, volume.clone());
        let export = Export { name: name.to_owned(), volume: info, core: 0 };
        self.exports.insert(export).expect("a new name");
        volume
    }
}
