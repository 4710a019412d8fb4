//! `quarry status`, `quarry volume stats`, `quarry slow-requests`: how the node and its volumes are just now.

use std::time::Duration;

use quarry_api_types::{JobState, Name, NodeStats, Timestamp, VolumeStats};
use quarry_client::{Client, ClientError};

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
    if let Some(name) = name {
        return Ok(of_volumes(vec![client.show_volume_stats(name).await?]));
    }
    match client.show_stats().await {
        // Those of the whole node are not for everybody to see: tenants have those of their own volumes.
        Err(ClientError::Problem(problem)) if problem.status == 403 => own_volumes(client).await,
        stats => Ok(stats?),
    }
}

/// The volumes that may be seen and with which hosts have done anything.
async fn own_volumes(client: &Client) -> std::result::Result<NodeStats, Failure> {
    let mut own = Vec::new();
    for volume in client.list_volumes().await? {
        match client.show_volume_stats(&volume.name).await {
            Ok(stats) => own.push(stats),
            // Deleted meanwhile.
            Err(ClientError::Problem(problem)) if problem.status == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    own.retain(|volume| {
        let kinds = [&volume.read, &volume.write, &volume.zero, &volume.discard, &volume.flush];
        volume.in_flight > 0 || kinds.iter().any(|kind| kind.operations > 0)
    });
    Ok(of_volumes(own))
}

fn of_volumes(volumes: Vec<VolumeStats>) -> NodeStats {
    let at = volumes.iter().map(|volume| volume.at).max().unwrap_or(Timestamp::from_unix_ms(0));
    NodeStats { at, volumes, devices: Vec::new(), pools: Vec::new() }
}

/// Requests that took too long.
pub async fn slow_requests(client: &Client, output: &mut Output) -> Result {
    output.answer(&client.list_slow_requests().await?, tables::observe::slow)
}
