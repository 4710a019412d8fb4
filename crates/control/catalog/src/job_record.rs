//! What the catalog remembers of jobs: those that have ended and those that are under way, and the document that is being applied.

use quarry_api_types::{Job, State};
use serde::{Deserialize, Serialize};

use crate::codec::Record;

/// A job as it was when it began or ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// The job.
    pub job: Job,
}

/// The document that is being made so. There is one at most.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApplyRecord {
    /// The number of its job.
    pub job: u64,
    /// The document.
    pub state: State,
}

impl Record for JobRecord {}
impl Record for ApplyRecord {}

#[cfg(test)]
mod tests {
    use quarry_api_types::{JobKind, JobState, Timestamp};

    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn the_form_of_the_records_is_fixed() {
        let job = Job {
            id: 7,
            kind: JobKind::Drain,
            object: "/dev/sdb".to_owned(),
            state: JobState::Done,
            done: 4096,
            total: 4096,
            unit: "bytes".to_owned(),
            percent: 100,
            left_s: None,
            message: None,
            can_be_cancelled: false,
            began: Timestamp::from_unix_ms(1_795_167_000_000),
            ended: Some(Timestamp::from_unix_ms(1_795_167_060_000)),
        };
        let bytes = encode(&JobRecord { job: job.clone() });
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"record\":{\"job\":{\"id\":7,\"kind\":\"drain\",\"object\":\"/dev/sdb\",\"state\":\"done\",\
             \"done\":4096,\"total\":4096,\"unit\":\"bytes\",\"percent\":100,\"can_be_cancelled\":false,\
             \"began\":\"2026-11-20T09:30:00Z\",\"ended\":\"2026-11-20T09:31:00Z\"}}}"
        );
        assert_eq!(decode::<JobRecord>(&bytes).unwrap().job, job);
        let apply = ApplyRecord { job: 8, state: State::default() };
        assert_eq!(encode(&apply), br#"{"version":1,"record":{"job":8,"state":{}}}"#);
        assert_eq!(decode::<ApplyRecord>(&encode(&apply)).unwrap(), apply);
    }
}
