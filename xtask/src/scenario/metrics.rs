//! What a node shows of its work, tried with a real Prometheus: every figure of the written list, every expression of the dashboards, every
//! alert. Beside it the commands that show the same, and the support bundle, in which no secret may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command;
use crate::mount::{LoopDevice, require_root};
use crate::nbd::{Client, Command as Nbd};
use crate::node::{self, Node, NodeOptions, POOL, VOLUME, free_address};
use crate::peer::Peer;
use crate::report::Steps;
use crate::s3::{self, S3};
use crate::scratch::{Scratch, require_space};
use crate::server::Server;
use crate::workspace::{self, Profile};

const CACHE_BYTES: u64 = 16 << 20;
const DEVICE_BYTES: u64 = 512 << 20;
const VOLUME_BYTES: u64 = 64 << 20;
const PASSPHRASE: &str = "a passphrase that nobody may read";
const CHAP_SECRET: &str = "chap-secret-16bytes";
/// Until Prometheus serves, and until it has scraped twice.
const SCRAPED_TIMEOUT: Duration = Duration::from_secs(60);
/// A pool of what is not a file, and its volume.
const FAR_POOL: &str = "far";
const FAR_VOLUME: &str = "distant";
/// What a drive says of itself. No drive that says anything can be had where this runs: a program says it in the place of smartctl.
const DRIVE_SAYS: &str = "crates/control/smart/tests/recorded/nvme-ok.json";
/// What stands in the dashboards for what Grafana puts there.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "1m"), ("$volume", ".*"), ("$pool", ".*")];

/// How the run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long hosts use the volumes.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Build that is tried.
    #[arg(long, value_enum, default_value = "dev")]
    pub profile: Profile,
}

/// Runs the scenario.
pub fn run(options: &Options) -> Result<()> {
    let mut steps =
        Steps::begin("metrics", "figures, dashboards and alerts with a real Prometheus; the support bundle");
    if Command::new("promtool").arg("--version").output().is_err() {
        bail!("promtool is not installed: run scripts/setup-prometheus.sh");
    }
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let scratch = Scratch::new("metrics")?;
    require_space(scratch.path(), 5 * DEVICE_BYTES)?;
    command::require(&[s3::PROGRAM, "nbdkit", "losetup"])?;
    require_root()?;
    let (mut node, _far) = steps.step(
        "a node with a pool, volumes, a volume in image mode that moves, a host, a policy; a pool of a server's disk, a bucket and a drive",
        || start(&bin_dir, &scratch),
    )?;
    let mut prometheus = steps
        .step("Prometheus reads it over TLS with a token, as the manual says", || {
            Prometheus::start(&node, &scratch)
        })?;
    steps
        .step("hosts read, write, discard and flush", || load(&node, Duration::from_secs(options.seconds)))?;
    steps.step_with(
        "every figure of the manual is there, and no other; promtool finds no fault",
        || list(&node, &scratch),
        |count| format!("{count} families"),
    )?;
    steps.step_with(
        "every expression of the dashboards returns data",
        || dashboards(&prometheus),
        |count| format!("{count} expressions"),
    )?;
    steps.step("every alert can be evaluated, and none of a healthy node fires", || {
        prometheus.check_rules()
    })?;
    steps.step("the commands show the same", || commands(&node))?;
    steps.step("a support bundle without any secret of the node", || bundle(&node, &scratch))?;
    prometheus.server.kill()?;
    steps.step("stop", || node.stop())?;
    steps.pass();
    Ok(())
}

/// What the devices of the far pool are; dropped after the node.
struct Far {
    _s3: S3,
    _server: Peer,
    _drive: LoopDevice,
}

