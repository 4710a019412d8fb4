//! A node inside a test: real cores, engines over a file, a real catalog. It serves no API, and NBD on a unix socket only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quarry_api_types::{CreatePool, CreateVolume, Name, Pool, SpaceLevels};
use quarry_catalog::{CatalogError, RedbCatalog};
use quarry_env::Address;
use quarry_env_linux::CoreHandle;
use quarry_events::EventLog;
use quarry_history::{HistoryError, HistoryFile, Opened};
use quarry_node_api::Node as _;

use crate::cores::{Cores, Memory, Tables};
use crate::node::{DataNode, host_of};
use crate::reservation_store;
use crate::settings::Settings;

const DEVICE_BYTES: u64 = 512 << 20;
/// What is to come comes before.
const WAIT_MAX: Duration = Duration::from_secs(60);
pub const VOLUME_BYTES: u64 = 64 << 20;

/// It ends with [`TestNode::stop`].
pub struct TestNode {
    pub node: DataNode,
    pub tables: Tables,
    pub cores: Cores,
    handles: Vec<CoreHandle<()>>,
}

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn tcp(port: u16) -> Vec<Address> {
    vec![Address::Tcp(([127, 0, 0, 1], port).into())]
}

/// Two cores; all protocols, as far as the control plane knows.
pub fn settings(directory: &Path) -> Settings {
    Settings {
        data_dir: directory.join("data"),
        api: ([127, 0, 0, 1], 0).into(),
        api_certificate: None,
        api_names: vec![],
        metrics_are_open: false,
        nbd_tls: None,
        nbd: vec![Address::Unix(directory.join("nbd.sock"))],
        iscsi: tcp(3260),
        nvme_tcp: tcp(4420),
        vhost_user: directory.join("vhost-user"),
        advertise: vec![],
        cores: 2,
        memory: Memory { bytes: 256 << 20, read_cache_bytes: 32 << 20, cache_index_bytes: 0 },
        cache_disk: None,
        scrub_days: 0,
        device_patience: quarry_types::limits::DEVICE_PATIENCE_DEFAULT,
        scrub_rate_bytes: 1 << 20,
        metrics_volumes: 10,
        slow_after: Duration::from_secs(1),
        forecast_days: 7,
        log_format: crate::log_lines::LogFormat::default(),
        keyring_passphrase_file: None,
    }
}

/// A commit that was on its way when the node before was abandoned ends first: with a process it would have ended.
async fn open_catalog(data_dir: &Path) -> RedbCatalog {
    for _ in 0..100 {
        match RedbCatalog::open(data_dir) {
            Err(CatalogError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            opened => return opened.expect("the catalog opens"),
        }
    }
    panic!("somebody keeps the catalog open");
}

/// As of the catalog.
async fn open_history(data_dir: &Path) -> Opened {
    for _ in 0..100 {
        match HistoryFile::open(data_dir) {
            Err(HistoryError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            opened => return opened.expect("the history opens"),
        }
    }
    panic!("somebody keeps the history open");
}

/// Makes a sparse file that is to be a device.
#[expect(clippy::disallowed_types, reason = "a test makes the files that are devices")]
pub fn make_device(path: &Path, bytes: u64) -> String {
    let device = std::fs::File::create(path).expect("a file");
    device.set_len(bytes).expect("a sparse file of its size");
    path.display().to_string()
}

/// A pool with so many copies of everything.
pub fn pool_of(pool: &str, devices: Vec<String>, copies: u8) -> CreatePool {
    let SpaceLevels { warning_percent, critical_percent } = SpaceLevels::default();
    CreatePool {
        name: name(pool),
        devices,
        copies: Some(copies),
        protection: None,
        force: false,
        warning_percent,
        critical_percent,
        overcommit_limit_percent: 0,
    }
}

impl TestNode {
    /// The node with an audit log.
    pub fn with_audit(self, guard: Arc<quarry_api::Guard>) -> Self {
        Self { node: self.node.with_audit(guard), ..self }
    }

    /// Starts it, for the first time or again.
    pub async fn start(settings: Settings) -> Self {
        let catalog = Arc::new(open_catalog(&settings.data_dir).await);
        let reservations = reservation_store::open(catalog.clone()).expect("it can be read");
        let tables = Tables { reservations, ..Tables::default() };
        let host = host_of(&*catalog).expect("the node has an id");
        let (cores, handles) =
            Cores::start(settings.cores, settings.memory, &tables, host).expect("the cores start");
        let events = Arc::new(EventLog::in_memory().expect("an event log"));
        let api = settings.api;
        let history = open_history(&settings.data_dir).await;
        let node = DataNode::new(catalog, events, cores.clone(), tables.clone(), settings, api);
        let node = node.expect("a node").with_history(history);
        node.open_cache_disk().await;
        node.open_pools().await.expect("its pools open");
        node.set_tenants_qos(Vec::new()).await.expect("what volumes get is told");
        node.serve_nbd().await.expect("it serves");
        node.serve_vhost_user().await;
        Self { node, tables, cores, handles }
    }

    /// A pool `p` over a file, with volumes, which come on the cores in turn.
    pub async fn with_volumes(directory: &Path, volumes: &[&str]) -> Self {
        let this = Self::start(settings(directory)).await;
        let device = make_device(&directory.join("device"), DEVICE_BYTES);
        this.node.create_pool(pool_of("p", vec![device], 1)).await.expect("a pool");
        for volume in volumes {
            this.create_volume(volume, "p").await;
        }
        this
    }

    /// A volume of [`VOLUME_BYTES`].
    pub async fn create_volume(&self, volume: &str, pool: &str) {
        let request = CreateVolume::new(name(volume), name(pool), VOLUME_BYTES);
        self.node.create_volume(request).await.expect("a volume");
    }

    /// The pool, as soon as it is as it should be.
    pub async fn seen(&self, pool: &str, is_so: impl Fn(&Pool) -> bool) -> Pool {
        let end = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            let pool = self.node.show_pool(&name(pool)).await.expect("it is there");
            if is_so(&pool) {
                return pool;
            }
            assert!(tokio::time::Instant::now() < end, "{pool:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The same while the node looks after its devices.
    pub async fn tended(&self, pool: &str, is_so: impl Fn(&Pool) -> bool) -> Pool {
        tokio::select! {
            () = self.node.tend_devices() => unreachable!("it looks after them as long as the node runs"),
            pool = self.seen(pool, is_so) => pool,
        }
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.tables.exports.stop();
        self.tables.vhost_user.stop();
        self.node.close_pools().await.expect("its pools close");
        self.abandon().await;
    }

    /// Ends it without closing anything.
    pub async fn abandon(self) {
        let Self { node, tables: _, cores, handles } = self;
        cores.stop();
        let joined =
            tokio::task::spawn_blocking(move || handles.into_iter().try_for_each(|handle| handle.join()));
        joined.await.expect("no panic").expect("the cores end");
        drop(node);
    }
}
