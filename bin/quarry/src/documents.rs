//! Documents of intended state: shown, compared with the node, and made so.

mod emit;
mod read;
pub(crate) mod yaml;

use quarry_api_types::{State, StatePlan};
use quarry_client::{Client, ClientError};

use crate::arguments::{ApplyCommand, DiffCommand, StateCommand};
use crate::failure::{Exit, Failure};
use crate::jobs;
use crate::output::Output;
use crate::tables;

use self::read::{Documents, read};

type Result<T> = std::result::Result<T, Failure>;

/// `quarry state export`: YAML as people write it, or the exact object for programs.
pub async fn run(client: &Client, command: StateCommand, output: &mut Output) -> Result<()> {
    let StateCommand::Export { versions } = command;
    let state = client.show_state().await?;
    let state = if versions { state } else { state.without_versions() };
    output.answer(&state, text)
}

fn text(state: &State) -> String {
    match serde_json::to_value(state) {
        Ok(value) => emit::to_yaml(&value),
        Err(error) => format!("# {error}\n"),
    }
}

pub async fn diff(client: &Client, command: DiffCommand, output: &mut Output) -> Result<()> {
    let documents = read(&command.files)?;
    let plan = planned(client, &documents).await?;
    output.answer(&plan, tables::jobs::plan)
}

pub async fn apply(client: &Client, command: ApplyCommand, output: &mut Output) -> Result<()> {
    let documents = read(&command.files)?;
    let plan = planned(client, &documents).await?;
    if command.dry_run {
        return output.answer(&plan, tables::jobs::plan);
    }
    if plan.changes.is_empty() {
        return output.answer(&plan, tables::jobs::plan);
    }
    output.done(&tables::jobs::plan(&plan))?;
    let job = client.apply_state(&documents.state).await?;
    match command.no_wait {
        true => output.answer(&job, tables::jobs::job),
        false => jobs::wait(client, job.id, !command.no_progress, output).await,
    }
}

/// What applying would do; an error when it cannot be done, with the place of everything that is wrong.
async fn planned(client: &Client, documents: &Documents) -> Result<StatePlan> {
    if documents.state == State::default() {
        return Err(Failure {
            exit: Exit::Usage,
            message: "the document states nothing".to_owned(),
            cause: None,
            next_step: "`quarry state export` shows the form.".to_owned(),
        });
    }
    documents.state.check().map_err(|invalid| Failure {
        exit: Exit::Usage,
        message: invalid.to_string(),
        cause: None,
        next_step: "State it once; files of a folder are one document.".to_owned(),
    })?;
    let plan = client.plan_state(&documents.state).await.map_err(|error| with_place(error, documents))?;
    let problems: Vec<String> = plan
        .problems
        .iter()
        .map(|problem| format!("{}: {}", documents.place(&problem.place), problem.message))
        .collect();
    let is_conflict = plan.problems.iter().any(|problem| problem.is_conflict);
    match problems.split_first() {
        None => Ok(plan),
        Some((first, others)) => Err(Failure {
            exit: if is_conflict { Exit::Conflict } else { Exit::Usage },
            message: first.clone(),
            cause: (!others.is_empty()).then(|| format!("there is more: {}", others.join("; "))),
            next_step: match is_conflict {
                true => "Somebody has changed it: export it anew, or drop `version` to have it as you say."
                    .to_owned(),
                false => "Correct the document; nothing was changed.".to_owned(),
            },
        }),
    }
}

/// What the node says of the document's form, with the file and line of it.
fn with_place(error: ClientError, documents: &Documents) -> Failure {
    let place = match &error {
        ClientError::Problem(problem) => problem.pointer.as_ref(),
        _ => None,
    };
    let Some(pointer) = place.cloned() else { return error.into() };
    let failure = Failure::from(error);
    let what = failure.message.strip_prefix(&format!("{}: ", pointer.trim_start_matches('/')));
    match (documents.place_of_pointer(&pointer), what) {
        (Some(place), Some(what)) => Failure { message: format!("{place}: {what}"), ..failure },
        _ => failure,
    }
}
