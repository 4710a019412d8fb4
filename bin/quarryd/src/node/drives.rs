//! Asking the drives below the pools' block devices how they are (S.M.A.R.T.), now and then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quarry_api_types::{DeviceKind, DriveHealth, DriveVerdict, Timestamp};
use quarry_smart::{Report, Silence, Verdict, ask};

use super::{DataNode, now};

/// What is run.
const PROGRAM: &str = "smartctl";
/// How often each drive is asked: its figures change slowly, and asking is not free.
const ASK_EVERY: Duration = Duration::from_secs(3600);
/// How often it is looked whether there are others.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What drives have said, by the paths of devices.
pub(super) type Drives = BTreeMap<String, (tokio::time::Instant, DriveHealth)>;

impl DataNode {
    /// What the drive of a device has said, if it was asked.
    pub(super) fn drive_at(&self, path: &Path) -> Option<DriveHealth> {
        let drives = self.drives.read().expect("nobody panics with this lock");
        drives.get(&path.display().to_string()).map(|(_, drive)| drive.clone())
    }

    /// Asks drives, each when it is due. Runs until the node ends.
    pub async fn ask_drives(&self) {
        loop {
            match self.drives_due().await {
                Ok(due) => {
                    for path in due {
                        let answer = ask(PROGRAM, &path).await;
                        let drive = described(answer, now());
                        let known = (tokio::time::Instant::now(), drive);
                        let mut drives = self.drives.write().expect("nobody panics with this lock");
                        drives.insert(path.display().to_string(), known);
                    }
                }
                // The next look tells more; while the node stops there is none.
                Err(error) => tracing::debug!(%error, "the pools could not be looked at"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The block devices of pools whose drives are to be asked now.
    async fn drives_due(&self) -> quarry_node_api::Result<Vec<PathBuf>> {
        let pools = self.describe_pools().await?;
        let devices = pools.iter().flat_map(|pool| &pool.devices);
        let blocks = devices.filter(|device| device.kind == DeviceKind::Block);
        let paths: Vec<String> = blocks.map(|device| device.path.clone()).collect();
        let mut drives = self.drives.write().expect("nobody panics with this lock");
        drives.retain(|path, _| paths.contains(path));
        let is_due = |path: &String| drives.get(path).is_none_or(|(asked, _)| asked.elapsed() >= ASK_EVERY);
        Ok(paths.iter().filter(|path| is_due(path)).map(PathBuf::from).collect())
    }
}

fn described(answer: Result<Report, Silence>, asked: Timestamp) -> DriveHealth {
    let unknown = |why: String| DriveHealth {
        verdict: DriveVerdict::Unknown,
        causes: Vec::new(),
        unknown: Some(why),
        asked,
        model: None,
        temperature_celsius: None,
        power_on_hours: None,
        wear_percent: None,
        reallocated: None,
        pending: None,
        media_errors: None,
    };
    match answer {
        Err(Silence::NotInstalled) => {
            unknown(format!("{PROGRAM} is not installed: install the package smartmontools"))
        }
        Err(Silence::NoData(why)) => unknown(why),
        Ok(report) => DriveHealth {
            verdict: match report.verdict() {
                Verdict::Ok => DriveVerdict::Ok,
                Verdict::Warning => DriveVerdict::Warning,
                Verdict::Failing => DriveVerdict::Failing,
            },
            causes: report.findings().iter().map(|finding| finding.message.clone()).collect(),
            unknown: None,
            model: report.model,
            temperature_celsius: report.temperature_celsius,
            power_on_hours: report.power_on_hours,
            wear_percent: report.wear_percent,
            reallocated: report.reallocated,
            pending: report.pending,
            media_errors: report.media_errors,
            asked,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_cannot_be_asked_is_unknown_and_says_why() {
        let at = Timestamp::from_unix_ms(1);
        let missing = described(Err(Silence::NotInstalled), at);
        assert_eq!(missing.verdict, DriveVerdict::Unknown);
        assert!(missing.unknown.unwrap().contains("install the package smartmontools"));
        let none = described(Err(Silence::NoData("it has none".to_owned())), at);
        assert_eq!((none.verdict, none.unknown.as_deref()), (DriveVerdict::Unknown, Some("it has none")));
        let text = br#"{"smart_status":{"passed":false},"temperature":{"current":41}}"#;
        let failing = described(Ok(Report::parse(text).unwrap()), at);
        assert_eq!((failing.verdict, failing.temperature_celsius), (DriveVerdict::Failing, Some(41)));
        assert_eq!(failing.causes, ["the drive says that it is failing"]);
    }
}
