//! What drives say of themselves (S.M.A.R.T.), by smartctl, and what that means.
//!
//! What it is: [`ask`] runs `smartctl --json` on a block device, [`Report::parse`] takes what it prints (ATA, NVMe and SCSI), and
//! [`Report::findings`] judges it. What it is not: it polls nothing and keeps nothing. Virtual disks, files and exports have
//! no S.M.A.R.T.; then, and where smartctl is not installed, the answer says so, and that is no fault of the device.

mod ask;
mod report;

pub use ask::{Silence, ask};
pub use report::{Finding, Report, Verdict};
