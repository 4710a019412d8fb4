//! What a command is answered by.

use quarry_env::{BufferPool, View};
use quarry_volume::Views;

use crate::sense::Sense;
use crate::status::Status;

/// The answer to a command.
#[derive(Debug)]
pub struct Reply {
    /// How it ended.
    pub status: Status,
    /// Why, where the status is [`Status::CheckCondition`].
    pub sense: Option<Sense>,
    /// Data for the initiator, at most as much as its allocation length or transfer length says.
    pub data: Views,
}

impl Reply {
    /// Done, without data.
    pub fn good() -> Self {
        Self { status: Status::Good, sense: None, data: Views::new() }
    }

    /// Done, with data.
    pub fn data(data: Views) -> Self {
        Self { status: Status::Good, sense: None, data }
    }

    /// Done, with the first `allocation` bytes of `bytes`.
    pub(crate) fn bytes(buffers: &BufferPool, bytes: &[u8], allocation: u32) -> Self {
        let bytes = &bytes[..bytes.len().min(allocation as usize)];
        if bytes.is_empty() { Self::good() } else { Self::view(buffers.copy_of(bytes)) }
    }

    fn view(view: View) -> Self {
        let mut data = Views::new();
        data.push(view);
        Self::data(data)
    }

    /// Not done.
    pub fn check(sense: Sense) -> Self {
        Self { status: Status::CheckCondition, sense: Some(sense), data: Views::new() }
    }

    /// Somebody else's reservation stands in the way.
    pub fn conflict() -> Self {
        Self { status: Status::ReservationConflict, sense: None, data: Views::new() }
    }
}

impl From<Sense> for Reply {
    fn from(sense: Sense) -> Self {
        Self::check(sense)
    }
}
