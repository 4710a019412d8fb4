//! The machine of one seed, and the lives of its process: open, look at everything, work, end.

mod judge;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use quarry_engine::{Verified, verify_slots};
use quarry_env::Env;
use quarry_env_sim::{Process, Stuck, World};
use quarry_types::limits::{BLOCK_BYTES, SECTOR_BYTES};
use quarry_volume::Volume;

use crate::fleet::Fleet;
use crate::model::{Crash, Finding, Model, Observed};
use crate::node::{self, Engines, text};
use crate::scenario::Access;
use crate::workload::{Door, Shared, administrator, host};
use crate::{Chance, Scenario, snapshots};

/// Virtual time in which something must have happened, be it that one operation of a host has ended.
const LIMIT: Duration = Duration::from_secs(200);
/// How often the slots are counted before what is wrong with them counts: cleaning may have begun meanwhile.
const SLOT_COUNTS: usize = 20;
/// Bytes that are read at once to look at a volume.
const LOOK_BYTES: u64 = 256 << 10;
/// The same where a cache disk is to take part, by which large reads go.
const CACHED_LOOK_BYTES: u64 = 32 << 10;
/// What of each zone is read so often that it comes from there.
const CACHED_BYTES: u64 = 1 << 20;
/// Until what was read has come to the cache disk.
const CACHING: Duration = Duration::from_millis(1500);

/// When a life ends before its work does, and what happens to the bad disks meanwhile.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Count of the world's events at which it ends.
    pub crash_at: u64,
    /// How.
    pub crash: Crash,
    /// Counts of events at which a bad disk fails.
    pub failures: Vec<u64>,
}

/// Why a life goes no further.
pub enum Stop {
    /// It has crashed.
    Crashed,
    /// More is broken than the copies allow, and the node said so.
    GaveUp,
    /// What must not be.
    Found(Finding),
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Stop::Found(finding)
    }
}

/// What a seed has done so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub acknowledged: u64,
    pub errors: u64,
    pub lives: u64,
    pub deaths: u64,
    pub power_losses: u64,
    pub cleaned_chunks: u64,
    /// Chunks that have joined groups.
    pub grouped_chunks: u64,
    pub checkpoints: u64,
    /// Reads that a cache disk has answered.
    pub cache_disk_hits: u64,
}

/// A world with the disks of a pool.
pub struct Machine {
    pub world: Rc<World>,
    pub scenario: Rc<Scenario>,
    pub chance: Chance,
    pub counts: Counts,
    pub fleet: Rc<Fleet>,
    model: Rc<RefCell<Model>>,
    /// The worst crash since the volumes were last looked at.
    crash: Crash,
}

impl Machine {
    /// The machine with its pool made, and closed by a kill at rest.
    pub fn new(scenario: Scenario, trace_lines_max: usize) -> Result<Self, (Rc<World>, Finding)> {
        let world = Rc::new(World::new(scenario.seed, scenario.config(trace_lines_max)));
        let fleet = Rc::new(Fleet::new(world.clone(), &scenario));
        let mut model = Model::new(scenario.seed);
        for plan in &scenario.volumes {
            model.add_volume(plan.core, plan.size_bytes, &plan.zones);
        }
        let chance = Chance::new(scenario.seed ^ 0xc0de);
        let (scenario, model) = (Rc::new(scenario), Rc::new(RefCell::new(model)));
        let counts = Counts::default();
        let machine = Self { world, scenario, chance, counts, fleet, model, crash: Crash::Death };
        match machine.make_pool() {
            Ok(()) => Ok(machine),
            Err(finding) => Err((machine.world, finding)),
        }
    }

    fn make_pool(&self) -> Result<(), Finding> {
        self.world.set_faults_enabled(false);
        let (process, envs) = self.start();
        let scenario = self.scenario.clone();
        let made = async move { node::create(&envs, &scenario).await.map(|_| ()) };
        let made = self.world.block_on(&process, 0, made, LIMIT);
        made.map_err(|stuck| Finding(stuck.to_string()))?.map_err(Finding)?;
        self.world.kill(&process);
        self.world.set_faults_enabled(true);
        Ok(())
    }

    fn start(&self) -> (Process, Rc<Vec<Env>>) {
        let process = self.world.process(self.scenario.cores);
        let envs = (0..self.scenario.cores).map(|core| process.env(core)).collect();
        (process, Rc::new(envs))
    }

