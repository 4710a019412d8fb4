//! Jobs, and what documents change, for people.

use quarry_api_types::{Job, StatePlan, StatedAction};

use super::{Bytes, number, optional, properties, state, table, text};

pub fn jobs(jobs: &[Job]) -> String {
    let row = |job: &Job| {
        vec![
            number(job.id),
            text(job.kind),
            text(&job.object),
            state(job.state),
            number(format!("{} %", job.percent)),
            optional(left(job)),
            text(job.began),
            optional(job.message.as_ref()),
        ]
    };
    table(&[">ID", "KIND", "OBJECT", "STATE", ">DONE", "LEFT", "BEGAN", "MESSAGE"], jobs.iter().map(row))
}

pub fn job(job: &Job) -> String {
    let mut rows = vec![
        ("Job", number(job.id)),
        ("Kind", text(job.kind)),
        ("Object", text(&job.object)),
        ("State", state(job.state)),
        ("Done", text(done(job))),
        ("Left", optional(left(job))),
        ("Message", optional(job.message.as_ref())),
        ("Can be cancelled", text(super::yes_or_no(job.can_be_cancelled))),
        ("Began", text(job.began)),
    ];
    rows.extend(job.ended.map(|ended| ("Ended", text(ended))));
    properties(rows)
}

fn done(job: &Job) -> String {
    match job.unit.as_str() {
        "bytes" => format!("{} of {}, {} %", Bytes(job.done), Bytes(job.total), job.percent),
        unit => format!("{} of {} {unit}, {} %", job.done, job.total, job.percent),
    }
}

fn left(job: &Job) -> Option<String> {
    let seconds = job.left_s?;
    Some(match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    })
}

/// What applying a document changes: a line for each thing, `+` for what is made and `~` for what is changed.
pub fn plan(plan: &StatePlan) -> String {
    if plan.changes.is_empty() {
        return "Nothing to change: everything is as stated.\n".to_owned();
    }
    let line = |change: &quarry_api_types::StatedChange| {
        let sign = match change.action {
            StatedAction::Create => '+',
            StatedAction::Change => '~',
        };
        let what = crate::output::printable(&change.what.join("; "));
        let place = crate::output::printable(&change.place.to_string());
        if what.is_empty() { format!("{sign} {place}\n") } else { format!("{sign} {place}: {what}\n") }
    };
    plan.changes.iter().map(line).collect()
}
