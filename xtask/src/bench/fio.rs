//! The load: fio's nbd engine.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;

/// One kind of load.
#[derive(Debug)]
pub struct Case {
    /// Short name.
    pub name: &'static str,
    /// In words.
    pub title: &'static str,
    rw: &'static str,
    block_bytes: u64,
    depth: u32,
    /// Whether each write is followed by a flush.
    has_fsync: bool,
    /// Whether MiB/s says more than IOPS.
    pub is_sequential: bool,
}

/// All cases, in the order in which they run: the volume has been written in order when the first begins, and is scattered
/// by random writes when the last one does.
pub const CASES: [Case; 8] = [
    case("randread-qd1", "4k random read, QD1", "randread", 1),
    case("randread-qd32", "4k random read, QD32", "randread", 32),
    sequential("seqread-qd8", "128k sequential read, QD8", "read"),
    sequential("seqwrite-qd8", "128k sequential write, QD8", "write"),
    case("randwrite-qd1", "4k random write, QD1", "randwrite", 1),
    case("randwrite-qd32", "4k random write, QD32", "randwrite", 32),
    Case {
        has_fsync: true,
        ..case("fsync-qd1", "4k random write + flush, QD1 (latency of the flush)", "randwrite", 1)
    },
    sequential("scattered-seqread-qd8", "128k sequential read, QD8, after the random writes", "read"),
];

const fn case(name: &'static str, title: &'static str, rw: &'static str, depth: u32) -> Case {
    Case { name, title, rw, block_bytes: 4096, depth, has_fsync: false, is_sequential: false }
}

const fn sequential(name: &'static str, title: &'static str, rw: &'static str) -> Case {
    Case { name, title, rw, block_bytes: 128 << 10, depth: 8, has_fsync: false, is_sequential: true }
}

/// Names for the command line.
pub fn case_names() -> clap::builder::PossibleValuesParser {
    CASES.each_ref().map(|case| case.name).into()
}

/// What fio saw.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// Requests a second, flushes not counted.
    pub iops: f64,
    /// Data, in MiB a second.
    pub mib_per_second: f64,
    /// Median latency in microseconds, from submission to completion; of the flushes where there are any.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Requests in all, flushes not counted.
    pub requests: u64,
}

/// Writes the whole volume once, in order.
pub fn precondition(uri: &str, size_bytes: u64) -> Result<()> {
    let size = size_bytes.to_string();
    let mut fio = fio(uri, &size);
    fio.args(["--name=fill", "--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1"]);
    command::run(&mut fio).map(drop)
}

/// Runs one case for so many seconds.
pub fn measure(uri: &str, case: &Case, size_bytes: u64, seconds: u64) -> Result<Measured> {
    let size = size_bytes.to_string();
    let mut fio = fio(uri, &size);
    fio.arg(format!("--name={}", case.name)).arg(format!("--rw={}", case.rw));
    fio.arg(format!("--bs={}", case.block_bytes)).arg(format!("--iodepth={}", case.depth));
    fio.arg(format!("--runtime={seconds}")).arg("--time_based");
    fio.args(["--output-format=json", "--percentile_list=50:99"]);
    if case.has_fsync {
        fio.arg("--fsync=1");
    }
    let printed = command::run(&mut fio)?;
    read_json(&printed).with_context(|| format!("fio's answer for {}", case.name))
}

fn fio(uri: &str, size: &str) -> Command {
    let mut fio = Command::new("fio");
    fio.args(["--ioengine=nbd", "--randrepeat=1", "--norandommap", "--thread"]);
    fio.arg(format!("--uri={uri}")).arg(format!("--size={size}"));
    fio
}

fn read_json(printed: &str) -> Result<Measured> {
    // fio may print notes before the document.
    let json = &printed[printed.find('{').context("no JSON")?..];
    let report: Value = serde_json::from_str(json)?;
    let job = &report["jobs"][0];
    ensure!(job["error"] == 0, "fio reports error {}", job["error"]);
    let side = if job["read"]["total_ios"].as_u64() > Some(0) { &job["read"] } else { &job["write"] };
    let number = |value: &Value| value.as_f64().context("a figure is missing");
    // With a flush after each write, the flush is what a host waits for; the write's own latency says little.
    let has_flushes = job["sync"]["total_ios"].as_u64() > Some(0);
    let latency = if has_flushes { &job["sync"]["lat_ns"] } else { &side["clat_ns"] };
    let percentile = |name: &str| number(&latency["percentile"][name]).map(|ns| ns / 1000.0);
    Ok(Measured {
        iops: number(&side["iops"])?,
        mib_per_second: number(&side["bw_bytes"])? / f64::from(1 << 20),
        p50_us: percentile("50.000000")?,
        p99_us: percentile("99.000000")?,
        requests: side["total_ios"].as_u64().context("no total_ios")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_side_that_ran() {
        let side = |ios: u64| {
            format!(
                r#"{{"total_ios": {ios}, "iops": 100.5, "bw_bytes": 1048576, "clat_ns":
                    {{"percentile": {{"50.000000": 1500, "99.000000": 9000}}}}}}"#
            )
        };
        let text = format!(
            r#"note: x {{"jobs": [{{"error": 0, "read": {}, "write": {}}}]}}"#,
            r#"{"total_ios": 0}"#,
            side(500)
        );
        let measured = read_json(&text).unwrap();
        let expected = Measured { iops: 100.5, mib_per_second: 1.0, p50_us: 1.5, p99_us: 9.0, requests: 500 };
        assert_eq!(measured, expected);
        let sync =
            r#""sync": {"total_ios": 5, "lat_ns": {"percentile": {"50.000000": 70000, "99.000000": 1}}}"#;
        let text = text.replace(r#""read":"#, &format!(r#"{sync}, "read":"#));
        assert_eq!(read_json(&text).unwrap().p50_us, 70.0);
        assert!(read_json(r#"{"jobs": [{"error": 5}]}"#).is_err());
        assert!(read_json("fio: failed").is_err());
    }
}
