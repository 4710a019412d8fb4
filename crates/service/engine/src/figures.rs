//! What is told of the requests of hosts, and of what the engine does for them.

use quarry_histogram::Distribution;
use quarry_types::VolumeId;
use quarry_volume::{FiguresSeen, SlowLog, Stage};

use crate::Engine;

/// What hosts have done with the volumes of an engine since it was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineFigures {
    /// Each volume that there is.
    pub volumes: Vec<(VolumeId, FiguresSeen)>,
    /// All volumes and snapshots, those that are gone included.
    pub total: FiguresSeen,
    /// How long requests were in each stage.
    pub stages: Vec<(Stage, Distribution)>,
    /// Looks into maps.
    pub lookups: u64,
    /// Of these, those that had to read nodes of the map.
    pub lookups_missed: u64,
}

impl Engine {
    /// What hosts have done.
    pub fn figures(&self) -> EngineFigures {
        EngineFigures {
            volumes: self.volumes.all().iter().map(|volume| (volume.id, volume.figures.look())).collect(),
            total: self.volumes.figures(),
            stages: Stage::ALL.into_iter().zip(self.courses.stages()).collect(),
            lookups: self.courses.lookups.get(),
            lookups_missed: self.courses.lookups_missed.get(),
        }
    }

    /// Requests that took too long.
    pub fn slow(&self) -> &SlowLog {
        &self.courses.slow
    }
}
