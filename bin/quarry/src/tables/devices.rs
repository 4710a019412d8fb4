//! Devices, and how they do, for people.

use quarry_api_types::{Device, DeviceState, DriveHealth, DriveVerdict, LatencyFigures, Pool, PoolDevice};

use super::{Columns, Value, health, in_words, number, optional, properties, size, state, text};

const DEVICES: Columns<'_, Device> = Columns {
    headings: &[
        "PATH",
        "KIND",
        "CLASS",
        ">SIZE",
        ">SECTOR",
        "STATE",
        "POOL OR CONTENT",
        ">READ P99",
        ">WRITE P99",
        "HEALTH",
    ],
    row: |device| {
        vec![
            text(&device.path),
            text(device.kind),
            text(device.class),
            size(device.size_bytes),
            number(device.sector_bytes),
            text(device.state),
            belongs_to(device),
            p99(&device.latency.read),
            p99(&device.latency.write),
            health(&device.health),
        ]
    },
    more_headings: &[">FLUSH P99", "DRIVE", "MODEL", ">TEMPERATURE", ">HOURS", ">WORN", "ID"],
    more: |device| {
        let drive = device.drive.as_ref();
        let figure = |value: Option<String>| number(value.unwrap_or_else(|| "-".to_owned()));
        vec![
            p99(&device.latency.flush),
            drive.map_or_else(|| text("-"), |drive| state(drive.verdict)),
            optional(drive.and_then(|drive| drive.model.as_ref())),
            figure(drive.and_then(|drive| Some(format!("{} °C", drive.temperature_celsius?)))),
            figure(drive.and_then(|drive| Some(drive.power_on_hours?.to_string()))),
            figure(drive.and_then(|drive| Some(format!("{} %", drive.wear_percent?)))),
            optional(device.device_id),
        ]
    },
};

pub fn devices(devices: &[Device]) -> String {
    DEVICES.table(devices)
}

fn belongs_to(device: &Device) -> Value {
    match device.state {
        DeviceState::InPool => optional(device.pool.as_ref()),
        DeviceState::Free => optional(None::<&str>),
        DeviceState::Foreign => optional(device.found.as_ref()),
    }
}

fn p99(figures: &LatencyFigures) -> Value {
    number(if figures.count == 0 { "-".to_owned() } else { time(figures.p99_us) })
}

/// A latency in the unit that suits it.
fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

pub fn member(pool: &Pool, device: &PoolDevice) -> String {
    let mut rows = vec![
        ("Path", text(&device.path)),
        ("Id", text(device.id)),
        ("Pool", text(&pool.name)),
        ("Kind", text(device.kind)),
        ("Class", text(device.class)),
        ("State", state(device.state)),
        ("Size", size(device.size_bytes)),
        ("Used", size(device.used_bytes)),
        ("Health", state(device.health.level)),
    ];
    rows.extend(device.health.causes.iter().map(|cause| ("Cause", text(in_words(cause)))));
    rows.extend([
        ("In flight", number(device.in_flight)),
        ("Late writes", number(device.late_writes)),
        ("Reads", text(latency(&device.latency.read))),
        ("Writes", text(latency(&device.latency.write))),
        ("Flushes", text(latency(&device.latency.flush))),
        ("Drive", text(device.drive.as_ref().map_or_else(|| "not asked".to_owned(), drive))),
    ]);
    if let Some(drive) = &device.drive {
        rows.extend(drive.model.as_ref().map(|model| ("Drive model", text(model))));
        rows.push(("Drive asked", text(drive.asked)));
    }
    properties(rows)
}

fn latency(figures: &LatencyFigures) -> String {
    if figures.count == 0 {
        return "none in the last minute".to_owned();
    }
    let LatencyFigures { count, mean_us, p50_us, p99_us, p999_us } = *figures;
    let [mean, p50, p99, p999] = [mean_us, p50_us, p99_us, p999_us].map(time);
    format!("{count} in the last minute: mean {mean}, p50 {p50}, p99 {p99}, p99.9 {p999}")
}

fn drive(drive: &DriveHealth) -> String {
    if let (DriveVerdict::Unknown, Some(why)) = (drive.verdict, &drive.unknown) {
        return format!("unknown: {why}");
    }
    let figures = [
        drive.temperature_celsius.map(|celsius| format!("{celsius} °C")),
        drive.power_on_hours.map(|hours| format!("on for {hours} h")),
        drive.wear_percent.map(|percent| format!("{percent} % worn")),
        drive.reallocated.map(|count| format!("{count} sectors replaced")),
        drive.pending.map(|count| format!("{count} pending")),
        drive.media_errors.map(|count| format!("{count} medium errors")),
    ];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    match figures.is_empty() {
        true => drive.verdict.to_string(),
        false => format!("{} ({})", drive.verdict, figures.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use quarry_api_types::Timestamp;

    use super::*;

    #[test]
    fn latencies_have_the_unit_that_suits_them() {
        for (micros, shown) in [(0, "0 us"), (999, "999 us"), (1_234, "1.2 ms"), (15_200_000, "15.2 s")] {
            assert_eq!(time(micros), shown);
        }
        assert_eq!(latency(&LatencyFigures::default()), "none in the last minute");
        let figures = LatencyFigures { count: 7, mean_us: 120, p50_us: 90, p99_us: 2_000, p999_us: 3_000 };
        assert_eq!(
            latency(&figures),
            "7 in the last minute: mean 120 us, p50 90 us, p99 2.0 ms, p99.9 3.0 ms"
        );
    }

    #[test]
    fn a_drive_shows_what_it_knows_or_why_it_does_not() {
        let mut shown = DriveHealth {
            verdict: DriveVerdict::Unknown,
            causes: Vec::new(),
            unknown: Some("smartctl is not installed".to_owned()),
            asked: Timestamp::from_unix_ms(1),
            model: None,
            temperature_celsius: None,
            power_on_hours: None,
            wear_percent: None,
            reallocated: None,
            pending: None,
            media_errors: None,
        };
        assert_eq!(drive(&shown), "unknown: smartctl is not installed");
        (shown.verdict, shown.temperature_celsius, shown.wear_percent) =
            (DriveVerdict::Warning, Some(41), Some(93));
        assert_eq!(drive(&shown), "warning (41 °C, 93 % worn)");
    }
}
