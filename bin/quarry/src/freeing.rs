//! Waiting until the space of what was deleted is free.

use std::collections::BTreeSet;
use std::time::Duration;

use quarry_api_types::{Freeing, Name, Pool};
use quarry_client::{Client, ClientError};
use tokio::time::Instant;

use crate::arguments::WaitForSpace;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::progress::Progress;

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(200);
/// A pool that does not get on for so long will not: one step takes a few minutes on slow disks.
const STALLED_AFTER: Duration = Duration::from_secs(600);

/// The pools of these volumes, if they are to be waited for.
pub async fn pools_of(
    client: &Client,
    wait: &WaitForSpace,
    volumes: &[Name],
) -> Result<BTreeSet<Name>, Failure> {
    let mut pools = BTreeSet::new();
    for volume in volumes.iter().filter(|_| wait.wait) {
        pools.extend(client.show_volume(volume).await?.pool);
    }
    Ok(pools)
}

/// Waits until the pools have nothing left to free; how far they are goes to stderr.
pub async fn wait(client: &Client, pools: &BTreeSet<Name>, wait: &WaitForSpace) -> Result<(), Failure> {
    for pool in pools {
        wait_for(client, pool, !wait.no_progress).await?;
    }
    Ok(())
}

async fn wait_for(client: &Client, pool: &Name, is_shown: bool) -> Result<(), Failure> {
    let mut last = Freeing::default();
    let (mut changed, mut most) = (Instant::now(), 0);
    let mut progress: Option<Progress> = None;
    let ended = loop {
        let freeing = match client.show_pool(pool).await {
            Ok(Pool { freeing, .. }) => freeing,
            // Deleted meanwhile: nothing of it is left.
            Err(ClientError::Problem(problem)) if problem.status == 404 => break Ok(()),
            // What was asked for is done, and whether its space is free already is not for everybody to see: not for tenants.
            Err(ClientError::Problem(problem)) if problem.status == 403 => {
                note(&format!(
                    "The space of what was deleted is freed in the background; how far that is in pool '{pool}' is not shown to you."
                ));
                break Ok(());
            }
            Err(error) => break Err(error.into()),
        };
        if freeing.is_done() {
            break Ok(());
        }
        if freeing != last {
            (last, changed) = (freeing, Instant::now());
        } else if changed.elapsed() > STALLED_AFTER {
            break Err(stalled(pool));
        }
        let left = freeing.left_bytes();
        if left > most || progress.is_none() {
            // Somebody has deleted more, or it begins.
            most = most.max(left);
            progress.take().into_iter().for_each(Progress::end);
            progress = Some(Progress::begin("freeing", most, is_shown));
        }
        if let Some(progress) = &mut progress {
            progress.show((most - left) as f64 * 100.0 / most.max(1) as f64);
        }
        tokio::time::sleep(POLL).await;
    };
    progress.into_iter().for_each(Progress::end);
    ended
}

fn stalled(pool: &Name) -> Failure {
    Failure {
        exit: Exit::Unavailable,
        message: format!("it was deleted, but pool '{pool}' does not get on with freeing its space"),
        cause: None,
        next_step: format!("The log of quarryd says why; `quarry pool show {pool}` shows what is left."),
    }
}
