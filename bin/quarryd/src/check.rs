//! `quarryd check`: opens the pools of a node that is stopped, verifies everything in them, and closes them again.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use quarry_catalog::RedbCatalog;
use quarry_events::EventLog;
use quarry_types::ByteSize;

use crate::cores::{Cores, Tables};
use crate::node::{CheckedPool, DataNode, host_of};
use crate::serve::plain;
use crate::settings::Settings;

/// How often a terminal is told how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

/// Checks every pool and prints what was found. The exit code says whether that was anything.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the control plane's threads cannot be started")?;
    runtime.block_on(check(settings))
}

async fn check(settings: Settings) -> anyhow::Result<ExitCode> {
    if !RedbCatalog::exists(&settings.data_dir) {
        bail!("{} is no data directory: it has no catalog", settings.data_dir.display());
    }
    let catalog = Arc::new(RedbCatalog::open(&settings.data_dir)?);
    // What is found is printed; the node's own log is not for it.
    let events = Arc::new(EventLog::in_memory()?);
    let tables = Tables::default();
    let (cores, handles) =
        Cores::start(settings.cores, settings.memory, &tables, host_of(&*catalog).map_err(plain)?)?;
    let api = settings.api;
    let node = DataNode::new(catalog, events, cores.clone(), tables, settings, api).map_err(plain)?;
    node.open_pools().await.map_err(plain)?;
    let checking = node.check_pools();
    tokio::pin!(checking);
    let checked = loop {
        tokio::select! {
            checked = &mut checking => break checked.map_err(plain)?,
            () = tokio::time::sleep(PROGRESS) => show_progress(&node).await,
        }
    };
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let closed = node.close_pools().await;
    cores.let_go_of_network_devices().await;
    cores.stop();
    tokio::task::spawn_blocking(move || handles.into_iter().try_for_each(|handle| handle.join()))
        .await?
        .context("a core ended with an error")?;
    let mut findings = 0;
    for pool in &checked {
        findings += print(pool);
    }
    if let Err(error) = closed {
        println!("FOUND  {error}");
        findings += 1;
    }
    println!(
        "{} {} checked, {findings} {} found",
        checked.len(),
        if checked.len() == 1 { "pool" } else { "pools" },
        if findings == 1 { "fault" } else { "faults" },
    );
    Ok(ExitCode::from(u8::from(findings > 0)))
}

async fn show_progress(node: &DataNode) {
    let (done, all) = node.scrub_progress().await;
    if all > 0 && std::io::stderr().is_terminal() {
        eprint!("\r{done} of {all} chunks read\x1b[K");
    }
}

/// Prints a pool and says how many faults it has.
fn print(pool: &CheckedPool) -> usize {
    let CheckedPool { name, volumes, snapshots, bytes, repaired, findings } = pool;
    println!(
        "pool {name}: {volumes} volumes, {snapshots} snapshots, {} read and checked on all copies, {repaired} bad copies \
         repaired",
        ByteSize(*bytes)
    );
    findings.iter().for_each(|finding| println!("FOUND  pool {name}: {finding}"));
    findings.len()
}
