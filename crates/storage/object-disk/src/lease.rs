//! For how long a process may write to a place in a bucket.

use std::io;
use std::sync::Mutex;

use tokio::time::Instant;

/// Why a place in a bucket cannot be held, or not any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error(
        "another quarryd uses it (the claim of process {holder:032x} on it is being renewed): stop that one, or take the \
         device out of its pool first"
    )]
    Held { holder: u128 },
    #[error("another quarryd has taken it over")]
    Lost,
    #[error("the claim on it could not be renewed in time, so another quarryd may use it by now")]
    Overdue,
    #[error(
        "its server takes {took_ms} ms for an object of 4 KiB; a claim must be written within {max_ms} ms"
    )]
    Slow { took_ms: u128, max_ms: u128 },
}

impl From<ClaimError> for io::Error {
    fn from(error: ClaimError) -> Self {
        let kind = match error {
            ClaimError::Overdue | ClaimError::Slow { .. } => io::ErrorKind::TimedOut,
            ClaimError::Held { .. } | ClaimError::Lost => io::ErrorKind::ResourceBusy,
        };
        io::Error::new(kind, error)
    }
}

/// What a claim gives its process, until the claim is lost: disks that got it then never write again, whatever is claimed later. One
/// that nothing was claimed for keeps nobody from writing: a pool is made of devices that nobody holds yet.
#[derive(Default)]
pub(crate) struct Lease(Mutex<State>);

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Unclaimed,
    Until(Instant),
    Lost,
}

impl Lease {
    /// Of a claim that has been made.
    pub fn new(until: Instant) -> Self {
        Self(Mutex::new(State::Until(until)))
    }

    fn state(&self) -> State {
        *self.0.lock().expect("no panic under it")
    }

    /// Whether anything may be written now.
    pub fn check(&self) -> Result<(), ClaimError> {
        match self.state() {
            State::Unclaimed => Ok(()),
            State::Until(until) if Instant::now() < until => Ok(()),
            State::Until(_) => Err(ClaimError::Overdue),
            State::Lost => Err(ClaimError::Lost),
        }
    }

    /// Whether nobody else can have written since it was given.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.state(), State::Until(until) if Instant::now() < until)
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.state(), State::Lost)
    }

    pub fn extend(&self, until: Instant) {
        let mut state = self.0.lock().expect("no panic under it");
        if let State::Until(_) = *state {
            *state = State::Until(until);
        }
    }

    pub fn lose(&self) {
        *self.0.lock().expect("no panic under it") = State::Lost;
    }
}
