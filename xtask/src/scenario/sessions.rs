//! Many hosts that are connected and do nothing but say so now and then: what they cost the node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::load::{Fabric, Initiator, Unit};
use crate::node::{self, Node, VOLUME};
use crate::report::{Steps, mebibytes, table};
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};

const DEVICE_BYTES: u64 = 1 << 30;
const VOLUME_BYTES: u64 = 256 << 20;
/// More of a core must not go into hosts that do nothing, half of them over each protocol. Of one protocol alone it is shown.
const BUSY_PERCENT_MAX: f64 = 1.0;
const MIXED: &str = "half of each";
/// How often it is looked for who has to say something.
const TURN: Duration = Duration::from_millis(100);

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Sessions in all: of iSCSI alone, of NVMe/TCP alone, and half of each
    #[arg(long, default_value_t = 1000)]
    pub count: u16,
    /// Seconds for which they are watched; a target asks after silent initiators each 20
    #[arg(long, default_value_t = 45)]
    pub seconds: u64,
    /// Fail when the node takes more memory than this, in MiB
    #[arg(long, default_value_t = 256)]
    pub memory_mib: u64,
    /// Build that is tried
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("sessions", &format!("{} idle sessions on one node", options.count));
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("sessions")?;
    require_space(scratch.path(), DEVICE_BYTES)?;
    let (all, half) = (options.count, options.count / 2);
    let cases = [("iSCSI", all, 0), ("NVMe/TCP", 0, all), (MIXED, half, all - half)];
    let head = ["sessions", "before MiB", "with them MiB", "KiB each", "CPU % of a core", "of nobody %"];
    let mut costs: Vec<(&str, Cost)> = Vec::new();
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (number, (name, iscsi, nvme_tcp)) in cases.into_iter().enumerate() {
        // A fresh process each time: what it has had stays with it.
        let dir = scratch.join(&number.to_string());
        std::fs::create_dir(&dir)?;
        let device = scratch.device(&format!("device-{number}.img"), DEVICE_BYTES)?;
        let mut node_options = node::options(&bin_dir, &dir);
        node_options.has_fabrics = true;
        let mut node = node::start_with_volume(node_options, &[device], "copies:1", VOLUME_BYTES, &[])?;
        let cost = steps.step_with(
            format!("{name}: connect and watch for {} s", options.seconds),
            || measure(&node, iscsi, nvme_tcp, options.seconds),
            |cost| format!("{}, {:.2} % of a core", mebibytes(cost.after_bytes), cost.busy_percent),
        )?;
        node.stop()?;
        rows.push(cost.row(&format!("{all}, {name}"), all));
        costs.push((name, cost));
    }
    print!("{}", table(&rows));
    for (name, Cost { after_bytes, busy_percent, .. }) in costs {
        ensure!(after_bytes <= options.memory_mib << 20, "{name}: the node takes {}", mebibytes(after_bytes));
        ensure!(
            busy_percent < BUSY_PERCENT_MAX,
            "{name}: the node is busy for {busy_percent:.2} % of a core"
        );
    }
    steps.pass();
    Ok(())
}

/// What sessions cost.
struct Cost {
    before_bytes: u64,
    after_bytes: u64,
    /// Before anybody was connected.
    alone_percent: f64,
    busy_percent: f64,
}

impl Cost {
    fn row(&self, name: &str, sessions: u16) -> Vec<String> {
        let each_bytes = self.after_bytes.saturating_sub(self.before_bytes) / u64::from(sessions.max(1));
        let figures =
            [self.before_bytes >> 20, self.after_bytes >> 20, each_bytes >> 10].map(|n| n.to_string());
        let percents = [self.busy_percent, self.alone_percent].map(|percent| format!("{percent:.2}"));
        [vec![name.to_owned()], figures.to_vec(), percents.to_vec()].concat()
    }
}

fn measure(node: &Node, iscsi: u16, nvme_tcp: u16, seconds: u64) -> Result<Cost> {
    let quarry = node.quarry();
    let units = [quarry.create_unit(VOLUME, Fabric::Iscsi)?, quarry.create_unit(VOLUME, Fabric::NvmeTcp)?];
    let server = node.server()?;
    let busy = || -> Result<f64> {
        let before = server.cpu_time()?;
        thread::sleep(Duration::from_secs(seconds));
        Ok((server.cpu_time()? - before).as_secs_f64() / seconds as f64 * 100.0)
    };
    let (alone_percent, before_bytes) = (busy()?, server.memory_bytes()?);
    let stop = AtomicBool::new(false);
    let [iscsi_unit, nvme_unit] = units;
    let mut sessions = connect(&iscsi_unit, iscsi)?;
    sessions.extend(connect(&nvme_unit, nvme_tcp)?);
    thread::scope(|scope| {
        let keeper = scope.spawn(|| keep_alive(&mut sessions, &stop));
        let busy_percent = busy();
        stop.store(true, Ordering::Relaxed);
        keeper.join().map_err(|_| anyhow!("a thread panicked"))??;
        Ok(Cost {
            before_bytes,
            after_bytes: server.memory_bytes()?,
            alone_percent,
            busy_percent: busy_percent?,
        })
    })
}

fn connect(unit: &Unit, count: u16) -> Result<Vec<Box<dyn Initiator>>> {
    let connect =
        |who| unit.connect(who, false).with_context(|| format!("{} session {who}", unit.fabric.name()));
    (0..count).map(connect).collect()
}

/// Has each of them say what an idle host says, evenly over time, and fails when one has been dropped.
fn keep_alive(sessions: &mut [Box<dyn Initiator>], stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let count = sessions.len().max(1) as u32;
    let mut due = Vec::new();
    for (index, session) in (0u32..).zip(&*sessions) {
        due.push(start + session.keep_alive_period() * index / count);
    }
    while !stop.load(Ordering::Relaxed) {
        for (session, due) in sessions.iter_mut().zip(&mut due) {
            if *due > Instant::now() {
                continue;
            }
            *due += session.keep_alive_period();
            session.wire().receive_what_is_there()?;
            while session.reply()?.is_some() {}
            session.keep_alive()?;
            session.wire().flush()?;
        }
        thread::sleep(TURN);
    }
    Ok(())
}
