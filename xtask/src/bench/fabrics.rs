//! quarryd's iSCSI and NVMe/TCP beside Debian's tgt, on the same disk and in turns, by the load generator of this crate.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{fio, page};
use crate::load::{self, Fabric, Initiator, Loaded, Unit, Verb};
use crate::node::{self, Node, VOLUME};
use crate::report::{Steps, table};
use crate::scratch::{Scratch, require_space};
use crate::tgt::{self, Tgt};
use crate::workspace::{self, Profile};
use crate::{command, machine};

const VOLUME_BYTES: u64 = 2 << 30;
const DEPTH: u16 = 32;

/// How it goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Repetitions
    #[arg(long, default_value_t = 3)]
    pub repetitions: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// `--cores` of quarryd; its default, all of them, when absent
    #[arg(long)]
    pub cores: Option<u32>,
    /// Leave docs/manual/performance.md as it is
    #[arg(long)]
    pub no_page: bool,
}

/// Who is measured, how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    QuarrydIscsi,
    QuarrydNvmeTcp,
    Tgt,
}

impl Subject {
    const ALL: [Self; 3] = [Self::QuarrydIscsi, Self::QuarrydNvmeTcp, Self::Tgt];

    fn name(self) -> &'static str {
        match self {
            Self::QuarrydIscsi => "quarryd, iSCSI",
            Self::QuarrydNvmeTcp => "quarryd, NVMe/TCP",
            Self::Tgt => "tgt, iSCSI",
        }
    }
}

struct Servers {
    node: Node,
    iscsi: Unit,
    nvme_tcp: Unit,
    /// Where it is installed.
    tgt: Option<Tgt>,
}

impl Servers {
    fn start(options: &Options, scratch: &Scratch, bin_dir: &Path) -> Result<Self> {
        let devices = scratch.devices(1, 2 * VOLUME_BYTES)?;
        let mut node_options = node::options(bin_dir, scratch.path());
        (node_options.cores, node_options.has_fabrics) = (options.cores, true);
        let node = node::start_with_volume(node_options, &devices, "copies:1", VOLUME_BYTES, &[])?;
        fio::precondition(&node.uri(VOLUME), VOLUME_BYTES)?;
        let quarry = node.quarry();
        let (iscsi, nvme_tcp) =
            (quarry.create_unit(VOLUME, Fabric::Iscsi)?, quarry.create_unit(VOLUME, Fabric::NvmeTcp)?);
        let tgt = if tgt::is_installed() { Some(start_tgt(scratch)?) } else { None };
        Ok(Self { node, iscsi, nvme_tcp, tgt })
    }

    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let has_tgt = self.tgt.is_some();
        Subject::ALL.into_iter().filter(move |&subject| subject != Subject::Tgt || has_tgt)
    }

    fn tgt(&self) -> Result<&Tgt> {
        self.tgt.as_ref().context("tgt is not installed")
    }

    fn connect(&self, subject: Subject) -> Result<Box<dyn Initiator>> {
        let unit = match subject {
            Subject::QuarrydIscsi => &self.iscsi,
            Subject::QuarrydNvmeTcp => &self.nvme_tcp,
            Subject::Tgt => &self.tgt()?.unit,
        };
        unit.connect(0, false)
    }

    fn cpu_time(&self, subject: Subject) -> Result<Duration> {
        match subject {
            Subject::Tgt => self.tgt()?.server.cpu_time(),
            _ => self.node.server()?.cpu_time(),
        }
    }
}