    /// Runs `future` on the first core to its end, unless the plan's crash comes first.
    fn drive<T: 'static>(
        &self,
        plan: &mut Plan,
        process: &Process,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, Stop> {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        process.spawn(0, async move { *place.borrow_mut() = Some(future.await) }).detach();
        let mut progress = self.model.borrow().time();
        loop {
            let failure = plan.failures.last().copied().unwrap_or(u64::MAX);
            let next = plan.crash_at.min(failure);
            let done = || result.borrow().is_some() || self.world.trace_events() >= next;
            if let Err(stuck) = self.world.run_until(done, LIMIT) {
                let slow = matches!(stuck, Stuck::TimeLimit { .. }) && self.model.borrow().time() > progress;
                if !slow {
                    return Err(Finding(format!("it hangs: {stuck}")).into());
                }
                progress = self.model.borrow().time();
                continue;
            }
            if let Some(result) = result.take() {
                return Ok(result);
            }
            if self.world.trace_events() >= plan.crash_at {
                return Err(Stop::Crashed);
            }
            plan.failures.pop();
            self.fleet.fail_one(&self.chance);
        }
    }

    /// One life from the start of a process to its end.
    pub fn live(&mut self, mut plan: Plan) -> Result<(), Stop> {
        self.counts.lives += 1;
        let (process, envs) = self.start();
        let clients = self.world.process(1);
        let lived = self.work(&mut plan, &process, &clients, &envs);
        match (&lived, plan.crash) {
            (Err(Stop::Crashed), Crash::PowerLoss) => {
                self.world.power_fail();
                self.counts.power_losses += 1;
                self.crash = Crash::PowerLoss;
            }
            _ => {
                self.world.kill(&process);
                self.world.kill(&clients);
                self.counts.deaths += 1;
            }
        }
        lived
    }

    fn work(
        &mut self,
        plan: &mut Plan,
        process: &Process,
        clients: &Process,
        envs: &Rc<Vec<Env>>,
    ) -> Result<(), Stop> {
        let engines = Rc::new(self.open(plan, process, envs)?);
        let worked = self.work_on(plan, process, clients, envs, &engines);
        worked.map_err(|stop| match stop {
            Stop::Found(Finding(text)) => {
                let status = engines
                    .iter()
                    .map(|engine| format!("{:?} {:#?}", engine.pool().shared.capacity(), engine.status()));
                Stop::Found(Finding(format!("{text}\n{}", status.collect::<Vec<_>>().join("\n"))))
            }
            stop => stop,
        })
    }

    fn work_on(
        &mut self,
        plan: &mut Plan,
        process: &Process,
        clients: &Process,
        envs: &Rc<Vec<Env>>,
        engines: &Rc<Engines>,
    ) -> Result<(), Stop> {
        self.look(plan, process, engines)?;
        self.look_at_snapshots(plan, process, engines)?;
        self.load(plan, process, clients, envs, engines)?;
        for engine in &**engines {
            let status = engine.status();
            self.counts.cleaned_chunks += status.cleaned_chunks;
            self.counts.grouped_chunks += status.grouped_since;
            self.counts.checkpoints += status.checkpoints;
        }
        let cache = engines[0].cache_disk_status();
        self.counts.cache_disk_hits += cache.map_or(0, |status| status.hits);
        if self.chance.percent(60) {
            self.verify(plan, process, engines)?;
        }
        if self.chance.percent(40) {
            self.close(plan, process, engines)?;
        }
        Ok(())
    }

    fn open(&self, plan: &mut Plan, process: &Process, envs: &Rc<Vec<Env>>) -> Result<Engines, Stop> {
        let (envs, scenario) = (envs.clone(), self.scenario.clone());
        let opened = self.drive(plan, process, async move { node::open(&envs, &scenario).await })?;
        let engines = opened.map_err(|error| match self.scenario.beyond {
            true => Stop::GaveUp,
            false => Finding(format!("the pool does not open: {error}")).into(),
        })?;
        self.fleet.opened(&engines[0].pool().shared)?;
        Ok(engines)
    }

