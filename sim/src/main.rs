//! `quarry-sim`: runs seeds on threads, or replays one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use quarry_sim::{Crash, Failure, Outcome, Scenario, enumerate, run};

/// Seeds that once found something, run first every time.
const REGRESSIONS: &str = include_str!("../regressions.txt");
/// Every so many seeds run twice, to prove that they replay.
const REPLAY_EVERY: u64 = 25;
/// After so many failures no further seed is begun.
const FAILURES_MAX: usize = 5;
/// Lines of the trace in a report.
const TRACE_LINES: usize = 400;
/// How often progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Runs the real engine, pool and NBD server in a simulated world in which things break.
#[derive(Parser, Clone, Debug)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Seeds that run at once.
    #[arg(long, default_value_t = 2)]
    jobs: u32,
    /// Only those in which devices join, leave and come back.
    #[arg(long)]
    devices: bool,
    /// Only those in which the pool has an erasure code.
    #[arg(long)]
    coded: bool,
    /// Replays this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints the end of the trace when a replayed seed fails.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Prints what the product logs while this seed runs, debug messages included.
    #[arg(long, requires = "seed")]
    log: bool,
    /// Ends the short history of this seed at each of its events in turn.
    #[arg(long, conflicts_with = "seed")]
    enumerate: Option<u64>,
    /// With --enumerate, only every so many events.
    #[arg(long, default_value_t = 1)]
    stride: u64,
}

thread_local! {
    static PANIC: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Runs a seed; a panic becomes a failure.
fn guarded<T>(seed: u64, play: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| {
        let finding = PANIC.take().unwrap_or_else(|| "a panic without a message".to_owned());
        Err(Failure { seed, finding, report: String::new() })
    })
}

fn play(seed: u64, trace_lines: usize) -> Result<Outcome, Failure> {
    let first = guarded(seed, || run(seed, trace_lines))?;
    if seed.is_multiple_of(REPLAY_EVERY) {
        let again = guarded(seed, || run(seed, trace_lines))?;
        if again.trace_hash != first.trace_hash {
            let finding =
                format!("not deterministic: {:016x} and {:016x}", first.trace_hash, again.trace_hash);
            return Err(Failure { seed, finding, report: String::new() });
        }
    }
    Ok(first)
}

/// What all threads add to.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    events: AtomicU64,
    acknowledged: AtomicU64,
    errors: AtomicU64,
    lives: AtomicU64,
    cleaned: AtomicU64,
    changes: AtomicU64,
    grouped: AtomicU64,
    cached: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    running: Mutex<Vec<u64>>,
}

impl Tally {
    fn add(&self, result: Result<Outcome, Failure>) {
        self.done.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(outcome) => {
                self.events.fetch_add(outcome.events, Ordering::Relaxed);
                self.acknowledged.fetch_add(outcome.acknowledged, Ordering::Relaxed);
                self.errors.fetch_add(outcome.errors, Ordering::Relaxed);
                self.lives.fetch_add(outcome.lives, Ordering::Relaxed);
                self.cleaned.fetch_add(outcome.cleaned_chunks, Ordering::Relaxed);
                self.changes.fetch_add(outcome.changes, Ordering::Relaxed);
                self.grouped.fetch_add(outcome.grouped_chunks, Ordering::Relaxed);
                self.cached.fetch_add(outcome.cache_disk_hits, Ordering::Relaxed);
            }
            Err(failure) => {
                eprintln!("seed {} FAILED: {}", failure.seed, failure.finding);
                self.failures.lock().expect("nothing panics under it").push(failure);
            }
        }
    }

    fn failed(&self) -> usize {
        self.failures.lock().expect("nothing panics under it").len()
    }

    fn line(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} seeds, {} lives, {} acknowledged operations, {} allowed errors, {} chunks cleaned, {} grouped, {} reads from cache disks, {} changes of devices, {} million events, \
             {} failures",
            of(&self.done),
            of(&self.lives),
            of(&self.acknowledged),
            of(&self.errors),
            of(&self.cleaned),
            of(&self.grouped),
            of(&self.cached),
            of(&self.changes),
            of(&self.events) / 1_000_000,
            self.failed()
        )
    }
}

fn regressions() -> Vec<u64> {
    let lines = REGRESSIONS.lines().filter_map(|line| line.split_whitespace().next());
    lines.filter_map(|word| word.parse().ok()).collect()
}

#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the simulator's own threads and progress"
)]
fn run_all(arguments: &Arguments) -> ExitCode {
    let mut seeds = regressions();
    seeds.extend(arguments.start..arguments.start + arguments.seeds);
    seeds.retain(|&seed| !arguments.devices || Scenario::draw(seed).membership);
    seeds.retain(|&seed| !arguments.coded || Scenario::draw(seed).is_coded());
    let (next, tally) = (AtomicU64::new(0), Tally::default());
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        let work = || {
            while tally.failed() < FAILURES_MAX {
                let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                let Some(&seed) = seeds.get(index) else { return };
                tally.running.lock().expect("nothing panics under it").push(seed);
                tally.add(play(seed, TRACE_LINES));
                tally.running.lock().expect("nothing panics under it").retain(|&other| other != seed);
            }
        };
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let mut printed = begun.elapsed();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if begun.elapsed() - printed > PROGRESS_EVERY {
                printed = begun.elapsed();
                let running = tally.running.lock().expect("nothing panics under it").clone();
                println!("{:>5} s: {}; at seeds {running:?}", printed.as_secs(), tally.line());
            }
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} in {seconds:.1} s: {:.1} seeds/s",
        tally.line(),
        tally.done.load(Ordering::Relaxed) as f64 / seconds
    );
    let failures = tally.failures.into_inner().expect("nothing panics under it");
    for failure in &failures {
        println!("\n{failure}replay: quarry-sim --seed {} --trace", failure.seed);
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, trace: bool) -> ExitCode {
    match play(seed, if trace { 20 * TRACE_LINES } else { 0 }) {
        Ok(outcome) => {
            println!("seed {seed} is right: {outcome:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_enumeration(seed: u64, stride: u64) -> ExitCode {
    for crash in [Crash::PowerLoss, Crash::Death] {
        match guarded(seed, || enumerate(seed, crash, stride).map_err(|failure| *failure)) {
            Ok(enumeration) => println!("seed {seed}, {crash:?}: {enumeration:?}"),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let trace = std::backtrace::Backtrace::capture();
        PANIC.set(Some(format!("{info}\n{trace}")));
    }));
    let arguments = Arguments::parse();
    if arguments.log {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .without_time()
            .init();
    }
    match (arguments.seed, arguments.enumerate) {
        (Some(seed), _) => replay(seed, arguments.trace),
        (_, Some(seed)) => run_enumeration(seed, arguments.stride),
        _ => run_all(&arguments),
    }
}
