//! What went wrong, in words for people and in a number for scripts.

use std::error::Error;
use std::process::ExitCode;

use quarry_api_types::{Problem, ProblemCode};
use quarry_client::ClientError;

/// The exit codes, as `--help` documents them. They never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A failure that no other code names.
    Failure = 1,
    /// An argument that can never be right; clap uses the same number.
    Usage = 2,
    /// The thing does not exist.
    NotFound = 3,
    /// The name is taken, or the thing is in use.
    Conflict = 4,
    /// The node cannot be reached, or cannot do it now.
    Unavailable = 5,
    /// Not enough space.
    NoSpace = 6,
    /// No token, one that has ended, or one that may not do it.
    NotAllowed = 7,
    /// What was looked at is damaged.
    Damaged = 8,
    /// A signal ended it; what it had begun it has undone.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that was not done.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// What did not work, naming the thing.
    pub message: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// What to do next.
    pub next_step: String,
}

impl Failure {
    /// This one, and another one that came while cleaning up after it.
    pub fn and(self, also: Self) -> Self {
        Self {
            message: format!("{}; besides, {}", self.message, also.message),
            next_step: format!("{} {}", also.next_step, self.next_step),
            ..self
        }
    }

    /// Something on this side of the API.
    pub fn local(message: &str, error: &dyn Error) -> Self {
        Self {
            exit: Exit::Failure,
            message: message.to_owned(),
            cause: Some(error.to_string()),
            next_step: "Correct the cause and run the command again.".to_owned(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (message, cause) = (error.to_string(), error.root_cause());
        let (exit, next_step) = match error {
            ClientError::Problem(problem) => (exit_of(&problem), problem.next_step),
            // Of what rustls says about a certificate, its words are all that comes through.
            ClientError::Unreachable { .. } if cause.as_ref().is_some_and(|cause| cause.contains("certificate")) => (
                Exit::Unavailable,
                "Trust the node's certificate with --ca-file or QUARRY_CA (api-ca.pem in its data directory), or \
                 name it as the certificate does with --endpoint."
                    .to_owned(),
            ),
            ClientError::Unreachable { .. } => (
                Exit::Unavailable,
                "Start one with `quarryd --data-dir DIR`, or name another endpoint with --endpoint or \
                 QUARRY_ENDPOINT."
                    .to_owned(),
            ),
            ClientError::Interrupted { .. } => (
                Exit::Unavailable,
                "The node may have done it, or may yet do it: look with `quarry status` and the list commands before \
                 trying again."
                    .to_owned(),
            ),
            ClientError::Silent { .. } => {
                (Exit::Unavailable, "Look whether it is there with `quarry status`, and watch again.".to_owned())
            }
            ClientError::BadIdentity { .. } => {
                (Exit::Usage, "Check --token-file, QUARRY_TOKEN and --ca-file.".to_owned())
            }
            ClientError::NotQuarry { .. } => (
                Exit::Failure,
                "Check --endpoint and QUARRY_ENDPOINT, and that quarry and quarryd are of one version.".to_owned(),
            ),
        };
        Self { exit, message, cause, next_step }
    }
}

/// By the code where this version knows it, else by the HTTP status.
fn exit_of(problem: &Problem) -> Exit {
    match problem.code {
        ProblemCode::Invalid | ProblemCode::TooLarge => Exit::Usage,
        ProblemCode::NotFound => Exit::NotFound,
        ProblemCode::Conflict | ProblemCode::InUse | ProblemCode::Changed => Exit::Conflict,
        ProblemCode::Unavailable | ProblemCode::TooManyRequests => Exit::Unavailable,
        ProblemCode::Unauthenticated | ProblemCode::Forbidden => Exit::NotAllowed,
        ProblemCode::NoSpace => Exit::NoSpace,
        ProblemCode::Unsupported
        | ProblemCode::Internal
        | ProblemCode::UnknownRoute
        | ProblemCode::MethodNotAllowed => Exit::Failure,
        ProblemCode::Unknown => match problem.status {
            400 | 422 => Exit::Usage,
            401 | 403 => Exit::NotAllowed,
            404 => Exit::NotFound,
            409 => Exit::Conflict,
            503 => Exit::Unavailable,
            _ => Exit::Failure,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_from_a_newer_node_is_judged_by_its_status() {
        for (status, exit) in
            [(404, Exit::NotFound), (409, Exit::Conflict), (503, Exit::Unavailable), (418, Exit::Failure)]
        {
            let problem = Problem::new(ProblemCode::Unknown, status, "d", "n");
            assert_eq!(exit_of(&problem), exit);
        }
    }
}
