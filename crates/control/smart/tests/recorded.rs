#![allow(clippy::disallowed_methods, reason = "tests read their own files")]
//! What real drives have said, recorded from smartctl 6.7 to 7.3 and shortened to the parts that are read, and what is made of it.

use quarry_smart::{Finding, Report, Verdict};

fn recorded(name: &str) -> Result<Report, String> {
    let path = format!("tests/recorded/{name}.json");
    Report::parse(&std::fs::read(path).expect("it is recorded"))
}

fn messages(report: &Report) -> Vec<(Verdict, &str)> {
    report.findings().iter().map(|Finding { verdict, message }| (*verdict, message.as_str())).collect()
}

#[test]
fn drives_that_are_well_say_nothing() {
    for (name, model, celsius, hours) in [
        ("ata-ok", "WDC WD140EDFZ-11A0VA0", 32, 1730),
        ("nvme-ok", "INTEL SSDPEKNW010T8", 36, 2401),
        ("scsi-ok", "SEAGATE ST1200MM0088", 31, 5675),
        ("ata-ssd", "Samsung SSD 840 Series", 33, 19497),
    ] {
        let report = recorded(name).unwrap();
        assert_eq!((report.verdict(), messages(&report)), (Verdict::Ok, vec![]), "{name}");
        assert_eq!(report.model.as_deref(), Some(model));
        assert_eq!((report.temperature_celsius, report.power_on_hours), (Some(celsius), Some(hours)));
    }
}

#[test]
fn a_disk_that_fails_is_failing_with_all_causes() {
    let report = recorded("ata-failing").unwrap();
    assert_eq!(report.verdict(), Verdict::Failing);
    assert_eq!((report.reallocated, report.pending), (Some(1975), Some(8)));
    assert_eq!(
        messages(&report),
        [
            (Verdict::Failing, "the drive says that it is failing"),
            (Verdict::Failing, "attribute 5 (Reallocated_Sector_Ct) is below its threshold"),
            (Verdict::Warning, "1975 sectors have been replaced"),
            (Verdict::Warning, "8 sectors cannot be read and wait to be replaced"),
        ]
    );
}

#[test]
fn errors_of_the_medium_are_a_warning() {
    let report = recorded("nvme-media-errors").unwrap();
    assert_eq!((report.media_errors, report.wear_percent), (Some(7), Some(3)));
    assert_eq!(messages(&report), [(Verdict::Warning, "7 errors of the medium could not be corrected")]);
    assert_eq!(recorded("ata-ssd").unwrap().wear_percent, Some(2), "by its wear levelling count");
}

#[test]
fn a_virtual_disk_has_none() {
    let error = recorded("virtual-disk").unwrap_err();
    assert_eq!(error, "the device has no S.M.A.R.T. data (smartctl: /dev/vda: Unable to detect device type)");
}

#[test]
fn critical_warnings_and_wear_are_told() {
    let nvme = |warning: u32, used: u32| {
        let text = format!(
            r#"{{"smart_status":{{"passed":{}}},"nvme_smart_health_information_log":
            {{"critical_warning":{warning},"percentage_used":{used},"media_errors":0,"available_spare":4}}}}"#,
            warning == 0
        );
        Report::parse(text.as_bytes()).unwrap()
    };
    for (warning, used, verdict, part) in [
        (0, 89, Verdict::Ok, ""),
        (0, 90, Verdict::Warning, "90 % of its rated wear"),
        (0, 140, Verdict::Warning, "140 %"),
        (1, 0, Verdict::Failing, "spare space is below its threshold (4 % left)"),
        (4, 0, Verdict::Failing, "less reliable"),
        (8, 0, Verdict::Failing, "read-only"),
    ] {
        let report = nvme(warning, used);
        assert_eq!(report.verdict(), verdict, "{warning} {used}");
        assert!(report.findings().iter().any(|finding| finding.message.contains(part)) || part.is_empty());
    }
}

#[test]
fn what_is_not_understood_is_said() {
    for text in ["", "smartctl: not found", "[1]", r#"{"smart_status":1}"#] {
        assert!(Report::parse(text.as_bytes()).unwrap_err().contains("not understood"), "{text}");
    }
    for text in ["{}", r#"{"smart_support":{"available":false},"smart_status":{"passed":true}}"#] {
        assert!(Report::parse(text.as_bytes()).unwrap_err().contains("no S.M.A.R.T."), "{text}");
    }
}
