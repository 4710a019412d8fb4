//! `quarry status`, `quarry volume stats`, `quarry slow-requests`: how the node and its volumes are just now.

use std::time::Duration;

use quarry_api_types::{JobState, Name, NodeStats, VolumeStats};
use quarry_client::Client;

use crate::failure::Failure;
use crate::output::Output;
use crate::rates::seconds_between;
use crate::tables;
use crate::tables::observe::{Look, volume_line, volumes};

/// Between the two looks of which a rate is made.
const LOOK_APART: Duration = Duration::from_secs(1);

type Result = std::result::Result<(), Failure>;

/// The node on one screen. For programs it is the API's object alone, at once.
pub async fn status(client: &Client, output: &mut Output) -> Result {
    let status = client.status().await?;
    if output.is_for_programs() {
        return output.answer(&status, tables::status);
    }
    let before = client.show_stats().await?;
    tokio::time::sleep(LOOK_APART).await;
    let (now, jobs) = (client.show_stats().await?, client.list_jobs(Some(JobState::Running)).await?);
    let rates = tables::observe::node(&before, &now);
    output.answer(&status, |status| tables::status(status) + &rates + &tables::observe::work(&jobs))
}

/// Rates and latencies of one volume, or of all that are used.
pub async fn volume_stats(
    client: &Client,
    name: Option<Name>,
    watch_s: Option<u64>,
    output: &mut Output,
) -> Result {
    let mut before = look(client, name.as_ref()).await?;
    if output.is_for_programs() && watch_s.is_none() {
        return match (&name, before.volumes.first()) {
            (Some(_), Some(only)) => output.answer(only, |_| String::new()),
            _ => output.answer(&before.volumes, |_| String::new()),
        };
    }
    let apart = watch_s.map_or(LOOK_APART, Duration::from_secs);
    if watch_s.is_some() {
        output.heading(tables::observe::HEADING)?;
    }
    loop {
        tokio::time::sleep(apart).await;
        let now = look(client, name.as_ref()).await?;
        if watch_s.is_none() {
            return output.answer(&now.volumes, |_| volumes(&before, &now));
        }
        let seconds = seconds_between(before.at, now.at);
        for volume in &now.volumes {
            let last = crate::rates::volume_before(&before, volume);
            let line = |volume: &VolumeStats| volume_line(&Look { before: last, now: volume, seconds });
            if !output.line(volume, line)? {
                return Ok(());
            }
        }
        before = now;
    }
}

async fn look(client: &Client, name: Option<&Name>) -> std::result::Result<NodeStats, Failure> {
    let Some(name) = name else { return Ok(client.show_stats().await?) };
    let volume = client.show_volume_stats(name).await?;
    Ok(NodeStats { at: volume.at, volumes: vec![volume], devices: Vec::new(), pools: Vec::new() })
}

/// Requests that took too long.
pub async fn slow_requests(client: &Client, output: &mut Output) -> Result {
    output.answer(&client.list_slow_requests().await?, tables::observe::slow)
}
