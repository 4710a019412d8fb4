//! What is on the screen, and what keys do to it.

use std::time::Duration;

use quarry_api_types::{Job, ListenerProtocol, NodeStats, Status};
use quarry_types::ByteSize;
use ratatui::crossterm::event::KeyCode;

use crate::rates::{Rate, bytes, count, seconds_between, short, volume_before};
use crate::tables::observe::Look;

/// One look at the node.
#[derive(Clone)]
pub struct Seen {
    pub status: Status,
    pub stats: NodeStats,
    pub jobs: Vec<Job>,
}

/// What the table shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Page {
    #[default]
    Volumes,
    Devices,
    Nodes,
    Work,
}

/// By what volumes and devices are sorted, the most first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    #[default]
    Operations,
    Bytes,
    Latency,
    Name,
}

impl Sort {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Bytes => "bytes",
            Self::Latency => "latency",
            Self::Name => "name",
        }
    }
}

/// A row, with what it is sorted by.
pub struct Row {
    pub cells: Vec<String>,
    name: String,
    operations: f64,
    bytes: f64,
    latency_us: u128,
}

/// Everything that the screen shows.
#[derive(Default)]
pub struct Screen {
    pub page: Page,
    pub sort: Sort,
    /// The first row that is shown.
    pub first: usize,
    /// Why the node does not answer.
    pub problem: Option<String>,
    before: Option<Seen>,
    now: Option<Seen>,
}

impl Screen {
    /// A further look.
    pub fn take(&mut self, seen: Seen) {
        self.problem = None;
        self.before = self.now.replace(seen);
    }

    pub fn status(&self) -> Option<&Status> {
        self.now.as_ref().map(|seen| &seen.status)
    }

    /// What a key does; whether the screen stays.
    pub fn press(&mut self, key: KeyCode) -> bool {
        let page = self.page;
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('v') => self.page = Page::Volumes,
            KeyCode::Char('d') => self.page = Page::Devices,
            KeyCode::Char('N') => self.page = Page::Nodes,
            KeyCode::Char('w') => self.page = Page::Work,
            KeyCode::Char('o') => self.sort = Sort::Operations,
            KeyCode::Char('b') => self.sort = Sort::Bytes,
            KeyCode::Char('l') => self.sort = Sort::Latency,
            KeyCode::Char('n') => self.sort = Sort::Name,
            KeyCode::Tab => {
                self.page = match page {
                    Page::Volumes => Page::Devices,
                    Page::Devices => Page::Nodes,
                    Page::Nodes => Page::Work,
                    Page::Work => Page::Volumes,
                }
            }
            KeyCode::Down => self.first = (self.first + 1).min(self.rows().len().saturating_sub(1)),
            KeyCode::Up => self.first = self.first.saturating_sub(1),
            KeyCode::Home => self.first = 0,
            _ => {}
        }
        if page != self.page {
            self.first = 0;
        }
        true
    }

    /// The names of the columns.
    pub fn headings(&self) -> Vec<&'static str> {
        let [what, of, rest @ ..] = match self.page {
            Page::Volumes => ["VOLUME", "POOL", "FLUSH P99", "IN FLIGHT", "ERRORS"],
            Page::Devices => ["DEVICE", "POOL", "FLUSH P99", "IN FLIGHT", "ERRORS"],
            Page::Nodes => ["NODE", "HEALTH", "SESSIONS", "MEMORY", "CORES"],
            Page::Work => return vec!["WORK", "ON", "DONE", "LEFT"],
        };
        [&[what, of][..], &RATES, &rest].concat()
    }

    /// The rows of the page, sorted.
    pub fn rows(&self) -> Vec<Row> {
        let Some(now) = &self.now else { return Vec::new() };
        let before = self.before.as_ref().map(|seen| &seen.stats);
        let mut rows = match self.page {
            Page::Volumes => volumes(before, &now.stats),
            Page::Devices => devices(before, &now.stats),
            Page::Nodes => return vec![node(now, self.totals())],
            Page::Work => return work(now),
        };
        match self.sort {
            Sort::Operations => rows.sort_by(|a, b| b.operations.total_cmp(&a.operations)),
            Sort::Bytes => rows.sort_by(|a, b| b.bytes.total_cmp(&a.bytes)),
            Sort::Latency => rows.sort_by_key(|row| std::cmp::Reverse(row.latency_us)),
            Sort::Name => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        rows
    }

    /// What hosts do with the whole node.
    pub fn totals(&self) -> (Rate, Rate) {
        let (Some(before), Some(now)) = (&self.before, &self.now) else { return Default::default() };
        let seconds = seconds_between(before.stats.at, now.stats.at);
        let mut totals = (Rate::default(), Rate::default());
        for pool in &now.stats.pools {
            let last = before.stats.pools.iter().find(|known| known.pool_id == pool.pool_id);
            totals.0 = totals.0.and(&Rate::between(last.map(|last| &last.read), &pool.read, seconds));
            totals.1 = totals.1.and(&Rate::between(last.map(|last| &last.write), &pool.write, seconds));
        }
        totals
    }
}