    /// Reads everything there is and has the model judge it.
    fn look(&mut self, plan: &mut Plan, process: &Process, engines: &Rc<Engines>) -> Result<(), Stop> {
        let (engines, scenario) = (engines.clone(), self.scenario.clone());
        let zones: Vec<_> = scenario.volumes.iter().map(|plan| plan.zones.clone()).collect();
        let is_cached = scenario.cache.is_some();
        let piece_bytes = if is_cached { CACHED_LOOK_BYTES } else { LOOK_BYTES };
        // What is read for the third time may come from the cache disk.
        let reads = if is_cached && self.chance.percent(60) { 3 } else { 1 };
        let clock = process.env(0).clock;
        let looked = self.drive(plan, process, async move {
            let mut observed = BTreeMap::new();
            let mut sizes = Vec::new();
            for (volume, zones) in zones.into_iter().enumerate() {
                let engine = &engines[scenario.volumes[volume].core];
                let open = engine.volume(scenario.volume_id(volume)).map_err(|error| Finding(text(error)))?;
                let size_bytes = open.info().size_bytes;
                sizes.push(size_bytes);
                for (zone, sectors) in zones.into_iter().enumerate() {
                    let bytes = SECTOR_BYTES as u64;
                    let range = sectors.start * bytes..(sectors.end * bytes).min(size_bytes);
                    let first = range.start..range.end.min(range.start + CACHED_BYTES);
                    for _ in 1..reads {
                        look_at(&*open, first.clone(), (piece_bytes, scenario.beyond)).await?;
                    }
                    if reads > 1 {
                        clock.sleep(CACHING).await;
                    }
                    let seen = look_at(&*open, range, (piece_bytes, scenario.beyond)).await?;
                    observed.insert((volume, zone), seen);
                }
            }
            Ok::<_, Finding>((observed, sizes))
        })?;
        let (observed, sizes) = looked?;
        let mut model = self.model.borrow_mut();
        for (volume, size_bytes) in sizes.into_iter().enumerate() {
            model.recovered_size(volume, size_bytes)?;
        }
        // A failed flush may have dropped what was acknowledged and not flushed; the log has said so.
        let crash = if self.scenario.beyond { Crash::PowerLoss } else { self.crash };
        model.recovered(&observed, crash)?;
        self.crash = Crash::Death;
        Ok(())
    }

    /// Reads every snapshot there is and has the model judge it.
    fn look_at_snapshots(
        &mut self,
        plan: &mut Plan,
        process: &Process,
        engines: &Rc<Engines>,
    ) -> Result<(), Stop> {
        let keys = self.model.borrow().all_snapshots();
        for key in keys {
            let (volume, zones) = {
                let model = self.model.borrow();
                (model.snapshot_volume(key), model.snapshot_zones(key))
            };
            let engine = engines[self.scenario.volumes[volume].core].clone();
            let id = snapshots::id(self.scenario.seed, key);
            let looked =
                self.drive(plan, process, async move { snapshots::look(&engine, id, &zones).await })?;
            let mut model = self.model.borrow_mut();
            model.recovered_snapshot(key, looked.is_some())?;
            for (first_sector, read) in looked.into_iter().flatten() {
                match read {
                    Ok(bytes) => model.check_snapshot(key, first_sector, &bytes)?,
                    Err(_) if self.scenario.beyond => {}
                    Err(error) => return Err(Finding(format!("a snapshot cannot be read: {error}")).into()),
                }
            }
        }
        Ok(())
    }

    /// Lets the hosts work.
    fn load(
        &mut self,
        plan: &mut Plan,
        process: &Process,
        clients: &Process,
        envs: &Rc<Vec<Env>>,
        engines: &Rc<Engines>,
    ) -> Result<(), Stop> {
        let scenario = self.scenario.clone();
        let nbd = scenario.access == Access::Nbd;
        if nbd {
            let (envs, engines, scenario) = (envs.clone(), engines.clone(), scenario.clone());
            let served =
                self.drive(plan, process, async move { node::serve(&envs, &engines, &scenario).await })?;
            served.map_err(Finding)?;
        }
        let hosts = scenario.volumes.len() * scenario.lanes;
        let shared = Rc::new(Shared {
            scenario: scenario.clone(),
            chance: self.chance.clone(),
            model: self.model.clone(),
            fleet: self.fleet.clone(),
            finding: RefCell::default(),
            running: hosts.into(),
            acknowledged: 0.into(),
            errors: 0.into(),
        });
        let client = nbd.then(|| clients.env(0));
        let door = Door { envs: envs.clone(), client, engines: engines.clone() };
        for index in 0..hosts {
            let volume = index % scenario.volumes.len();
            let host = host(shared.clone(), door.clone(), volume);
            match nbd {
                true => clients.spawn(0, host).detach(),
                false => process.spawn(scenario.volumes[volume].core, host).detach(),
            }
        }
        let worked = self.wait_for_hosts(plan, process, &shared, door);
        self.counts.acknowledged += shared.acknowledged.get();
        self.counts.errors += shared.errors.get();
        match shared.finding.take() {
            Some(finding) => Err(finding.into()),
            None => worked,
        }
    }

