//! `quarry-coding`: how fast the erasure code is, kernel by kernel, beside other crates.
//!
//! What it is: encoding and rebuilding of groups in memory, on one core, in gigabytes of data members a second, and the
//! time of a degraded read of 4 KiB. What it is not: a measure of devices. The peers run the same shapes on the same bytes;
//! `reed-solomon-erasure` without its C code, `reed-solomon-simd` with the instructions that it finds.
#![allow(clippy::disallowed_types, reason = "a benchmark measures real time")]

mod clock;
mod ours;
mod peers;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use quarry_ec::{Kernel, Shape};

use crate::clock::Sampler;

/// Speed of the erasure code by kernel and shape, beside other crates.
#[derive(Parser, Clone, Debug)]
struct Arguments {
    /// Shapes, as DATA+PARITY.
    #[arg(long, value_delimiter = ',', default_values = ["4+2", "8+3"])]
    shapes: Vec<Shape>,
    /// Bytes of each member that are coded at once.
    #[arg(long, default_value_t = 64 << 10, value_parser = clap::value_parser!(u32).range(64..=1 << 26))]
    piece_bytes: u32,
    /// Bytes of each member; more than the caches hold shows what memory gives.
    #[arg(long, default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(64..=1 << 28))]
    member_bytes: u32,
    /// Repetitions, of which the fastest counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// What one contestant does, in nanoseconds for a whole group; less is better.
struct Row {
    name: String,
    encode_ns: f64,
    /// One data member.
    rebuild_one_ns: f64,
    /// As many data members as there are parity members.
    rebuild_all_ns: f64,
    /// 4 KiB of one data member, everything included that a read has to do.
    degraded_read_ns: f64,
}

/// A group whose first members the contestants compute again.
struct Group {
    shape: Shape,
    members: Vec<Vec<u8>>,
    piece_bytes: usize,
}

impl Group {
    fn new(shape: Shape, arguments: &Arguments) -> Self {
        let byte = |member: usize, at: usize| (at.wrapping_mul(2_654_435_761 + member) >> 13) as u8;
        let member = |member| (0..arguments.member_bytes as usize).map(|at| byte(member, at)).collect();
        let members = (0..shape.members()).map(member).collect();
        Self { shape, members, piece_bytes: arguments.piece_bytes as usize }
    }

    /// The starts and ends of the pieces.
    fn pieces(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (length, piece_bytes) = (self.members[0].len(), self.piece_bytes);
        (0..length).step_by(piece_bytes).map(move |start| start..length.min(start + piece_bytes))
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quarry-coding: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.piece_bytes.is_multiple_of(64), "--piece-bytes must be a multiple of 64 for the peers");
    for &shape in &arguments.shapes {
        let mut group = Group::new(shape, arguments);
        let sampler = Sampler { rounds: arguments.rounds };
        let mut rows: Vec<Row> =
            Kernel::available().map(|kernel| ours::measure(kernel, &mut group, sampler)).collect();
        rows.push(peers::erasure(&mut group, sampler).context("reed-solomon-erasure")?);
        rows.push(peers::simd(&mut group, sampler).context("reed-solomon-simd")?);
        print(&group, &rows);
    }
    Ok(())
}

fn print(group: &Group, rows: &[Row]) {
    let data_bytes = (group.shape.data() * group.members[0].len()) as f64;
    println!(
        "{}: {} MiB a member in pieces of {} KiB; GB of data members a second on one core",
        group.shape,
        group.members[0].len() >> 20,
        group.piece_bytes >> 10
    );
    println!(
        "{:<22} {:>8} {:>12} {:>12} {:>18}",
        "",
        "encode",
        "rebuild 1",
        format!("rebuild {}", group.shape.parity()),
        "degraded 4k read"
    );
    for row in rows {
        println!(
            "{:<22} {:>8.2} {:>12.2} {:>12.2} {:>15.2} us",
            row.name,
            data_bytes / row.encode_ns,
            data_bytes / row.rebuild_one_ns,
            data_bytes / row.rebuild_all_ns,
            row.degraded_read_ns / 1000.0
        );
    }
}