/// The columns between what a row is about and what only rows of its page have.
const RATES: [&str; 6] = ["READ/S", "WRITE/S", "READ", "WRITTEN", "READ P99", "WRITE P99"];

fn cells(what: [String; 2], read: &Rate, write: &Rate, own: [String; 3]) -> Vec<String> {
    let rates = [
        count(read.per_second),
        count(write.per_second),
        bytes(read.bytes_per_second),
        bytes(write.bytes_per_second),
        short(p99(read)),
        short(p99(write)),
    ];
    what.into_iter().chain(rates).chain(own).collect()
}

fn p99(rate: &Rate) -> Option<Duration> {
    rate.latency.quantile(0.99)
}

/// A row of rates. Without an earlier look there are none yet.
fn row(name: &str, pool: &str, [read, write, flush]: [Rate; 3], in_flight: u32, errors: u64) -> Row {
    let latency = [&read, &write, &flush].into_iter().filter_map(p99).max();
    let own = [short(p99(&flush)), in_flight.to_string(), errors.to_string()];
    Row {
        cells: cells([name.to_owned(), pool.to_owned()], &read, &write, own),
        name: name.to_owned(),
        operations: read.per_second + write.per_second + flush.per_second,
        bytes: read.bytes_per_second + write.bytes_per_second,
        latency_us: latency.map_or(0, |latency| latency.as_micros()),
    }
}

fn volumes(before: Option<&NodeStats>, now: &NodeStats) -> Vec<Row> {
    let shown = |volume: &quarry_api_types::VolumeStats| {
        let pool = volume.pool.as_ref().map_or("-", |pool| pool.as_str());
        let Some(before) = before else {
            return row(volume.volume.as_str(), pool, Default::default(), volume.in_flight, 0);
        };
        let seconds = seconds_between(before.at, now.at);
        let rates = Look { before: volume_before(before, volume), now: volume, seconds }.rates();
        let errors = rates.errors();
        let write = rates.write.and(&rates.other);
        row(volume.volume.as_str(), pool, [rates.read, write, rates.flush], volume.in_flight, errors)
    };
    now.volumes.iter().map(shown).collect()
}

fn devices(before: Option<&NodeStats>, now: &NodeStats) -> Vec<Row> {
    let shown = |device: &quarry_api_types::DeviceStats| {
        let rates = before.map_or_else(Default::default, |before| {
            let seconds = seconds_between(before.at, now.at);
            let last = before.devices.iter().find(|known| known.device_id == device.device_id);
            [
                Rate::between(last.map(|last| &last.read), &device.read, seconds),
                Rate::between(last.map(|last| &last.write), &device.write, seconds),
                Rate::between(last.map(|last| &last.flush), &device.flush, seconds),
            ]
        });
        row(&device.path, device.pool.as_str(), rates, device.in_flight, device.errors)
    };
    now.devices.iter().map(shown).collect()
}

/// So many tell the nodes of a site apart.
const NODE_ID_CHARACTERS: usize = 8;

/// There is one node as yet: that which is asked.
fn node(now: &Seen, (read, written): (Rate, Rate)) -> Row {
    let status = &now.status;
    let served = status.listeners.iter().filter(|one| one.protocol != ListenerProtocol::Api);
    let sessions: u32 = served.map(|listener| listener.connections).sum();
    let node = status.node_id.to_string().chars().take(NODE_ID_CHARACTERS).collect();
    let own =
        [sessions.to_string(), ByteSize(status.memory.used_bytes).to_string(), status.cores.to_string()];
    let cells = cells([node, status.health.level.to_string()], &read, &written, own);
    Row { name: cells[0].clone(), cells, operations: 0.0, bytes: 0.0, latency_us: 0 }
}

fn work(now: &Seen) -> Vec<Row> {
    let line = |cells: [String; 4]| Row {
        name: cells[0].clone(),
        cells: cells.into(),
        operations: 0.0,
        bytes: 0.0,
        latency_us: 0,
    };
    let job = |job: &Job| {
        let left = job.left_s.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"));
        line([job.kind.to_string(), job.object.clone(), format!("{} %", job.percent), left])
    };
    let session = |listener: &quarry_api_types::ListenerStatus| {
        let what = format!("{} sessions", listener.protocol);
        line([what, listener.address.clone(), listener.connections.to_string(), "-".to_owned()])
    };
    let listeners = now.status.listeners.iter();
    let sessions = listeners.filter(|listener| listener.protocol != ListenerProtocol::Api);
    now.jobs.iter().map(job).chain(sessions.map(session)).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
