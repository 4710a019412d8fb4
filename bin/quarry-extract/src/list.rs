//! `list`: what there is, and what is missing or damaged.

use anyhow::Result;
use quarry_types::ByteSize;
use serde::Serialize;

use crate::arguments::{Format, List};
use crate::log::{self, Log};
use crate::pool::{self, Opened, Pool};

/// A pool.
#[derive(Serialize)]
struct ListedPool {
    name: String,
    id: String,
    protection: String,
    devices: Vec<ListedDevice>,
    logs: Vec<ListedLog>,
    volumes: Vec<ListedVolume>,
    /// What is missing or damaged.
    flaws: Vec<String>,
}

/// A member of a pool.
#[derive(Serialize)]
struct ListedDevice {
    index: u16,
    id: String,
    /// The file that was given, or where the pool saw the device last.
    path: String,
    size_bytes: u64,
    present: bool,
}

/// A log.
#[derive(Serialize)]
struct ListedLog {
    log: u16,
    /// Batches behind its newest image.
    tail_batches: u64,
}

/// A volume.
#[derive(Serialize)]
struct ListedVolume {
    name: String,
    id: String,
    log: u16,
    size_bytes: u64,
    /// The name of the key-encryption key, where it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_under: Option<String>,
    snapshots: Vec<ListedSnapshot>,
}

/// A snapshot of a volume.
#[derive(Serialize)]
struct ListedSnapshot {
    name: String,
    id: String,
    size_bytes: u64,
    /// When it was taken, in seconds since 1970.
    created_s: u64,
    /// It is one of a set of which it is not known whether all were taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unsettled: bool,
}

/// Runs it; whether nothing is missing or damaged.
pub fn run(arguments: &List, output: Format) -> Result<bool> {
    let Opened { pools, unusable } = pool::open(&arguments.devices)?;
    let listed = pools.iter().map(listed).collect::<Result<Vec<_>>>()?;
    match output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&listed)?),
        Format::Table => listed.iter().for_each(|pool| print!("{}", pool.text())),
    }
    Ok(unusable == 0 && listed.iter().all(|pool| pool.flaws.is_empty()))
}

fn listed(pool: &Pool) -> Result<ListedPool> {
    let (logs, flaws) = log::open(pool)?;
    let devices = pool.label.members.iter().map(|member| {
        let given = pool.devices.get(&member.index);
        let path = given.map_or_else(|| member.path.clone(), |device| device.path.display().to_string());
        let (index, id, size_bytes) = (member.index, member.device.to_string(), member.size_bytes);
        ListedDevice { index, id, path, size_bytes, present: given.is_some() }
    });
    Ok(ListedPool {
        name: pool.label.pool_name.clone(),
        id: pool.label.pool.to_string(),
        protection: pool.label.protection.to_string(),
        devices: devices.collect(),
        logs: logs.iter().map(|log| ListedLog { log: log.id.0, tail_batches: log.batches }).collect(),
        volumes: logs.iter().flat_map(volumes).collect(),
        flaws: pool.flaws.iter().cloned().chain(flaws).collect(),
    })
}

fn volumes(log: &Log) -> Vec<ListedVolume> {
    let snapshots = |number| {
        let own = log.state.snapshots.values().map(|snapshot| &snapshot.head);
        let own = own.filter(move |head| head.volume == number && !head.hidden && !head.moment);
        own.map(|head| ListedSnapshot {
            name: head.name.clone(),
            id: head.id.to_string(),
            size_bytes: head.size_bytes,
            created_s: head.created_s,
            unsettled: head.set.is_some_and(|set| !set.settled),
        })
    };
    let heads = log.state.volumes.values().map(|volume| &volume.head);
    heads
        .map(|head| ListedVolume {
            name: head.name.clone(),
            id: head.id.to_string(),
            log: log.id.0,
            size_bytes: head.size_bytes,
            encrypted_under: log.state.keys.get(&head.key).map(|key| key.name.clone()),
            snapshots: snapshots(head.number).collect(),
        })
        .collect()
}

impl ListedPool {
    fn text(&self) -> String {
        let Self { name, id, protection, .. } = self;
        let mut text = format!("pool {name}  {id}  {protection}\n");
        for device in &self.devices {
            let ListedDevice { index, id, path, size_bytes, present } = device;
            let state = if *present { "present" } else { "MISSING" };
            text += &format!("  device {index}  {state}  {}  {id}  {path}\n", ByteSize(*size_bytes));
        }
        for ListedLog { log, tail_batches } in &self.logs {
            text += &format!("  log {log}  {tail_batches} batches behind its newest image\n");
        }
        for volume in &self.volumes {
            let ListedVolume { name, id, log, size_bytes, .. } = volume;
            let key = volume
                .encrypted_under
                .as_ref()
                .map_or_else(String::new, |key| format!("  encrypted under '{key}'"));
            text += &format!("  volume {name}  {}  log {log}  {id}{key}\n", ByteSize(*size_bytes));
            for snapshot in &volume.snapshots {
                let ListedSnapshot { name: own, id, size_bytes, unsettled, .. } = snapshot;
                let note = if *unsettled { "  of a set that may not have been taken" } else { "" };
                text += &format!("  snapshot {name}@{own}  {}  {id}{note}\n", ByteSize(*size_bytes));
            }
        }
        self.flaws.iter().for_each(|flaw| text += &format!("  flaw: {flaw}\n"));
        // Names and paths may come from a foreign disk and must not drive the operator's terminal.
        let shown = |character: char| match character {
            '\n' => vec!['\n'],
            character if character.is_control() => character.escape_default().collect(),
            character => vec![character],
        };
        text.chars().flat_map(shown).collect()
    }
}
