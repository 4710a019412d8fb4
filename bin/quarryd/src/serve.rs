//! The life of the daemon: start, serve, stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use quarry_catalog::RedbCatalog;
use quarry_env::Address;
use quarry_events::EventLog;
use quarry_history::HistoryFile;
use quarry_iscsi::Target;
use quarry_node_api::Node as _;
use quarry_nvme::{Identity, Subsystem};
use quarry_target::Exports;
use tokio::signal::unix::{SignalKind, signal};

use crate::cores::{Cores, Tables};
use crate::databases::Moved;
use crate::node::{DataNode, host_of, open_keys};
use crate::reservation_store;
use crate::settings::Settings;

/// How long sessions may take to end their requests at a stop.
const SESSIONS_TIMEOUT: Duration = Duration::from_secs(10);
const SESSIONS_POLL: Duration = Duration::from_millis(20);

/// Runs the node until a signal ends it.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the control plane's threads cannot be started")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let began = tokio::time::Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut losses = Losses::look(&settings.data_dir)?;
    let catalog = Arc::new(RedbCatalog::open(&settings.data_dir)?);
    let (events, damaged) = EventLog::open(&settings.data_dir)?;
    losses.note("the event log", damaged);
    let listener = tokio::net::TcpListener::bind(settings.api)
        .await
        .with_context(|| format!("the API cannot listen on {} (--api)", settings.api))?;
    let api = listener.local_addr()?;
    let (guard, replaced) = crate::access::open(&settings, losses.audit.take())?;
    losses.texts.extend(replaced.map(|replaced| format!("the audit log is not whole: {replaced}")));
    let tls = crate::certificate::api_tls(&settings, api).await?;
    let kept = settings.clone();
    let tables = Tables { reservations: reservation_store::open(catalog.clone())?, ..Tables::default() };
    let sessions = [tables.exports.clone(), tables.vhost_user.clone()];
    let (iscsi, advertised) = (settings.iscsi.clone(), settings.advertised(&settings.iscsi));
    let (nvme_tcp, advertised_nvme) = (settings.nvme_tcp.clone(), settings.advertised(&settings.nvme_tcp));
    let (cores, handles) =
        Cores::start(settings.cores, settings.memory, &tables, host_of(&*catalog).map_err(plain)?)?;
    let node = DataNode::new(catalog, Arc::new(events), cores.clone(), tables.clone(), settings, api);
    let node = with_history(node.map_err(plain)?, &kept.data_dir, &mut losses);
    let node = node.with_audit(guard.clone());
    node.open_cache_disk().await;
    node.open_pools().await.map_err(plain)?;
    let may_be_new = node.may_make_keyring().await;
    let passphrase = kept.keyring_passphrase_file.clone();
    node.set_keys(open_keys(&kept.data_dir, passphrase, may_be_new).await);
    node.unlock_volumes().await;
    node.open_images().await;
    node.keep_tenants(quarry_api::Tenants::of(&guard));
    node.set_tenants_qos(guard.tenants_qos()).await.map_err(plain)?;
    node.resume_migrations().await;
    node.serve_nbd().await.map_err(plain)?;
    serve_iscsi(&node, &cores, tables.clone(), iscsi, advertised).await?;
    serve_nvme_tcp(&node, &cores, tables, nvme_tcp, advertised_nvme).await?;
    node.serve_vhost_user().await;
    let node = Arc::new(node);
    tracing::info!("{}, ready after {} ms", node.summary().await, began.elapsed().as_millis());
    node.record_start().await;
    node.record_losses(losses.texts).await;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    };
    let calendar = tokio::spawn({
        let node = node.clone();
        async move { node.scrub_by_calendar().await }
    });
    let erasing = tokio::spawn({
        let node = node.clone();
        async move { node.erase_by_and_by().await }
    });
    let watch = tokio::spawn({
        let node = node.clone();
        async move { node.watch().await }
    });
    let policies = tokio::spawn({
        let node = node.clone();
        async move { node.keep_policies().await }
    });
    let applying = tokio::spawn({
        let node = node.clone();
        async move { node.apply_documents().await }
    });
    let tending = tokio::spawn({
        let node = node.clone();
        async move { node.tend_devices().await }
    });
    let keeping = tokio::spawn({
        let node = node.clone();
        async move { node.keep_history().await }
    });
    let asking = tokio::spawn({
        let node = node.clone();
        async move { node.ask_drives().await }
    });
    let migrating = tokio::spawn({
        let node = node.clone();
        async move { node.tend_migrations().await }
    });
    let link = crate::access::publish(api.port(), &kept);
    let service = quarry_api::Service { node: node.clone(), guard, tls: Some(tls) };
    quarry_api::serve(listener, service, stop).await;
    if let Some(link) = link {
        crate::access::withdraw(link, &kept);
    }
    tending.abort();
    asking.abort();
    keeping.abort();
    migrating.abort();
    policies.abort();
    applying.abort();
    calendar.abort();
    watch.abort();
    erasing.abort();
    stop_in_order(&node, &sessions).await;
    node.record_stop().await;
    cores.let_go_of_network_devices().await;
    cores.stop();
    tokio::task::spawn_blocking(move || handles.into_iter().try_for_each(|handle| handle.join()))
        .await?
        .context("a core ended with an error")?;
    tracing::info!("stopped");
    Ok(())
}

