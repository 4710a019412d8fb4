//! A [`Stage`] with an NVMe/TCP server.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use quarry_nvme::{Identity, Subsystem};
use quarry_nvme_tcp::Server;
use quarry_target::{Access, Audience, Exports, Fabric, Mapping, Reservations};
use quarry_volume::Volume;

use super::stage::Stage;
use super::volume::MemoryVolume;

/// A core with a server that accepts connections.
pub struct World {
    stage: Stage,
    pub exports: Exports,
    pub access: Access,
    pub reservations: Reservations,
    pub subsystem: Subsystem,
    pub server: Rc<Server>,
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
        let (stage, exports, access) = (Stage::new(), Exports::default(), Access::default());
        let identity = Identity::of_node("node", "0.1.0");
        let portal = "192.0.2.7:4420".parse().expect("an address");
        let reservations = Reservations::default();
        let subsystem = Subsystem::new(identity, access.clone(), reservations.clone(), vec![portal]);
        let (env, volumes, cores) = (stage.env.clone(), stage.volumes.clone(), stage.cores.clone());
        let server = Server::new(env, exports.clone(), subsystem.clone(), volumes, cores, budget_bytes);
        stage.env.spawner.spawn(server.clone().serve(stage.listener())).detach();
        Self { stage, exports, access, reservations, subsystem, server }
    }

    /// A volume in memory that is open on this core but mapped to nobody.
    pub fn open(&self, name: &str, number: u32, size_bytes: u64) -> Rc<MemoryVolume> {
        let volume = MemoryVolume::new(self.env.buffers.clone(), name, u128::from(number), size_bytes);
        self.volumes.0.borrow_mut().insert(volume.info().id, volume.clone());
        volume
    }

    /// Shows a volume to an audience under a number.
    pub fn map(&self, volume: &MemoryVolume, number: u32, audience: Audience) {
        self.map_on(volume, number, audience, 0);
    }

    /// The same for a volume of core `core`.
    pub fn map_on(&self, volume: &MemoryVolume, number: u32, audience: Audience, core: usize) {
        let info = volume.info();
        let mapping = Mapping {
            export: info.name.clone(),
            fabric: Fabric::NvmeTcp,
            audience,
            number,
            volume: info,
            core,
            read_only: false,
        };
        self.access.map(mapping).expect("a new number");
    }

    /// A volume in memory that everybody sees under a number.
    pub fn volume(&self, number: u32, size_bytes: u64) -> Rc<MemoryVolume> {
        let volume = self.open(&format!("volume-{number}"), number, size_bytes);
        self.map(&volume, number, Audience::Everyone);
        volume
    }

    /// Gives a volume another size, of which everybody hears.
    pub fn resize(&self, volume: &MemoryVolume, size_bytes: u64) {
        volume.set_info(|info| info.size_bytes = size_bytes);
        self.access.update_size(volume.info().id, size_bytes);
    }
}
