//! A JSON value as YAML that people read and `yaml` reads back.

use serde_json::Value;

const UNITS: [(u64, &str); 5] =
    [(1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Fields that come first, in this order; the others follow by their names.
const FIRST: [&str; 13] = [
    "tenants",
    "pools",
    "policies",
    "hosts",
    "host_groups",
    "volumes",
    "groups",
    "exports",
    "name",
    "volume",
    "protocol",
    "pool",
    "size_bytes",
];

/// The text, with two spaces for each level.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, "", value, 0);
    text
}

fn write(text: &mut String, key: &str, value: &Value, level: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_by_key(|(key, _)| FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()));
            for (index, (key, value)) in fields.into_iter().enumerate() {
                // The first one of a list's entry stands behind its dash.
                if index > 0 || !text.ends_with("- ") {
                    text.push_str(&"  ".repeat(level));
                }
                text.push_str(key);
                text.push(':');
                below(text, key, value, level + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&"  ".repeat(level));
                text.push_str("- ");
                match item {
                    Value::Object(map) if !map.is_empty() => write(text, "", item, level + 1),
                    _ => {
                        text.push_str(&scalar(key, item));
                        text.push('\n');
                    }
                }
            }
        }
        other => {
            text.push_str(&scalar(key, other));
            text.push('\n');
        }
    }
}

/// What stands behind a key: on the same line, or below it.
fn below(text: &mut String, key: &str, value: &Value, level: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    text.push(if is_block { '\n' } else { ' ' });
    write(text, key, value, level);
}

fn scalar(key: &str, value: &Value) -> String {
    match value {
        Value::String(word) if is_plain(word) => word.clone(),
        Value::Number(number) if key.ends_with("_bytes") || key.contains("bytes_per_s") => {
            number.as_u64().map_or_else(|| number.to_string(), size)
        }
        other => other.to_string(),
    }
}

/// Exact: in the largest unit of which it is a multiple.
fn size(bytes: u64) -> String {
    match UNITS.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Whether it is read back as this text without quotes.
fn is_plain(text: &str) -> bool {
    let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let is_simple = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte));
    let is_word = !["null", "true", "false"].contains(&text.to_ascii_lowercase().as_str());
    begins_well && is_simple && is_word
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::documents::yaml::parse;

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({
            "pools": [{"name": "fast", "devices": ["/dev/sdb", "nbd://10.0.0.1/x y"], "copies": 2}],
            "volumes": [
                {"name": "a", "size_bytes": 20_u64 << 30, "reserved_bytes": 0, "quota_bytes": 1000, "encrypted": true,
                 "overrides": {"snapshots": {"time_zone": "Europe/Berlin", "rules": [{"every": "1d", "at": "02:30", "keep": 7}]}}},
                {"name": "null", "version": "0123", "size_bytes": 1_u64 << 50}
            ],
            "groups": [{"name": "g", "volumes": []}],
            "hosts": [{"name": "h", "initiators": ["iqn.1993-08.org.debian:01:3f5b2a"], "networks": ["10.0.0.0/8", "#1"]}]
        });
        let text = to_yaml(&value);
        let read = parse(&text).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].value, value, "{text}");
        assert!(text.contains("    size_bytes: 20GiB\n    "), "{text}");
        assert!(text.contains("volumes: []\n"), "{text}");
    }

    #[test]
    fn the_form_is_what_people_write() {
        let value = json!({"volumes": [{"name": "a", "policy": "gold"}, {"name": "b", "tags": ["x", "y"]}]});
        assert_eq!(
            to_yaml(&value),
            "volumes:\n  - name: a\n    policy: gold\n  - name: b\n    tags:\n      - x\n      - y\n"
        );
    }
}