fn start(bin_dir: &Path, scratch: &Scratch) -> Result<(Node, Far)> {
    let passphrase = Some(node::write_passphrase(scratch.path(), PASSPHRASE)?);
    // So that something is slow on any machine.
    let mut more =
        ["--slow-request-ms", "1", "--log-format", "json", "--cache-disk"].map(str::to_owned).to_vec();
    more.push(scratch.device("cache.img", CACHE_BYTES)?.display().to_string());
    let environment = S3::environment().into_iter().chain([("PATH", path_with_smartctl(scratch)?)]).collect();
    let options = NodeOptions {
        passphrase,
        more,
        cores: Some(2),
        environment,
        ..node::options(bin_dir, scratch.path())
    };
    let devices = scratch.devices(2, DEVICE_BYTES)?;
    let size = VOLUME_BYTES;
    let node = node::start_with_volume(options, &devices, "copies:2", size, &["--encrypt"])?;
    let quarry = node.quarry();
    let image = scratch.device("image", VOLUME_BYTES)?;
    quarry.run(&["volume", "adopt", "image", "--device", &image.display().to_string()])?;
    quarry.create_export("image")?;
    quarry.run(&["policy", "create", "daily", "--compression", "lz4"])?;
    quarry.run(&["policy", "attach", "daily", VOLUME])?;
    // So that requests take turns, and are held back.
    quarry.run(&["volume", "set", VOLUME, "--iops-min", "10", "--iops-max", "100000"])?;
    let secret = scratch.join("chap");
    fs::write(&secret, CHAP_SECRET)?;
    let initiator = "iqn.1993-08.org.debian:01:3f5b2a";
    let mut host = quarry.command();
    host.args([
        "host",
        "create",
        "web",
        "--initiator",
        initiator,
        "--chap-user",
        "web",
        "--chap-secret-file",
    ]);
    command::run(host.arg(secret))?;
    quarry.run(&["snapshot", "create", VOLUME, "--name", "first"])?;
    let far = far_pool(&node, scratch)?;
    // So slowly that it is under way when the figures are looked at.
    quarry.run(&["volume", "migrate", "image", "--to-pool", POOL, "--rate", "1MiB"])?;
    Ok((node, far))
}

fn far_pool(node: &Node, scratch: &Scratch) -> Result<Far> {
    let s3 = S3::start(scratch.path())?;
    let disk = scratch.device("disk", DEVICE_BYTES)?;
    let server = Peer::nbdkit_file("far", scratch.path(), &disk)?;
    let drive = LoopDevice::attach(&scratch.device("drive", DEVICE_BYTES)?)?;
    let devices = [
        server.uri(),
        format!("s3://{}/far?size={DEVICE_BYTES}&endpoint=http://{}", s3::BUCKET, s3.address()),
        drive.path().display().to_string(),
    ];
    let quarry = node.quarry();
    quarry.create_pool(FAR_POOL, &devices.map(PathBuf::from), "copies:2")?;
    quarry.create_volume(FAR_VOLUME, FAR_POOL, VOLUME_BYTES, "flush")?;
    quarry.create_export(FAR_VOLUME)?;
    Ok(Far { _s3: s3, _server: server, _drive: drive })
}

