//! The output of `smartctl --json`, and the verdict on it.

use serde::Deserialize;

/// From so much of its rated wear on a drive should be replaced, in percent.
const WEAR_WARNING_PERCENT: u64 = 90;
/// ATA attributes, by number: what their raw values count.
const REALLOCATED_SECTORS: u32 = 5;
const REPORTED_UNCORRECTABLE: u32 = 187;
const PENDING_SECTORS: u32 = 197;
const OFFLINE_UNCORRECTABLE: u32 = 198;
/// Parts of names of ATA attributes whose normalised value is what is left of a drive's life, in percent.
const LIFE_LEFT_NAMES: [&str; 4] = ["Wear_Leveling", "Wearout", "Life_Left", "Lifetime_Remain"];
/// Raw values beyond are several numbers in one.
const RAW_MAX: u64 = u32::MAX as u64;

/// How well a drive is by its own account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Nothing speaks against it.
    Ok,
    /// It has begun to wear out or to lose places.
    Warning,
    /// It says that it is about to fail, or has.
    Failing,
}

/// Something that speaks against a drive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// What it is, for people.
    pub message: String,
}

/// What a drive says of itself. Figures that it does not know are absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What it is called.
    pub model: Option<String>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<i64>,
    /// Hours for which it has been on.
    pub power_on_hours: Option<u64>,
    /// How much of its rated wear is used, in percent; may exceed 100.
    pub wear_percent: Option<u64>,
    /// Sectors that it has replaced.
    pub reallocated: Option<u64>,
    /// Sectors that it cannot read and has not replaced yet.
    pub pending: Option<u64>,
    /// Reads or writes that it could not correct.
    pub media_errors: Option<u64>,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Output {
    model_name: Option<String>,
    smart_status: Option<Status>,
    smart_support: Option<Support>,
    temperature: Option<Temperature>,
    power_on_time: Option<PowerOn>,
    endurance_used: Option<Endurance>,
    ata_smart_attributes: Option<Attributes>,
    nvme_smart_health_information_log: Option<NvmeLog>,
    scsi_grown_defect_list: Option<u64>,
    scsi_percentage_used_endurance_indicator: Option<u64>,
    scsi_error_counter_log: Option<ScsiErrors>,
    smartctl: Option<Smartctl>,
}

#[derive(Deserialize)]
struct Smartctl {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    string: String,
}

#[derive(Deserialize)]
struct Status {
    passed: bool,
}

/// Versions of smartctl differ in whether this is an object; what is not understood says nothing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Support {
    Known { available: bool },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Temperature {
    current: Option<i64>,
}

#[derive(Deserialize)]
struct PowerOn {
    hours: Option<u64>,
}

#[derive(Deserialize)]
struct Endurance {
    current_percent: Option<u64>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    table: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    id: u32,
    #[serde(default)]
    name: String,
    value: Option<u64>,
    #[serde(default)]
    when_failed: String,
    raw: Option<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    value: u64,
}

#[derive(Deserialize)]
struct NvmeLog {
    #[serde(default)]
    critical_warning: u64,
    percentage_used: Option<u64>,
    media_errors: Option<u64>,
    available_spare: Option<u64>,
}

#[derive(Deserialize)]
struct ScsiErrors {
    read: Option<ScsiCounter>,
    write: Option<ScsiCounter>,
    verify: Option<ScsiCounter>,
}

#[derive(Deserialize)]
struct ScsiCounter {
    #[serde(default)]
    total_uncorrected_errors: u64,
}

