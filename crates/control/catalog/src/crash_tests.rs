//! Power loss at every write of a series of commits: some of the writes since the last sync arrive, some do not,
//! some are torn. What opens afterwards must be exactly what one of the commits left.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use quarry_api_types::{ExportId, GroupId, PoolId, Protocol, SpaceLevels, Timestamp, VolumeId};
use redb::{Database, StorageBackend};

use crate::redb_catalog::prepare;
use crate::{Catalog, Change, ExportRecord, GroupRecord, PoolRecord, RedbCatalog};

#[derive(Clone, Debug)]
enum Operation {
    Write(usize, Vec<u8>),
    SetLength(usize),
    Sync,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    history: Vec<Operation>,
}

impl Disk {
    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(offset, data) => {
                let end = offset + data.len();
                self.bytes.resize(self.bytes.len().max(end), 0);
                self.bytes[*offset..end].copy_from_slice(data);
            }
            Operation::SetLength(length) => self.bytes.resize(*length, 0),
            Operation::Sync => {}
        }
    }
}

/// A file in memory that remembers all that was done to it.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Disk>>);

impl Recorder {
    fn run(&self, operation: Operation) {
        let mut disk = self.0.lock().unwrap();
        disk.apply(&operation);
        disk.history.push(operation);
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        let disk = self.0.lock().unwrap();
        let source = disk.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(source);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.run(Operation::SetLength(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.run(Operation::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

type State = (Vec<PoolRecord>, Vec<ExportRecord>, Vec<GroupRecord>);

fn state(catalog: &RedbCatalog) -> State {
    (catalog.pools().unwrap(), catalog.exports().unwrap(), catalog.groups().unwrap())
}

fn open(disk: Disk) -> crate::Result<RedbCatalog> {
    let recorder = Recorder(Arc::new(Mutex::new(disk)));
    let database = Database::builder().create_with_backend(recorder).unwrap();
    RedbCatalog::verify(database, PathBuf::from("memory"))
}

/// Commit number `round`: a pool, an export and a group that belong together, and the end of older ones.
fn changes(round: u128) -> Vec<Change> {
    let name = |kind: &str| format!("{kind}-{}", "x".repeat((round % 40) as usize)).parse().unwrap();
    let created = Timestamp::from_unix_ms(round as u64);
    let pool = PoolRecord {
        id: PoolId::from_random(round),
        name: name("p"),
        copies: 1,
        protection: None,
        devices: vec![],
        created,
        scrubbed: None,
        scrub: None,
        levels: SpaceLevels::default(),
        overcommit_limit_percent: Some(300),
        rebuild_rate_bytes: None,
        incarnations: Vec::new(),
    };
    let export = ExportRecord {
        id: ExportId::from_random(round),
        volume_id: VolumeId::from_random(round),
        volume: name("v"),
        snapshot: None,
        protocol: Protocol::Nbd,
        audience: None,
        number: None,
        read_only: false,
        created,
    };
    let group =
        GroupRecord { id: GroupId::from_random(round), name: name("g"), members: vec![], qos: None, created };
    let old = round.saturating_sub(3);
    vec![
        Change::PutPool(pool),
        Change::PutExport(export),
        Change::PutGroup(group),
        Change::DeletePool(PoolId::from_random(old)),
        Change::DeleteExport(ExportId::from_random(old)),
        Change::DeleteGroup(GroupId::from_random(old)),
    ]
}

/// SplitMix64: enough chance for a test, and the same on every run.
fn next_random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What a disk holds after power loss behind the first `length` operations.
fn after_power_loss(start: &Disk, length: usize, seed: &mut u64) -> Disk {
    let (mut disk, history) =
        (Disk { bytes: start.bytes.clone(), history: vec![] }, &start.history[..length]);
    let synced = history.iter().rposition(|operation| matches!(operation, Operation::Sync)).unwrap_or(0);
    history[..synced].iter().for_each(|operation| disk.apply(operation));
    for operation in &history[synced..] {
        match (next_random(seed) % 3, operation) {
            (0, _) => {}
            (1, Operation::Write(offset, data)) if data.len() > 512 => {
                let torn = next_random(seed) as usize % (data.len() / 512) * 512;
                disk.apply(&Operation::Write(*offset, data[..torn].to_vec()));
            }
            (_, operation) => disk.apply(operation),
        }
    }
    disk
}

#[test]
fn a_commit_is_all_or_nothing_wherever_the_power_goes() {
    let recorder = Recorder::default();
    let database = Database::builder().create_with_backend(recorder.clone()).unwrap();
    prepare(&database, &PathBuf::from("memory")).unwrap();
    drop(database);
    let prepared = recorder.0.lock().unwrap().bytes.clone();

    let live = Recorder(Arc::new(Mutex::new(Disk { bytes: prepared.clone(), history: vec![] })));
    let database = Database::builder().create_with_backend(live.clone()).unwrap();
    let catalog = RedbCatalog::verify(database, PathBuf::from("memory")).unwrap();
    // (operations done when the commit had returned, state that it left)
    let mut acknowledged = vec![(0, state(&catalog))];
    for round in 1..=12 {
        catalog.commit(&changes(round)).unwrap();
        let operations = live.0.lock().unwrap().history.len();
        acknowledged.push((operations, state(&catalog)));
    }
    let history = live.0.lock().unwrap().history.clone();
    let start = Disk { bytes: prepared, history };

    let mut seed = 1;
    for length in 0..=acknowledged.last().unwrap().0 {
        let last = acknowledged.iter().rposition(|(operations, _)| *operations <= length).unwrap();
        for _ in 0..4 {
            let catalog = open(after_power_loss(&start, length, &mut seed))
                .unwrap_or_else(|error| panic!("after {length} operations: {error}"));
            let found = state(&catalog);
            let possible = &acknowledged[last..(last + 2).min(acknowledged.len())];
            assert!(
                possible.iter().any(|(_, state)| *state == found),
                "after {length} operations: neither commit {last} nor the next one: {found:?}"
            );
        }
    }
}
