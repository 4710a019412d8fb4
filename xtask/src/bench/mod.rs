//! quarryd beside other servers, over NBD and then over iSCSI and NVMe/TCP ([`fabrics`]): same machine, same disk, same run.
//!
//! Each case runs against each target in turn and then again, so that whatever else happens on the machine hits all of
//! them alike. Ratios are taken inside one repetition and their median is shown. The server's own CPU time decides:
//! fio's client costs as much as a server does.

pub mod fabrics;
mod fio;
mod page;
mod results;
mod targets;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::report::Steps;
use crate::scratch::{Scratch, require_space};
use crate::workspace::{self, Profile};
use fio::{CASES, Case};
use results::{Results, Sample};
use targets::{TARGETS, Target};

/// Size of each target's volume, all of which is written before anything is measured.
const VOLUME_BYTES: u64 = 4 << 30;

/// How the benchmark goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// One repetition of two seconds, and nothing is written to the manual.
    #[arg(long)]
    pub quick: bool,
    /// Repetitions.
    #[arg(long, default_value_t = 3)]
    pub repetitions: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Cases to run, by name; all when absent.
    #[arg(long, value_delimiter = ',', value_parser = fio::case_names())]
    pub only: Vec<String>,
    /// Targets to run, by name; all when absent.
    #[arg(long, value_delimiter = ',', value_parser = targets::names())]
    pub targets: Vec<String>,
    /// `--cores` of quarryd; its default, all of them, when absent.
    #[arg(long)]
    pub cores: Option<u32>,
    /// Copies of quarryd's pool; the peers keep one.
    #[arg(long, default_value_t = 1)]
    pub copies: u8,
    /// Record quarryd with perf in each of its measurements.
    #[arg(long)]
    pub profile: bool,
    /// Leave docs/manual/performance.md as it is.
    #[arg(long)]
    pub no_page: bool,
}

impl Options {
    fn cases(&self) -> Vec<&'static Case> {
        CASES
            .iter()
            .filter(|case| self.only.is_empty() || self.only.iter().any(|name| name == case.name))
            .collect()
    }

    fn is_target(&self, name: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target == name)
    }

    /// The same for iSCSI and NVMe/TCP.
    fn of_fabrics(&self) -> fabrics::Options {
        let (repetitions, seconds) = self.extent();
        let no_page = self.no_page || !self.is_complete();
        fabrics::Options { repetitions, seconds, cores: self.cores, no_page }
    }

    /// Repetitions, and the seconds of each measurement.
    fn extent(&self) -> (u32, u64) {
        if self.quick { (1, 2) } else { (self.repetitions, self.seconds) }
    }

    /// Whether the run has everything that the manual shows.
    fn is_complete(&self) -> bool {
        !self.quick && !self.profile && self.only.is_empty() && self.targets.is_empty() && self.copies == 1
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    over_nbd(options)?;
    if options.only.is_empty() && options.targets.is_empty() && options.copies == 1 && !options.profile {
        fabrics::run(&options.of_fabrics())?;
    }
    Ok(())
}

fn over_nbd(options: &Options) -> Result<()> {
    let mut steps = Steps::begin("bench", "quarryd beside other NBD servers, over unix sockets");
    command::require(&["fio", "qemu-nbd", "qemu-img", "nbdkit"])?;
    let bin_dir = if options.is_target(targets::QUARRYD) {
        workspace::build(Profile::Release, &["quarryd", "quarry"])?
    } else {
        PathBuf::new()
    };
    let scratch = Scratch::new("bench")?;
    require_space(scratch.path(), TARGETS.len() as u64 * 2 * VOLUME_BYTES)?;
    let mut targets = Vec::new();
    for &name in TARGETS.iter().filter(|name| options.is_target(name)) {
        let start = || Target::start(name, &scratch, &bin_dir, options, VOLUME_BYTES);
        let target = steps.step(format!("start {name} and write its {} GiB", VOLUME_BYTES >> 30), || {
            let target = start()?;
            fio::precondition(&target.uri, VOLUME_BYTES)?;
            Ok(target)
        })?;
        targets.push(target);
    }
    ensure!(!targets.is_empty(), "no target is left");
    let mut results = Results::new(options.cores, options.copies);
    measure(options, &targets, &mut results, &mut steps)?;
    for target in targets {
        target.stop()?;
    }
    print!("{}", results.for_terminal());
    write_out(options, &results)?;
    steps.pass();
    Ok(())
}

fn measure(options: &Options, targets: &[Target], results: &mut Results, steps: &mut Steps) -> Result<()> {
    let (repetitions, seconds) = options.extent();
    for case in options.cases() {
        for repetition in 0..repetitions {
            for target in targets {
                let what = format!("{}, {}, {} of {repetitions}", case.name, target.name, repetition + 1);
                let sample = steps.step_with(
                    what,
                    || {
                        let profile = options.profile && target.name == targets::QUARRYD;
                        let perf = if profile { Some(Perf::start(target, case, seconds)?) } else { None };
                        let before = target.cpu_time()?;
                        let measured = fio::measure(&target.uri, case, VOLUME_BYTES, seconds)?;
                        let cpu = target.cpu_time()? - before;
                        perf.map_or(Ok(()), Perf::finish)?;
                        Ok(Sample::new(case, target.name, repetition, measured, cpu))
                    },
                    Sample::line,
                )?;
                results.samples.push(sample);
            }
        }
    }
    Ok(())
}

fn write_out(options: &Options, results: &Results) -> Result<()> {
    let folder = workspace::target_dir().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.json", results.date.replace(':', "")));
    fs::write(&path, serde_json::to_string_pretty(results)?)?;
    println!("written: {}", path.display());
    if options.is_complete() && !options.no_page {
        let page = workspace::root().join("docs/manual/performance.md");
        page::update(&page, results)?;
        println!("written: {}", page.display());
    }
    Ok(())
}

/// `perf record` on quarryd during one measurement.
struct Perf {
    process: std::process::Child,
    data: PathBuf,
}

impl Perf {
    fn start(target: &Target, case: &Case, seconds: u64) -> Result<Self> {
        command::require(&["perf"])?;
        let folder = workspace::target_dir().join("bench");
        fs::create_dir_all(&folder)?;
        let data = folder.join(format!("profile-{}.data", case.name));
        let mut perf = Command::new("perf");
        perf.args([
            "record",
            "--quiet",
            "--call-graph",
            "fp",
            "--pid",
            &target.pid()?.to_string(),
            "--output",
        ]);
        perf.arg(&data).args(["--", "sleep", &seconds.to_string()]);
        let process = perf.spawn().context("perf does not start")?;
        // It takes a moment until perf counts.
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self { process, data })
    }

    fn finish(mut self) -> Result<()> {
        ensure!(self.process.wait()?.success(), "perf record failed");
        let mut report = Command::new("perf");
        report.args([
            "report",
            "--stdio",
            "--no-children",
            "--call-graph",
            "none",
            "--percent-limit",
            "1",
            "--input",
        ]);
        let text = command::run(report.arg(&self.data))?;
        let path = self.data.with_extension("txt");
        fs::write(&path, &text)?;
        println!();
        text.lines().filter(|line| line.contains('%')).take(25).for_each(|line| println!("        {line}"));
        println!("        profile: {}", path.display());
        Ok(())
    }
}