/// Where programs are looked for, a `smartctl` that says what a good drive says first.
fn path_with_smartctl(scratch: &Scratch) -> Result<String> {
    let folder = scratch.join("bin");
    fs::create_dir(&folder)?;
    let program = folder.join("smartctl");
    fs::write(&program, format!("#!/bin/sh\ncat {}\n", workspace::root().join(DRIVE_SAYS).display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(format!("{}:{}", folder.display(), std::env::var("PATH")?))
}

fn load(node: &Node, time: Duration) -> Result<()> {
    thread::scope(|scope| {
        let users =
            [VOLUME, "image", FAR_VOLUME].map(|volume| scope.spawn(move || use_volume(node, volume, time)));
        users.into_iter().try_for_each(|user| user.join().expect("no panic"))
    })
}

fn use_volume(node: &Node, volume: &str, time: Duration) -> Result<()> {
    let mut client = Client::connect(&node.socket(), volume, true)?;
    let (began, data) = (Instant::now(), vec![0x5a; 64 << 10]);
    let mut round = 0u64;
    while began.elapsed() < time {
        let offset = round * data.len() as u64 % (VOLUME_BYTES / 2);
        for (command, length, data) in [
            (Nbd::Write, data.len() as u32, &data[..]),
            (Nbd::Flush, 0, &[]),
            (Nbd::Trim, 4096, &[]),
            (Nbd::WriteZeroes, 4096, &[]),
        ] {
            let offset = if command == Nbd::Flush { 0 } else { offset };
            let error = client.call(command, 0, offset, length, data)?;
            ensure!(error == 0, "{command:?} failed with NBD error {error}");
        }
        client.read(offset, 32 << 10)?;
        round += 1;
    }
    Ok(())
}

/// A Prometheus that reads the node every second.
struct Prometheus {
    server: Server,
    url: String,
}

impl Prometheus {
    fn start(node: &Node, scratch: &Scratch) -> Result<Self> {
        let token = scratch.join("token");
        let made = node.quarry().run(&["token", "create", "--role", "auditor", "--purpose", "prometheus"])?;
        fs::write(&token, made.trim())?;
        let deployed = workspace::root().join("deploy/prometheus");
        fs::copy(deployed.join("quarry.rules.yml"), scratch.join("quarry.rules.yml"))?;
        let config = fs::read_to_string(deployed.join("prometheus.yml"))?
            .replace("15s", "1s\n  evaluation_interval: 1s")
            .replace("/etc/prometheus/quarry-ca.pem", &scratch.join("data/api-ca.pem").display().to_string())
            .replace("/etc/prometheus/quarry-token", &token.display().to_string())
            .replace("node7.example.com:7480", &node.api().to_string());
        let file = scratch.join("prometheus.yml");
        fs::write(&file, config)?;
        command::run(Command::new("promtool").args(["check", "config"]).arg(&file))?;
        let address = free_address()?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.join("tsdb").display()));
        command.arg(format!("--web.listen-address={address}"));
        let server = Server::start("prometheus", &command, &scratch.join("prometheus.log"))?;
        let mut prometheus = Self { server, url: format!("http://{address}") };
        let url = prometheus.url.clone();
        prometheus.server.wait_until(SCRAPED_TIMEOUT, || {
            query(&url, "sum(up{job=\"quarry\"})").is_ok_and(|found| found.contains("=> 1"))
        })?;
        Ok(prometheus)
    }

    /// Alerts are fine when they can be evaluated; of a healthy node that is being used hard, only slowness may be told.
    fn check_rules(&self) -> Result<()> {
        let firing = query(&self.url, "ALERTS{alertstate=\"firing\",alertname!=\"QuarryRequestsSlow\"}")?;
        ensure!(firing.is_empty(), "a healthy node makes alerts fire:\n{firing}");
        let failures = query(&self.url, "sum(prometheus_rule_evaluation_failures_total) > 0")?;
        ensure!(failures.is_empty(), "rules cannot be evaluated: {failures}");
        Ok(())
    }
}

fn query(url: &str, expression: &str) -> Result<String> {
    Ok(command::run(Command::new("promtool").args(["query", "instant", url, expression]))?.trim().to_owned())
}

/// What the exposition has: each family, and whether it has samples.
fn families(text: &str) -> BTreeMap<String, bool> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.insert(name.to_owned(), false);
        }
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        for name in [Some(name), base].into_iter().flatten() {
            if let Some(has_samples) = all.get_mut(name) {
                *has_samples = true;
            }
        }
    }
    all
}

fn list(node: &Node, scratch: &Scratch) -> Result<usize> {
    let answer = node.metrics()?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains("version=0.0.4"), "{head}");
    let text: String = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => bail!("the figures came in chunks, which this client does not read"),
        false => text.to_owned(),
    };
    let manual = fs::read_to_string(workspace::root().join("docs/manual/metrics.md"))?;
    let listed: BTreeSet<&str> =
        manual.lines().filter_map(|line| line.strip_prefix("| `quarry_")?.split('`').next()).collect();
    let found = families(&text);
    for (name, has_samples) in &found {
        let short = name.strip_prefix("quarry_").context("a family of somebody else")?;
        ensure!(listed.contains(short), "{name} is not in the manual");
        ensure!(*has_samples, "{name} has no sample under load");
    }
    for name in &listed {
        ensure!(
            found.contains_key(&format!("quarry_{name}")),
            "quarry_{name} is in the manual and not there"
        );
    }
    let file = scratch.join("metrics.txt");
    fs::write(&file, &text)?;
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(fs::File::open(&file)?);
    let checked = command::output(&mut check)?;
    let said = String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success() && said.trim().is_empty(), "promtool: {said}");
    Ok(found.len())
}

