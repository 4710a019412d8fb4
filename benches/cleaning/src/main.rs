//! `quarry-cleaning`: what cleaning costs by different policies, with the real engine on a disk in memory.
//!
//! What it is: a pool of one device in a simulated world, one volume that is written once and then overwritten at random, and the
//! engine as it is, but for the policy of its cleaner. What it is not: a measure of speed; the world's time is not real. The same
//! options give the same figures.

mod play;
mod report;
mod workload;

use std::process::ExitCode;

use clap::Parser;
use quarry_cleaner::{Order, Policy};

use crate::play::{Play, play};
use crate::workload::Pattern;

/// Measures write amplification: the real engine with several policies of cleaning, on a disk in memory.
#[derive(Parser, Clone, Debug)]
struct Arguments {
    /// Size of the volume in MiB.
    ///
    /// A pool of this size has chunks that are smaller in proportion: at 1 GiB of 1 MiB, at 8 GiB of 8 MiB.
    #[arg(long, default_value_t = 1024)]
    volume_mib: u64,
    /// Share of the pool that the volume is.
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    fill: f64,
    /// Overwrites, in volumes; the last half is measured.
    #[arg(long, default_value_t = 6.0)]
    overwrites: f64,
    /// Writes under way at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// Which blocks are written; all in turn if none is given.
    #[arg(long, value_enum)]
    pattern: Vec<Pattern>,
    /// Which chunks are cleaned first; all in turn if none is given.
    #[arg(long, value_enum)]
    order: Vec<OrderName>,
    /// Classes of what is moved; 1 and 6 in turn if none is given.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=Policy::CLASSES_MAX as i64))]
    classes: Vec<u8>,
    /// What everything random comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.01..=0.95).contains(&share) { Ok(share) } else { Err("it must lie between 0.01 and 0.95".into()) }
}

/// An order by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum OrderName {
    /// The chunk with the least alive.
    Greedy,
    /// By benefit, cost and age.
    CostBenefit,
}

impl From<OrderName> for Order {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Greedy => Self::Greedy,
            OrderName::CostBenefit => Self::CostBenefit,
        }
    }
}

fn or<T: Clone>(given: &[T], all: &[T]) -> Vec<T> {
    if given.is_empty() { all.to_vec() } else { given.to_vec() }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { volume_mib, fill, overwrites, depth, seed, .. } = arguments;
    println!("{}", report::HEADER);
    for pattern in or(&arguments.pattern, &[Pattern::Zipf, Pattern::Uniform, Pattern::Sequential]) {
        for order in or(&arguments.order, &[OrderName::Greedy, OrderName::CostBenefit]) {
            for classes in or(&arguments.classes, &[1, Policy::CLASSES_MAX as u8]) {
                let policy = Policy { order: order.into(), classes_max: usize::from(classes) };
                let to_play = Play { volume_mib, fill, overwrites, depth, pattern, policy, seed };
                match play(to_play) {
                    Ok(measured) => println!("{}", report::line(&to_play, &measured)),
                    Err(error) => {
                        eprintln!("quarry-cleaning: {pattern:?} with {policy:?}: {error:#}");
                        return ExitCode::FAILURE;
                    }
                }
            }
        }
    }
    ExitCode::SUCCESS
}
