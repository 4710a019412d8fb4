//! An answer of the API as YAML: the same object as its JSON, with the fields in the same order.
//!
//! What every reader must get back is what was said. Readers of YAML 1.1, and most are, take `off` for a boolean, `02:30` for a number
//! and `2026-11-20` for a date; so a text stands without quotes only where no reader can take it for anything else.

use std::fmt;
use std::fmt::Write;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Words that some reader takes for a boolean, for nothing or for a number.
const RESERVED: [&str; 12] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];

/// A value of JSON that knows the order of its fields.
enum Node {
    /// As JSON writes it: a number, a boolean, null.
    Bare(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// One document, of an object's JSON.
pub fn from_json(json: &str) -> serde_json::Result<String> {
    let node: Node = serde_json::from_str(json)?;
    let mut text = String::new();
    node.write(&mut text, 0);
    Ok(text)
}

impl Node {
    /// In one line: neither a list nor an object, or an empty one.
    fn inline(&self) -> Option<String> {
        match self {
            Self::Bare(text) => Some(text.clone()),
            Self::Text(text) => Some(scalar(text)),
            Self::List(items) if items.is_empty() => Some("[]".to_owned()),
            Self::Object(fields) if fields.is_empty() => Some("{}".to_owned()),
            Self::List(_) | Self::Object(_) => None,
        }
    }

    /// Behind an indentation of so many levels, which is there already.
    fn write(&self, text: &mut String, level: usize) {
        let indentation = "  ".repeat(level);
        match self {
            Self::Object(fields) if !fields.is_empty() => {
                for (index, (key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        text.push_str(&indentation);
                    }
                    text.push_str(&scalar(key));
                    text.push(':');
                    match value.inline() {
                        Some(inline) => *text += &format!(" {inline}\n"),
                        None => {
                            *text += &format!("\n{indentation}  ");
                            value.write(text, level + 1);
                        }
                    }
                }
            }
            Self::List(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push_str(&indentation);
                    }
                    text.push_str("- ");
                    item.write(text, level + 1);
                }
            }
            other => *text += &(other.inline().unwrap_or_default() + "\n"),
        }
    }
}

/// A text, in quotes unless it needs none.
fn scalar(text: &str) -> String {
    let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let is_simple = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let is_word = RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if begins_well && is_simple && !is_word { text.to_owned() } else { quoted(text) }
}

/// In double quotes, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // Not printable for YAML, or taken for the end of a line.
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted + "\""
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Bare("null".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    /// With a point, or a whole number would be read, and without an exponent, which not every reader knows without a sign.
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        let digits = value.to_string();
        Ok(Node::Bare(if digits.contains('.') { digits } else { digits + ".0" }))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = entries.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::documents::yaml::parse;

    fn yaml(json: &str) -> String {
        from_json(json).unwrap()
    }

    #[test]
    fn fields_keep_their_order_and_blocks_their_form() {
        let json = r#"[{"name":"a","tags":["x",["b","z"],[]],"in":{"b":1,"a":2.0}},{"name":null}]"#;
        let expected = "- name: a\n  tags:\n    - x\n    - - b\n      - z\n    - []\n  in:\n    b: 1\n    a: 2.0\n- name: null\n";
        assert_eq!(yaml(json), expected);
        assert_eq!((yaml("[]"), yaml("{}"), yaml("7")), ("[]\n".into(), "{}\n".into(), "7\n".into()));
    }

    #[test]
    fn what_a_reader_could_take_for_something_else_is_quoted() {
        for text in [
            "",
            " a",
            "off",
            "Yes",
            "n",
            "NULL",
            "~",
            "1",
            "0x1f",
            "1e3",
            "02:30",
            "2026-11-20",
            "2026-11-20T09:30:00Z",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#",
            "*a",
            "&a",
            "!a",
            "%",
            "@a",
            "`",
            "[",
            "{",
            "iqn.1993-08.org.debian:01:a",
            ".5",
            ".inf",
            "+1",
            "=",
            "<<",
            "a\nb",
            "two words",
            "null",
        ] {
            assert_eq!(scalar(text), serde_json::to_string(text).unwrap(), "{text}");
        }
        for text in ["a", "vm-17", "/dev/sdb", "lz4", "nvme-tcp", "online"] {
            assert_eq!(scalar(text), text);
        }
    }

    #[test]
    fn a_reader_gets_what_was_said() {
        let value = json!({
            "number": [0, -1, u64::MAX, 1.5, 1e300, -0.25],
            "words": ["no", "1", "1.0", "null", "true", "", " ", "é", "\u{1f600}", "a\r\n\tb\u{1b}\u{85}\u{2028}\u{feff}\"\\"],
            "true": true, "off": false, "": null, "a b": {"1": {}, "deep": [[[1], []], {"x": [{"y": 1, "z": [2]}]}]}
        });
        let text = yaml(&value.to_string());
        let read = parse(&text).unwrap();
        assert_eq!((read.len(), &read[0].value), (1, &value), "{text}");
    }

    #[test]
    fn every_control_character_comes_back() {
        for code in (0..=0xa1).chain([0x2027, 0x2028, 0x2029, 0x202a, 0xfeff, 0xfffe, 0xffff, 0x1_0000]) {
            let value = Value::String(format!("a{}b", char::from_u32(code).unwrap()));
            let text = yaml(&json!({ "key": value }).to_string());
            assert_eq!(parse(&text).unwrap()[0].value["key"], value, "{code:x}: {text}");
        }
    }
}
