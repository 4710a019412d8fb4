//! The look at all entries.

use quarry_api_types::{AuditVerification, VerifyAudit};
use redb::{ReadTransaction, ReadableTable};

use crate::archive::{self, Opened};
use crate::chain::{Place, Walk};
use crate::log::{ARCHIVES, ENTRIES, META_DROPPED, META_GONE, META_LAST, Redb, place};
use crate::mark::Found;
use crate::open::{META_REPLACED, Replaced};
use crate::{AuditLog, Result};

/// Where the chain begins, where it leaves the files of older entries, and where it ends.
struct Ends {
    gone: Place,
    dropped: Place,
    last: Place,
}

impl AuditLog {
    /// Looks at every entry: whether it is what was written, in its place, and whether all are there, the last one that was written
    /// included; and whether the one that `known` names still has the hash that it had.
    pub fn verify(&self, known: &VerifyAudit) -> Result<AuditVerification> {
        let writing = self.writing.lock().expect("nobody panics with this lock");
        let mark = self.kept.as_ref().map(|(_, mark)| mark.read()).transpose()?;
        self.read(|transaction| {
            // Files of older entries are opened before anybody can drop them.
            let opened = self.archives(transaction)?;
            drop(writing);
            let ends = ends(transaction)?;
            let problems = [
                AuditLog::meta(transaction, META_REPLACED)?.map(|text| Replaced::parse(&text).to_string()),
                broken(transaction, opened, &ends, known)?,
                mark.and_then(|mark| misses(&mark, &ends.last)),
            ];
            let problem = problems.into_iter().flatten().reduce(|all, next| format!("{all}; {next}"));
            Ok(AuditVerification {
                intact: problem.is_none(),
                first: ends.gone.number + 1,
                last: ends.last.number,
                hash: ends.last.hash,
                problem,
            })
        })
    }

    fn archives(&self, transaction: &ReadTransaction) -> Redb<Vec<Opened>> {
        let Some((directory, _)) = &self.kept else { return Ok(Vec::new()) };
        let mut opened = Vec::new();
        for row in transaction.open_table(ARCHIVES)?.iter()? {
            let (first, text) = row?;
            let last = place(Some(text.value().to_owned()));
            opened.push(Opened::open(archive::path(directory, first.value(), last.number), last));
        }
        Ok(opened)
    }
}

fn ends(transaction: &ReadTransaction) -> Redb<Ends> {
    let text = |key| AuditLog::meta(transaction, key);
    let dropped = place(text(META_DROPPED)?);
    let last = place(text(META_LAST)?);
    // A file from before there were files of older entries has dropped what it does not have; so has a log that nobody keeps.
    let has_archives = transaction.open_table(ARCHIVES)?.first()?.is_some();
    let gone = match has_archives {
        true => place(text(META_GONE)?),
        false => dropped.clone(),
    };
    Ok(Ends { gone, dropped, last })
}

/// What is wrong with the chain, the first thing that is found.
fn broken(
    transaction: &ReadTransaction,
    opened: Vec<Opened>,
    ends: &Ends,
    known: &VerifyAudit,
) -> Redb<Option<String>> {
    let mut walk = Walk { at: ends.gone.clone(), known };
    let walked = opened.into_iter().try_for_each(|file| file.walk(&mut walk));
    if let Err(problem) = walked.and_then(|()| walk.ends_at(&ends.dropped)) {
        return Ok(Some(problem));
    }
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (number, json) = row?;
        if let Err(problem) = walk.numbered(number.value()).and_then(|()| walk.step(json.value())) {
            return Ok(Some(problem));
        }
    }
    let is_missing = known.number.is_some_and(|number| number > walk.at.number);
    Ok(match walk.ends_at(&ends.last) {
        Ok(()) if is_missing => Some(format!("the log ends with entry {}", walk.at.number)),
        ended => ended.err(),
    })
}

/// What the mark says against a log that ends at `last`.
fn misses(mark: &Found, last: &Place) -> Option<String> {
    match mark {
        Found::Place(place) if place == last => None,
        Found::Place(place) if place.number > last.number => Some(format!(
            "entries {} to {} are missing: the log's mark names them",
            last.number + 1,
            place.number
        )),
        Found::Place(place) => {
            Some(format!("the log's mark names entry {}, which is not the last", place.number))
        }
        Found::Nothing => Some("the log's mark, audit.mark, is missing".to_owned()),
        Found::Unreadable => Some("the log's mark, audit.mark, cannot be read".to_owned()),
    }
}