fn dashboards(prometheus: &Prometheus) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(workspace::root().join("deploy/grafana"))? {
        let path: PathBuf = entry?.path();
        let board: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        for panel in board["panels"].as_array().context("no panels")? {
            for target in panel["targets"].as_array().context("no targets")? {
                let mut expression = target["expr"].as_str().context("no expression")?.to_owned();
                for (variable, value) in VARIABLES {
                    expression = expression.replace(variable, value);
                }
                let found = query(&prometheus.url, &expression)
                    .with_context(|| format!("{}: {}", path.display(), panel["title"]))?;
                ensure!(!found.is_empty(), "{}, {}: no data of {expression}", path.display(), panel["title"]);
                count += 1;
            }
        }
    }
    ensure!(count > 0, "there are no dashboards");
    Ok(count)
}

fn commands(node: &Node) -> Result<()> {
    let quarry = node.quarry();
    let stats = quarry.json(&["volume", "stats", VOLUME])?;
    ensure!(stats["write"]["operations"].as_u64().is_some_and(|count| count > 0), "{stats}");
    ensure!(stats["flush"]["operations"].as_u64().is_some_and(|count| count > 0), "{stats}");
    let table = quarry.run(&["volume", "stats"])?;
    ensure!(table.contains("READ P99") && table.contains("image"), "{table}");
    let status = quarry.run(&["status"])?;
    ensure!(status.contains("Health") && status.contains("DEVICE") && status.contains("WRITE/S"), "{status}");
    let slow = quarry.json(&["slow-requests"])?;
    ensure!(slow["count"].as_u64().is_some_and(|count| count > 0), "nothing took a millisecond: {slow}");
    let first = &slow["requests"][0];
    ensure!(first["took_us"].as_u64().is_some_and(|us| us >= 1000), "{first}");
    let events = quarry.run(&["event", "list", "--severity", "warning"])?;
    ensure!(events.contains("requests-slow"), "{events}");
    let log = fs::read_to_string(node.log_path())?;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure!(lines.len() == log.lines().count(), "the log is not JSON line by line:\n{log}");
    ensure!(lines.iter().any(|line| line["message"] == "slow request"), "no slow request in the log");
    Ok(())
}

fn bundle(node: &Node, scratch: &Scratch) -> Result<()> {
    let file = scratch.join("bundle.tar.zst");
    node.quarry().run(&["support-bundle", &file.display().to_string()])?;
    let bundle = zstd::bulk::decompress(&fs::read(&file)?, 256 << 20)?;
    let text = String::from_utf8_lossy(&bundle);
    for part in ["status.json", "configuration.json", "metrics.txt", "log.txt", "events.json", "hosts.json"] {
        ensure!(text.contains(&format!("quarry-support/{part}")), "{part} is not in the bundle");
    }
    ensure!(text.contains("quarry_pool_total_bytes") && !text.contains("cannot be had"), "parts are missing");
    let data = scratch.join("data");
    let mut secrets = vec![PASSPHRASE.to_owned(), CHAP_SECRET.to_owned()];
    for file in [data.join("admin.token"), scratch.join("token")] {
        let token = fs::read_to_string(&file)?.trim().to_owned();
        // The id of a token is no secret, what follows it is.
        secrets.push(token.rsplit('_').next().context("a token has parts")?.to_owned());
    }
    // Private keys, line by line: none of them is in clear in any form.
    for entry in fs::read_dir(&data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            secrets.extend(
                fs::read_to_string(&path)?.lines().filter(|line| !line.starts_with("---")).map(str::to_owned),
            );
        }
    }
    ensure!(secrets.len() > 4, "the node has more secrets than these");
    for secret in secrets.iter().filter(|secret| secret.len() >= 8) {
        ensure!(!text.contains(secret.as_str()), "the bundle has a secret of {} bytes in it", secret.len());
    }
    Ok(())
}