/// Logs that were damaged, and in whose places new ones begin.
#[derive(Default)]
struct Losses {
    texts: Vec<String>,
    /// Where the audit log is, which says itself what is missing of it.
    audit: Option<PathBuf>,
}

impl Losses {
    /// Those that nobody can open.
    fn look(directory: &Path) -> anyhow::Result<Self> {
        let mut losses = Self::default();
        for Moved { name, aside, why } in crate::databases::look(directory)? {
            tracing::error!("{name} is damaged: {why}");
            match name {
                "audit.redb" => losses.audit = Some(aside),
                name => losses.note(name, Some(aside)),
            }
        }
        Ok(losses)
    }

    fn note(&mut self, what: &str, moved: Option<PathBuf>) {
        self.texts.extend(moved.map(|aside| {
            format!("{what} was damaged and a new one begins; it was moved to {}", aside.display())
        }));
    }
}

/// What figures were is worth having, but nothing that a node must wait for.
fn with_history(node: DataNode, data_dir: &Path, losses: &mut Losses) -> DataNode {
    let opened = HistoryFile::open(data_dir).or_else(|error| {
        tracing::error!(%error, "the history of figures is not kept until the next start");
        HistoryFile::in_memory()
    });
    match opened {
        Ok(opened) => {
            losses.note("the history of figures", opened.damaged.clone());
            if opened.unreadable > 0 {
                tracing::warn!(
                    "{} parts of the history of figures cannot be read and are left out",
                    opened.unreadable
                );
            }
            node.with_history(opened)
        }
        Err(error) => {
            tracing::error!(%error, "there is no history of figures until the next start");
            node
        }
    }
}

/// Serves iSCSI on every core, if there are addresses to serve it on.
async fn serve_iscsi(
    node: &DataNode,
    cores: &Cores,
    tables: Tables,
    addresses: Vec<Address>,
    advertised: Vec<SocketAddr>,
) -> anyhow::Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    let id = node.status().await.map_err(plain)?.node_id.to_string();
    let Tables { exports, access, reservations, .. } = tables;
    let target = Target::new(&id, advertised, exports, access, reservations);
    tracing::info!("iSCSI target {}", target.name);
    for index in (0..cores.count()).rev() {
        let (all, target) = (cores.clone(), target.clone());
        let addresses = if index == 0 { addresses.clone() } else { Vec::new() };
        let served = cores.call(index, move |state| state.serve_iscsi(all, target, addresses)).await;
        served.map_err(plain)?.map_err(plain)?;
    }
    node.watch_for(target);
    Ok(())
}

/// Serves NVMe/TCP on every core, if there is an address to serve it on.
async fn serve_nvme_tcp(
    node: &DataNode,
    cores: &Cores,
    tables: Tables,
    addresses: Vec<Address>,
    advertised: Vec<SocketAddr>,
) -> anyhow::Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    let id = node.status().await.map_err(plain)?.node_id.to_string();
    let identity = Identity::of_node(&id, env!("CARGO_PKG_VERSION"));
    tracing::info!("NVMe subsystem {}", identity.nqn);
    let subsystem = Subsystem::new(identity, tables.access, tables.reservations, advertised);
    for index in (0..cores.count()).rev() {
        let (all, subsystem) = (cores.clone(), subsystem.clone());
        let addresses = if index == 0 { addresses.clone() } else { Vec::new() };
        let served = cores.call(index, move |state| state.serve_nvme_tcp(all, subsystem, addresses)).await;
        served.map_err(plain)?.map_err(plain)?;
    }
    Ok(())
}

/// Requests end, then every log writes its checkpoint, then the devices are closed.
async fn stop_in_order(node: &DataNode, sessions: &[Exports]) {
    sessions.iter().for_each(Exports::stop);
    let end = tokio::time::Instant::now() + SESSIONS_TIMEOUT;
    let any = || sessions.iter().any(|exports| !exports.sessions().is_empty());
    while any() && tokio::time::Instant::now() < end {
        tokio::time::sleep(SESSIONS_POLL).await;
    }
    if let Err(error) = node.close_pools().await {
        tracing::error!(%error, "a pool was not closed in order; it recovers when it is opened");
    }
}

/// An error of the node for the terminal.
pub fn plain(error: quarry_node_api::NodeError) -> anyhow::Error {
    anyhow!("{error}. {}", error.next_step)
}
