//! The places between which volumes move in these tests: a device as it is, or a pool.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use quarry_device::{FormatRequest, format_devices};
use quarry_engine::{Engine, EngineVolume, Limits};
use quarry_env::{Env, OpenMode};
use quarry_image::{ImageOptions, ImageVolume};
use quarry_types::{Durability, LogId, PoolId, VolumeId, VolumeSettings};
use quarry_volume::Volume;

use super::SIZE_BYTES;

const LIMITS: Limits = Limits {
    node_cache_bytes: 1 << 20,
    read_cache_bytes: 0,
    cache_index_bytes: 0,
    overlay_bytes: 1 << 20,
    logs: 1,
};

/// Where a volume may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Device(&'static str),
    Pool(&'static str),
}

/// A volume at its place.
#[derive(Clone)]
pub enum Placed {
    Device(ImageVolume),
    Pool(Rc<EngineVolume>),
}

fn id() -> VolumeId {
    VolumeId::from_random(1)
}

impl Place {
    pub fn path(self) -> &'static str {
        match self {
            Self::Device(path) | Self::Pool(path) => path,
        }
    }

    fn pool(self) -> PoolId {
        PoolId::from_random(self.path().len() as u128)
    }

    /// Makes it ready for a volume.
    pub async fn prepare(self, env: Env) {
        let Self::Pool(path) = self else { return };
        let request = FormatRequest {
            pool: self.pool(),
            pool_name: "tank".to_owned(),
            protection: quarry_types::Protection::Copies(1),
            paths: vec![PathBuf::from(path)],
            directory_file_bytes: None,
            force: true,
            in_use: BTreeMap::new(),
        };
        let devices = format_devices(&env, &request).await.expect("a pool");
        let pool = quarry_pool::from_devices(&env, devices);
        let engine = Engine::create(env, pool, LogId(0), LIMITS).await.expect("a log");
        let made = engine.create_volume(id(), "v", SIZE_BYTES, VolumeSettings::default(), None).await;
        made.expect("a volume");
        engine.close().await.expect("it closes");
    }

    pub async fn open(self, env: &Env) -> Placed {
        match self {
            Self::Device(path) => {
                let disk =
                    env.disks.open(Path::new(path), OpenMode::Exclusive).await.expect("the disk opens");
                let options = ImageOptions {
                    id: id(),
                    name: "v".to_owned(),
                    size_bytes: Some(SIZE_BYTES),
                    identity: None,
                    durability: Durability::Flush,
                    read_only: false,
                    changes_after: Duration::ZERO,
                };
                Placed::Device(ImageVolume::new(env.clone(), disk, options).expect("it fits"))
            }
            Self::Pool(path) => {
                let opened =
                    quarry_pool::open(env, self.pool(), &[PathBuf::from(path)]).await.expect("the pool");
                let log = opened.logs.first().expect("its log");
                let engine =
                    Engine::open(env.clone(), opened.pool.clone(), log, LIMITS).await.expect("it opens");
                Placed::Pool(engine.volume(id()).expect("the volume"))
            }
        }
    }
}

impl Placed {
    pub fn volume(&self) -> Rc<dyn Volume> {
        match self {
            Self::Device(volume) => Rc::new(volume.clone()),
            Self::Pool(volume) => volume.clone(),
        }
    }

    pub async fn changes_end(&self) {
        match self {
            Self::Device(volume) => volume.changes_end().await,
            Self::Pool(volume) => volume.changes_end().await,
        }
    }
}
