//! Flush: everything acknowledged survives power loss.

use quarry_log::LogError;
use quarry_types::Durability;
use quarry_volume::{ErrorKind, Result, Stage, VolumeError, WriteFlags};

use crate::EngineVolume;
use crate::course::Course;

pub(crate) fn log_error(operation: &'static str, error: LogError) -> VolumeError {
    VolumeError::new(ErrorKind::Unavailable, operation, "the volume's log").with_source(error)
}

impl EngineVolume {
    pub(crate) async fn flush_log(&self, course: &Course<'_>) -> Result<()> {
        let flushed = self.engine.log.flush().await.map_err(|error| log_error("flush", error));
        course.reach(Stage::Flush);
        flushed
    }

    /// What a change that has been published still owes its writer.
    pub(crate) async fn settle(
        &self,
        course: &Course<'_>,
        operation: &'static str,
        flags: WriteFlags,
    ) -> Result<()> {
        if flags.fua || self.state.head.borrow().settings.durability == Durability::Always {
            self.engine.log.flush().await.map_err(|error| log_error(operation, error))?;
            course.reach(Stage::Flush);
        }
        Ok(())
    }
}
