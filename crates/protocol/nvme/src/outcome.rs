//! What came of a command.

use quarry_env::BufferPool;
use quarry_volume::{Views, VolumeError};

use quarry_nvme_wire::Status;

use crate::failure::status_of;

/// How a command ended, with what it returns.
#[derive(Debug)]
pub struct Outcome {
    /// How it went.
    pub status: Status,
    /// Dwords 0 and 1 of the completion.
    pub result: u64,
    /// Data for the host, one view behind the other; nothing where the command failed.
    pub data: Views,
    /// The failure of the volume behind the status.
    pub error: Option<Box<VolumeError>>,
}

impl Outcome {
    /// Success with nothing to return.
    pub fn done() -> Self {
        Status::SUCCESS.into()
    }

    /// Success with a number.
    pub fn result(result: u64) -> Self {
        Self { result, ..Self::done() }
    }

    /// Success with data.
    pub fn data(data: Views) -> Self {
        Self { data, ..Self::done() }
    }

    /// Success with a copy of `bytes`, of which there must be some.
    pub fn page(buffers: &BufferPool, bytes: &[u8]) -> Self {
        Self::data(Views::from([buffers.copy_of(bytes)]))
    }
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        Self { status, result: 0, data: Views::new(), error: None }
    }
}

impl From<VolumeError> for Outcome {
    fn from(error: VolumeError) -> Self {
        let status = status_of(error.kind);
        Self { error: Some(Box::new(error)), ..status.into() }
    }
}
