//! What hosts and devices have done, gathered from all cores.

use std::collections::BTreeMap;

use quarry_device::DeviceFigures;
use quarry_engine::EngineFigures;
use quarry_node_api::Result;
use quarry_types::{LogId, PoolId, VolumeId};
use quarry_volume::FiguresSeen;

use super::DataNode;

/// See the module.
#[derive(Default)]
pub(super) struct NodeFigures {
    /// By pool and log.
    pub(super) engines: BTreeMap<(PoolId, LogId), EngineFigures>,
    /// Each volume, wherever it lies; one that moves is counted where hosts have used it.
    pub(super) volumes: BTreeMap<VolumeId, FiguresSeen>,
    /// By pool and index, all cores together.
    pub(super) devices: BTreeMap<(PoolId, u16), DeviceFigures>,
}

impl DataNode {
    pub(super) async fn gather_figures(&self) -> Result<NodeFigures> {
        let looking = (0..self.cores.count()).map(|core| {
            self.cores.call(core, |state| async move {
                let engines: Vec<_> = state
                    .engines()
                    .into_iter()
                    .map(|(pool, engine)| ((pool, engine.log_id()), engine.figures()))
                    .collect();
                let images: Vec<_> =
                    state.places.images().into_iter().map(|(id, image)| (id, image.figures())).collect();
                let devices: Vec<_> =
                    state.pools().iter().map(|pool| (pool.shared.id, pool.device_figures())).collect();
                (engines, images, devices)
            })
        });
        let mut all = NodeFigures::default();
        for looked in futures::future::join_all(looking).await {
            let (engines, images, devices) = looked?;
            let of_engines = engines.iter().flat_map(|(_, engine)| engine.volumes.clone());
            for (id, figures) in of_engines.chain(images) {
                *all.volumes.entry(id).or_default() += &figures;
            }
            all.engines.extend(engines);
            for (pool, devices) in devices {
                for (index, figures) in devices {
                    *all.devices.entry((pool, index)).or_default() += &figures;
                }
            }
        }
        Ok(all)
    }
}
