//! Jobs: listed, waited for, cancelled.

use std::time::Duration;

use quarry_api_types::{Job, JobState};
use quarry_client::{Client, ClientError};
use tokio::time::Instant;

use crate::arguments::JobCommand;
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};
use crate::progress::Progress;
use crate::tables::jobs as tables;

/// How often a job is looked at.
const POLL: Duration = Duration::from_millis(200);
/// A node that is started again within so long goes on with its jobs, and so does whoever waits for them.
const AWAY_MAX: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, Failure>;

pub async fn run(client: &Client, command: JobCommand, output: &mut Output) -> Result<()> {
    match command {
        JobCommand::List { state } => {
            output.answer(&client.list_jobs(state).await?, |jobs| tables::jobs(jobs))
        }
        JobCommand::Show { id } => output.answer(&client.show_job(id).await?, tables::job),
        JobCommand::Cancel { id } => output.answer(&client.cancel_job(id).await?, tables::job),
        JobCommand::Wait { id, no_progress } => wait(client, id, !no_progress, output).await,
    }
}

/// Waits until a job has ended, and shows it. One that was not done is a failure.
pub async fn wait(client: &Client, id: u64, is_shown: bool, output: &mut Output) -> Result<()> {
    let job = until_over(client, id, is_shown).await?;
    let failed = |exit, what: &str| Failure {
        exit,
        message: format!("job {id} {what}"),
        cause: job.message.clone(),
        next_step: format!("`quarry job show {id}` shows it; begin it anew once the cause is gone."),
    };
    match job.state {
        JobState::Failed => Err(failed(Exit::Failure, "failed")),
        JobState::Cancelled => Err(failed(Exit::Conflict, "was cancelled")),
        JobState::Done | JobState::Running => output.answer(&job, tables::job),
    }
}

async fn until_over(client: &Client, id: u64, is_shown: bool) -> Result<Job> {
    let mut progress: Option<Progress> = None;
    let (mut total, mut away): (u64, Option<Instant>) = (0, None);
    let ended = loop {
        match client.show_job(id).await {
            Ok(job) if job.is_over() => break Ok(job),
            Ok(job) => {
                away = None;
                if progress.is_none() || job.total != total {
                    total = job.total;
                    progress.take().into_iter().for_each(Progress::end);
                    progress = Some(Progress::begin_in(job.kind.as_str(), total, &job.unit, is_shown));
                }
                if let Some(progress) = &mut progress {
                    progress.show(f64::from(job.percent));
                }
            }
            Err(ClientError::Unreachable { .. } | ClientError::Interrupted { .. })
                if away.is_none_or(|since| since.elapsed() < AWAY_MAX) =>
            {
                if away.is_none() {
                    note("the node does not answer; waiting until it does");
                }
                away.get_or_insert_with(Instant::now);
            }
            Err(error) => break Err(error.into()),
        }
        tokio::time::sleep(POLL).await;
    };
    progress.into_iter().for_each(Progress::end);
    ended
}