/// tgtd past the page cache, which is what its aio does.
fn start_tgt(scratch: &Scratch) -> Result<Tgt> {
    let image = scratch.device("tgt.img", VOLUME_BYTES)?;
    Tgt::start(&image, "aio", node::free_address()?, &scratch.join("tgtd.log"))
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Sample {
    loaded: Loaded,
    cpu_s_per_million: f64,
}

impl Sample {
    fn iops(&self) -> f64 {
        self.loaded.requests as f64 / self.loaded.elapsed.as_secs_f64()
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut steps =
        Steps::begin("bench-fabrics", "quarryd's iSCSI and NVMe/TCP beside tgt, over TCP on loopback");
    command::require(&["fio"])?;
    let bin_dir = workspace::build(Profile::Release, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("bench-fabrics")?;
    require_space(scratch.path(), 4 * VOLUME_BYTES)?;
    let mut servers = steps
        .step("start quarryd and tgt, if it is there", || Servers::start(options, &scratch, &bin_dir))?;
    if servers.tgt.is_none() {
        steps.note(
            "tgt is not installed, so quarryd has nobody beside it: `make bench` installs it on Debian",
        );
    }
    let mut rows =
        vec![["case", "target", "IOPS", "p50 us", "p99 us", "CPU s per million"].map(str::to_owned).to_vec()];
    for (verb, title) in
        [(Verb::Read, "4k random read, QD32"), (Verb::Write { force: false }, "4k random write, QD32")]
    {
        let mut samples: Vec<(Subject, Sample)> = Vec::new();
        for repetition in 0..options.repetitions {
            for subject in servers.subjects() {
                let what =
                    format!("{title}, {}, {} of {}", subject.name(), repetition + 1, options.repetitions);
                let sample = steps.step_with(
                    what,
                    || measure(&servers, subject, verb, options.seconds, u64::from(repetition)),
                    |sample| {
                        format!(
                            "{:.0} IOPS, {:.1} CPU s per million",
                            sample.iops(),
                            sample.cpu_s_per_million
                        )
                    },
                )?;
                samples.push((subject, sample));
            }
        }
        for subject in servers.subjects() {
            let of = |figure: fn(&Sample) -> f64| {
                let his = samples.iter().filter(|(whose, _)| *whose == subject);
                median(his.map(|(_, sample)| figure(sample)))
            };
            rows.push(vec![
                title.to_owned(),
                subject.name().to_owned(),
                format!("{:.0}", of(Sample::iops)),
                format!("{:.0}", of(|sample| sample.loaded.p50_us)),
                format!("{:.0}", of(|sample| sample.loaded.p99_us)),
                format!("{:.1}", of(|sample| sample.cpu_s_per_million)),
            ]);
        }
    }
    servers.node.stop()?;
    if let Some(tgt) = &mut servers.tgt {
        // It takes SIGTERM for nothing while it has targets.
        tgt.server.kill()?;
    }
    print!("{}", table(&rows));
    // A page with a gap where the peer was would be worse than the one that is there.
    if !options.no_page && servers.tgt.is_some() {
        let path = workspace::root().join("docs/manual/performance.md");
        let text = fs::read_to_string(&path)?;
        fs::write(
            &path,
            page::with_fabrics(&text, &measured(options, &rows)?).context("the page has no marks")?,
        )?;
        println!("written: {}", path.display());
    }
    steps.pass();
    Ok(())
}

fn measure(servers: &Servers, subject: Subject, verb: Verb, seconds: u64, seed: u64) -> Result<Sample> {
    let mut initiator = servers.connect(subject)?;
    let before = servers.cpu_time(subject)?;
    let loaded = load::run(&mut *initiator, verb, DEPTH, Duration::from_secs(seconds), seed)?;
    let cpu = servers.cpu_time(subject)? - before;
    Ok(Sample { loaded, cpu_s_per_million: cpu.as_secs_f64() * 1e6 / loaded.requests.max(1) as f64 })
}

fn measured(options: &Options, rows: &[Vec<String>]) -> Result<String> {
    let here = machine::Machine::here();
    let cores = options.cores.map_or("all cores".to_owned(), |cores| format!("`--cores {cores}`"));
    let mut text = String::new();
    writeln!(
        text,
        "\nMedians of {} turns, measured on {}, commit {}: {} cores of {}, Linux {}; quarryd with {cores}.\n",
        options.repetitions,
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        workspace::commit(),
        here.cores,
        here.processor,
        here.kernel
    )?;
    text.push_str(&page::markdown(rows));
    Ok(text)
}
