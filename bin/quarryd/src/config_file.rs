//! The configuration file, and where each setting comes from.
//!
//! A flag wins over its variable of the environment (clap sees to that), both win over the file, and that over the default. A key has
//! the name of its flag with `_` for `-`. What is wrong in the file is told with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::CommandFactory;
use quarry_types::ByteSize;
use serde::{Deserialize, Deserializer};
use toml::de::DeTable;

use crate::arguments::Arguments;
use crate::log_lines::LogFormat;

/// How alike a word and a key must be for one to be meant by the other, from 0 to 1.
const LIKENESS_MIN: f64 = 0.7;

/// What the file may say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    api: Option<String>,
    api_cert: Option<PathBuf>,
    api_key: Option<PathBuf>,
    api_names: Vec<String>,
    metrics_open: Option<bool>,
    metrics_volumes: Option<usize>,
    slow_request_ms: Option<u64>,
    forecast_days: Option<u32>,
    log_format: Option<LogFormat>,
    nbd: Option<String>,
    nbd_unix: Option<PathBuf>,
    nbd_tls_cert: Option<PathBuf>,
    nbd_tls_key: Option<PathBuf>,
    nbd_tls_client_ca: Option<PathBuf>,
    iscsi: Vec<String>,
    nvme_tcp: Vec<String>,
    vhost_user: Option<PathBuf>,
    advertise: Vec<IpAddr>,
    cores: Option<usize>,
    #[serde(deserialize_with = "size")]
    memory: Option<ByteSize>,
    #[serde(deserialize_with = "size")]
    read_cache: Option<ByteSize>,
    cache_disk: Option<PathBuf>,
    scrub_days: Option<u32>,
    #[serde(deserialize_with = "size")]
    scrub_rate: Option<ByteSize>,
    device_timeout: Option<u64>,
    keyring_passphrase_file: Option<PathBuf>,
}

/// A size with its unit, as the command line takes it.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Every key, in the order of `--help`.
pub fn keys() -> Vec<String> {
    let command = Arguments::command();
    let longs = command.get_arguments().filter_map(clap::Arg::get_long).filter(|&long| long != "config");
    longs.map(key_of).collect()
}

fn key_of(long: &str) -> String {
    // A list, where the flag is one of it.
    if long == "api-name" { "api_names".to_owned() } else { long.replace('-', "_") }
}

/// Where each setting comes from.
#[derive(Debug, Default)]
pub struct Origins {
    file: PathBuf,
    /// Lines of the keys whose values in the file count.
    lines: BTreeMap<&'static str, usize>,
    /// Keys whose values were given by a flag or by the environment.
    given: BTreeSet<&'static str>,
}

impl Origins {
    /// What to call a setting in a message: its place in the file, or its flag.
    pub fn name(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}: {key}", self.file.display()),
            None if key == "api_names" => "--api-name".to_owned(),
            None => format!("--{}", key.replace('_', "-")),
        }
    }

    /// Where the value is from, in a word or two.
    pub fn describe(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("line {line}"),
            None if self.given.contains(key) => "environment".to_owned(),
            None => "default".to_owned(),
        }
    }

    /// Whether anybody has said what it is.
    pub fn is_given(&self, key: &str) -> bool {
        self.lines.contains_key(key) || self.given.contains(key)
    }
}

/// What can be left to somebody else to say.
trait Unsaid {
    fn is_unsaid(&self) -> bool;
}

impl<T> Unsaid for Option<T> {
    fn is_unsaid(&self) -> bool {
        self.is_none()
    }
}

impl<T> Unsaid for Vec<T> {
    fn is_unsaid(&self) -> bool {
        self.is_empty()
    }
}

macro_rules! complete {
    ($arguments:ident, $file:ident, $lines:ident, $origins:ident: $($key:ident)+) => {
        $(if !$arguments.$key.is_unsaid() {
            $origins.given.insert(stringify!($key));
        } else if !$file.$key.is_unsaid() {
            $arguments.$key = $file.$key;
            $origins.lines.insert(stringify!($key), $lines.get(stringify!($key)).copied().unwrap_or_default());
        })+
    };
}

/// The arguments with what the file says beside them.
pub fn complete(mut arguments: Arguments) -> anyhow::Result<(Arguments, Origins)> {
    let (file, lines) = match &arguments.config {
        Some(path) => read(path)?,
        None => (File::default(), BTreeMap::new()),
    };
    let mut origins = Origins { file: arguments.config.clone().unwrap_or_default(), ..Origins::default() };
    complete!(arguments, file, lines, origins:
        data_dir api api_cert api_key api_names metrics_open metrics_volumes slow_request_ms forecast_days log_format nbd nbd_unix nbd_tls_cert
        nbd_tls_key nbd_tls_client_ca iscsi nvme_tcp vhost_user advertise cores memory read_cache cache_disk scrub_days scrub_rate device_timeout
        keyring_passphrase_file);
    Ok((arguments, origins))
}

#[expect(clippy::disallowed_methods, reason = "the daemon reads its own configuration before anything runs")]
fn read(path: &Path) -> anyhow::Result<(File, BTreeMap<String, usize>)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("configuration file {} cannot be read", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// The content of a file, and the line of each key.
fn parse(name: &str, text: &str) -> anyhow::Result<(File, BTreeMap<String, usize>)> {
    let line_at = |at: usize| 1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count();
    let wrong = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_at(span.start));
        anyhow::anyhow!("{name}:{line}: {}", error.message().trim())
    };
    let table = DeTable::parse(text).map_err(wrong)?;
    let lines: BTreeMap<String, usize> =
        table.get_ref().keys().map(|key| (key.get_ref().to_string(), line_at(key.span().start))).collect();
    let known = keys();
    let mut unknown: Vec<_> = lines.iter().filter(|(key, _)| !known.contains(key)).collect();
    unknown.sort_by_key(|(_, line)| **line);
    if !unknown.is_empty() {
        let each = unknown.iter().map(|(key, line)| format!("{name}:{line}: {}", unknown_key(key, &known)));
        bail!("{}", each.collect::<Vec<_>>().join("\n"));
    }
    Ok((toml::from_str(text).map_err(wrong)?, lines))
}

/// With the key that was meant, if there is one that looks like it.
fn unknown_key(key: &str, known: &[String]) -> String {
    let likeness = |other: &String| strsim::jaro_winkler(&key.replace('-', "_"), other);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|other| likeness(other) >= LIKENESS_MIN) {
        Some(nearest) => format!("unknown key '{key}'; did you mean '{nearest}'?"),
        None => format!("unknown key '{key}'; `quarryd --help` lists the flags, which are the keys"),
    }
}

#[cfg(test)]
mod tests;
