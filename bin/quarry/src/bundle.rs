//! `quarry support-bundle`: what somebody needs who is to help, in one file. Only what the API shows is in it, and the API shows no secret;
//! texts that look like one are taken out all the same.

use std::io::Write;
use std::path::{Path, PathBuf};

use quarry_api_types::EventsQuery;
use quarry_client::{Client, ClientError};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;

/// Newest events and entries that are taken along at most.
const EVENTS_MAX: usize = 10_000;
/// No word of a name or a figure that begins as a token does is so long.
const TOKEN_BYTES_MIN: usize = 24;
/// How hard the bundle is compressed.
const COMPRESSION_LEVEL: i32 = 9;

type Result<T> = std::result::Result<T, Failure>;

/// One file of the bundle.
struct Part {
    name: &'static str,
    text: String,
}

/// What the command has done.
#[derive(Serialize)]
struct Done {
    file: PathBuf,
    bytes: u64,
    parts: Vec<&'static str>,
}

pub async fn run(client: &Client, file: Option<PathBuf>, output: &mut Output) -> Result<()> {
    let parts = gather(client).await?;
    let status = client.status().await?;
    let id = status.node_id.to_string();
    let file = file.unwrap_or_else(|| PathBuf::from(format!("quarry-support-{}.tar.zst", &id[..8])));
    let bytes = write(&file, &parts)
        .map_err(|error| Failure::local(&format!("'{}' cannot be written", file.display()), &error))?;
    let done = Done { file, bytes, parts: parts.iter().map(|part| part.name).collect() };
    output.answer(&done, |done| {
        format!("{} has {} parts in {} bytes.", done.file.display(), done.parts.len(), done.bytes)
    })
}

/// Everything, part by part. What cannot be had is told in its place: a node that needs help may not answer everything.
async fn gather(client: &Client) -> Result<Vec<Part>> {
    // Without this one there is nobody to ask.
    let status = client.status().await?;
    let mut parts = vec![
        part("status.json", Ok(status)),
        part("configuration.json", client.show_configuration().await),
        part("devices.json", client.list_devices().await),
        part("pools.json", client.list_pools().await),
        part("volumes.json", client.list_volumes().await),
        part("snapshots.json", client.list_all_snapshots().await),
        part("groups.json", client.list_groups().await),
        part("policies.json", client.list_policies().await),
        part("exports.json", client.list_exports().await),
        part("hosts.json", client.list_hosts().await),
        part("host-groups.json", client.list_host_groups().await),
        part("keyring.json", client.show_keyring().await),
        part("jobs.json", client.list_jobs(None).await),
        part("stats.json", client.show_stats().await),
        part("slow-requests.json", client.list_slow_requests().await),
        part("events.json", events(client).await),
    ];
    let log = client.show_log().await.map(|log| log.lines.join("\n"));
    parts.push(text_part("log.txt", log));
    parts.push(text_part("metrics.txt", client.metrics().await));
    let versions = format!("quarry {}\n{}", env!("CARGO_PKG_VERSION"), kernel());
    parts.push(text_part("client.txt", Ok(versions)));
    Ok(parts)
}

async fn events(client: &Client) -> std::result::Result<Vec<quarry_api_types::Event>, ClientError> {
    let mut query = EventsQuery::default();
    let mut all = Vec::new();
    while all.len() < EVENTS_MAX {
        let some = client.list_events(&query).await?;
        all.extend(some.events);
        match some.next {
            Some(next) if next > query.since => query.since = next,
            _ => break,
        }
    }
    Ok(all)
}

fn kernel() -> String {
    let system = rustix::system::uname();
    format!("{} {}\n", system.sysname().to_string_lossy(), system.release().to_string_lossy())
}

fn part<T: Serialize>(name: &'static str, answer: std::result::Result<T, ClientError>) -> Part {
    let answer = answer.map_err(|error| error.to_string());
    let text =
        answer.and_then(|answer| serde_json::to_string_pretty(&answer).map_err(|error| error.to_string()));
    Part { name, text: without_secrets(&text.unwrap_or_else(|error| format!("cannot be had: {error}"))) }
}

fn text_part(name: &'static str, answer: std::result::Result<String, ClientError>) -> Part {
    let text = answer.unwrap_or_else(|error| format!("cannot be had: {error}"));
    Part { name, text: without_secrets(&text) }
}

/// The text without what looks like a token, or stands where a secret would.
fn without_secrets(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", cleaned(line))).collect()
}

fn cleaned(line: &str) -> String {
    const TOKEN: &str = "qt_";
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut rest = line;
    let mut kept = String::with_capacity(line.len());
    while let Some(at) = rest.find(TOKEN) {
        let word: String = rest[at..].chars().take_while(|c| is_of_token(*c)).collect();
        kept.push_str(&rest[..at]);
        kept.push_str(if word.len() > TOKEN_BYTES_MIN { "(taken out)" } else { &word });
        rest = &rest[at + word.len()..];
    }
    kept + rest
}

#[expect(clippy::disallowed_types, reason = "a command's own file")]
fn write(file: &Path, parts: &[Part]) -> std::io::Result<u64> {
    let mut tar = tar::Builder::new(Vec::new());
    for Part { name, text } in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, format!("quarry-support/{name}"), text.as_bytes())?;
    }
    let packed = zstd::bulk::compress(&tar.into_inner()?, COMPRESSION_LEVEL)?;
    // It tells of all of a node: it is for whoever has made it.
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.write(true).create(true).truncate(true).open(file)?;
    written.write_all(&packed)?;
    Ok(packed.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_is_taken_out() {
        let token = format!("qt_{}", "aB3_".repeat(12));
        assert_eq!(without_secrets(&format!("a {token} b {token}\n")), "a (taken out) b (taken out)\n");
        for figure in ["quarry_pool_total_bytes{pool=\"p\"} 5", "no figure", "libqt_5 is short"] {
            assert_eq!(without_secrets(figure), format!("{figure}\n"));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test reads what it has written")]
    #[test]
    fn a_bundle_can_be_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("b.tar.zst");
        let parts = [Part { name: "status.json", text: "{}\n".to_owned() }];
        let bytes = write(&file, &parts).unwrap();
        let packed = std::fs::read(&file).unwrap();
        assert_eq!(packed.len() as u64, bytes);
        let unpacked = zstd::bulk::decompress(&packed, 1 << 20).unwrap();
        let mut tar = tar::Archive::new(&unpacked[..]);
        let names: Vec<_> =
            tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [PathBuf::from("quarry-support/status.json")]);
    }
}