impl Report {
    /// What smartctl has printed. An error is a sentence for people.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let output: Output = serde_json::from_slice(json)
            .map_err(|error| format!("what smartctl has printed is not understood: {error}"))?;
        let has_data = output.smart_status.is_some()
            || output.ata_smart_attributes.is_some()
            || output.nvme_smart_health_information_log.is_some();
        if !has_data || matches!(output.smart_support, Some(Support::Known { available: false })) {
            let said = output.smartctl.and_then(|smartctl| smartctl.messages.into_iter().next());
            let said = said.map(|message| format!(" (smartctl: {})", message.string)).unwrap_or_default();
            return Err(format!("the device has no S.M.A.R.T. data{said}"));
        }
        let mut report = Self {
            model: output.model_name,
            temperature_celsius: output.temperature.and_then(|temperature| temperature.current),
            power_on_hours: output.power_on_time.and_then(|time| time.hours),
            wear_percent: output.endurance_used.and_then(|endurance| endurance.current_percent),
            ..Self::default()
        };
        if output.smart_status.is_some_and(|status| !status.passed) {
            report.find(Verdict::Failing, "the drive says that it is failing".to_owned());
        }
        if let Some(attributes) = output.ata_smart_attributes {
            report.take_ata(&attributes.table);
        }
        if let Some(log) = output.nvme_smart_health_information_log {
            report.take_nvme(&log);
        }
        report.reallocated = report.reallocated.or(output.scsi_grown_defect_list);
        report.wear_percent = report.wear_percent.or(output.scsi_percentage_used_endurance_indicator);
        if let Some(errors) = output.scsi_error_counter_log {
            let counters = [errors.read, errors.write, errors.verify].into_iter().flatten();
            report.media_errors = Some(counters.map(|counter| counter.total_uncorrected_errors).sum());
        }
        report.judge_figures();
        Ok(report)
    }

    fn find(&mut self, verdict: Verdict, message: String) {
        self.findings.push(Finding { verdict, message });
    }

    fn take_ata(&mut self, table: &[Attribute]) {
        let raw = |wanted: u32| {
            let found = table.iter().find(|attribute| attribute.id == wanted);
            found
                .and_then(|attribute| attribute.raw.as_ref())
                .map(|raw| raw.value)
                .filter(|&raw| raw <= RAW_MAX)
        };
        self.reallocated = raw(REALLOCATED_SECTORS);
        self.pending = raw(PENDING_SECTORS);
        let uncorrectable = [raw(REPORTED_UNCORRECTABLE), raw(OFFLINE_UNCORRECTABLE)];
        self.media_errors = uncorrectable.into_iter().flatten().max();
        let tells_life =
            |attribute: &&Attribute| LIFE_LEFT_NAMES.iter().any(|name| attribute.name.contains(name));
        let left = table.iter().filter(tells_life).filter_map(|attribute| attribute.value).min();
        self.wear_percent = self.wear_percent.or(left.map(|left| 100_u64.saturating_sub(left)));
        for attribute in table.iter().filter(|attribute| attribute.when_failed == "now") {
            let message = format!("attribute {} ({}) is below its threshold", attribute.id, attribute.name);
            self.find(Verdict::Failing, message);
        }
    }

    /// NVMe Base 2.0 figure 207, "Critical Warning".
    fn take_nvme(&mut self, log: &NvmeLog) {
        (self.wear_percent, self.media_errors) = (log.percentage_used, log.media_errors);
        let spare = log.available_spare.map(|spare| format!(" ({spare} % left)")).unwrap_or_default();
        for (bit, verdict, message) in [
            (0, Verdict::Failing, format!("the spare space is below its threshold{spare}")),
            (1, Verdict::Warning, "the temperature is outside its bounds".to_owned()),
            (2, Verdict::Failing, "errors have made the drive less reliable".to_owned()),
            (3, Verdict::Failing, "the drive has become read-only".to_owned()),
            (4, Verdict::Failing, "the backup of its volatile memory has failed".to_owned()),
        ] {
            if log.critical_warning & (1 << bit) != 0 {
                self.find(verdict, message);
            }
        }
    }

    fn judge_figures(&mut self) {
        let counted = |figure: Option<u64>, what: &str| {
            figure.filter(|&count| count > 0).map(|count| format!("{count} {what}"))
        };
        let worn = self.wear_percent.filter(|&percent| percent >= WEAR_WARNING_PERCENT);
        let messages = [
            counted(self.reallocated, "sectors have been replaced"),
            counted(self.pending, "sectors cannot be read and wait to be replaced"),
            counted(self.media_errors, "errors of the medium could not be corrected"),
            worn.map(|percent| format!("{percent} % of its rated wear are used")),
        ];
        messages.into_iter().flatten().for_each(|message| self.find(Verdict::Warning, message));
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    }

    /// What speaks against the drive, the worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How well it is: the worst of all findings.
    pub fn verdict(&self) -> Verdict {
        self.findings.first().map_or(Verdict::Ok, |finding| finding.verdict)
    }
}
