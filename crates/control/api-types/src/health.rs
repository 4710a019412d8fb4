//! How well something is, with the causes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

words! {
    /// How well something is. Ordered: the worst of several is their maximum.
    pub enum HealthLevel {
        /// Nothing to do.
        Ok = "ok",
        /// It serves, but protection, capacity or speed is less than asked for.
        Warning = "warning",
        /// It does not serve, or the next fault loses data.
        Critical = "critical",
    }
}

/// A level and everything that made it so. No causes means [`HealthLevel::Ok`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The worst level of all causes.
    pub level: HealthLevel,
    /// Why the level is not `ok`, the worst first.
    pub causes: Vec<Cause>,
}

/// One reason for a level, written for the person who must act.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// How bad this one is.
    pub level: HealthLevel,
    /// What is wrong, naming the thing.
    pub message: String,
    /// What to do about it.
    pub next_step: String,
}

impl Default for Health {
    fn default() -> Self {
        Self::ok()
    }
}

impl Health {
    /// Nothing is wrong.
    pub fn ok() -> Self {
        Self { level: HealthLevel::Ok, causes: Vec::new() }
    }

    /// The level that follows from `causes`, which are put into order, worst first.
    pub fn from_causes(mut causes: Vec<Cause>) -> Self {
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.level));
        let level = causes.first().map_or(HealthLevel::Ok, |cause| cause.level);
        Self { level, causes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_cause_rules() {
        let cause = |level, message: &str| Cause { level, message: message.into(), next_step: String::new() };
        let health = Health::from_causes(vec![
            cause(HealthLevel::Warning, "first"),
            cause(HealthLevel::Critical, "second"),
            cause(HealthLevel::Warning, "third"),
        ]);
        assert_eq!(health.level, HealthLevel::Critical);
        let order: Vec<_> = health.causes.iter().map(|cause| cause.message.as_str()).collect();
        assert_eq!(order, ["second", "first", "third"]);
        assert_eq!(Health::from_causes(Vec::new()), Health::ok());
    }
}