    fn wait_for_hosts(
        &self,
        plan: &mut Plan,
        process: &Process,
        shared: &Rc<Shared>,
        door: Door,
    ) -> Result<(), Stop> {
        if !self.scenario.cuts {
            return self.drive(plan, process, administrator(shared.clone(), door));
        }
        let ended = Rc::new(std::cell::Cell::new(false));
        let place = ended.clone();
        let work = administrator(shared.clone(), door);
        process
            .spawn(0, async move {
                work.await;
                place.set(true)
            })
            .detach();
        while !ended.get() {
            // A connection is cut now and then; its host opens another.
            let clock = process.env(0).clock;
            let pause = Duration::from_micros(self.chance.spread(100_000));
            self.drive(plan, process, async move { clock.sleep(pause).await })?;
            let connections = self.world.connections();
            if !connections.is_empty() && self.chance.percent(30) {
                self.world.cut(*self.chance.pick(&connections));
            }
        }
        Ok(())
    }

    /// Compares tables and maps at rest.
    fn verify(&self, plan: &mut Plan, process: &Process, engines: &Rc<Engines>) -> Result<(), Stop> {
        let (engines, clock) = (engines.clone(), process.env(0).clock);
        let result = self.drive(plan, process, async move {
            for engine in &*engines {
                engine.checkpoint().await.map_err(text)?;
            }
            let mut findings = Vec::new();
            for _ in 0..SLOT_COUNTS {
                let mut verified: Vec<Verified> = Vec::new();
                for engine in &*engines {
                    verified.push(engine.verify().await.map_err(text)?);
                }
                if let Some(of_log) = verified.iter().find(|of_log| !of_log.findings.is_empty()) {
                    return Ok(Some(format!("log {}: {}", of_log.log, list(&of_log.findings))));
                }
                findings = verify_slots(&engines[0].pool().shared, &verified);
                if findings.is_empty() {
                    return Ok(None);
                }
                clock.sleep(Duration::from_millis(500)).await;
            }
            Ok::<_, String>(Some(list(&findings)))
        })?;
        match result {
            Err(_) if self.scenario.beyond => Ok(()),
            Err(error) if self.scenario.may_be_full() && error.contains("full") => Ok(()),
            Err(error) => Err(Finding(format!("at rest: {error}")).into()),
            Ok(Some(findings)) => Err(Finding(format!("at rest: {findings}")).into()),
            Ok(None) => Ok(()),
        }
    }

    fn close(&self, plan: &mut Plan, process: &Process, engines: &Rc<Engines>) -> Result<(), Stop> {
        let engines = engines.clone();
        let closed = self.drive(plan, process, async move {
            for engine in &*engines {
                engine.close().await.map_err(text)?;
            }
            Ok::<_, String>(())
        })?;
        match closed {
            Err(error)
                if !(self.scenario.beyond || self.scenario.may_be_full() && error.contains("full")) =>
            {
                Err(Finding(format!("close failed: {error}")).into())
            }
            _ => Ok(()),
        }
    }

    /// Lets bad disks vanish and come back between two lives.
    pub fn shuffle_disks(&self) {
        if self.scenario.pulls || self.scenario.membership {
            self.fleet.shuffle(&self.chance);
        }
    }
}

fn list(findings: &[quarry_engine::Finding]) -> String {
    let text: Vec<String> = findings.iter().take(5).map(ToString::to_string).collect();
    format!("{} findings: {}", findings.len(), text.join("; "))
}

/// The blocks of a range; with `errors` those that cannot be read are left out.
async fn look_at(
    volume: &dyn Volume,
    range: std::ops::Range<u64>,
    (piece_bytes, errors): (u64, bool),
) -> Result<Observed, Finding> {
    let mut blocks = Observed::new();
    let mut at = range.start;
    while at < range.end {
        let length = piece_bytes.min(range.end - at);
        match volume.read(at, length as u32).await {
            Ok(views) => {
                let bytes: Vec<u8> = views.iter().flat_map(|view| view.iter().copied()).collect();
                blocks.extend(bytes.chunks(BLOCK_BYTES).map(|block| Some(block.to_vec())));
            }
            Err(error) if !errors => {
                return Err(Finding(format!("read after opening failed: {}", text(error))));
            }
            Err(_) => {
                for at in (at..at + length).step_by(BLOCK_BYTES) {
                    let length = (BLOCK_BYTES as u64).min(range.end - at);
                    let read = volume.read(at, length as u32).await;
                    blocks.push(read.ok().map(|views| views.iter().flat_map(|view| view.to_vec()).collect()));
                }
            }
        }
        at += length;
    }
    Ok(blocks)
}
