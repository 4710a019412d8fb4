//! YAML as a JSON value that knows on which line everything stands.
//!
//! YAML 1.2, core schema, without anchors, aliases and tags: a document of intended state needs none, and aliases can make a small
//! file a huge value. A key that comes twice is an error. Two things are read more kindly than JSON has them: a field `..._bytes`
//! takes a size with a unit (`20GiB`, `none`), and a field `..._s` takes a time (`30s`, `10m`).

use std::collections::BTreeMap;

use quarry_types::ByteSize;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

use crate::rules::parse_seconds;

/// Nobody nests deeper.
const DEPTH_MAX: usize = 32;

/// A document, and the line of each of its parts by its path (`volumes[3].size_bytes`).
#[derive(Debug, Default)]
pub struct Marked {
    pub value: Value,
    pub lines: BTreeMap<String, usize>,
}

/// What is wrong, and on which line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct YamlError {
    pub line: usize,
    pub message: String,
}

/// Reads every document of a text.
pub fn parse(text: &str) -> Result<Vec<Marked>, YamlError> {
    let mut loader = Loader { parser: Parser::new_from_str(text), lines: BTreeMap::new() };
    let mut all = Vec::new();
    loop {
        let (event, span) = loader.next()?;
        match event {
            Event::StreamEnd => return Ok(all),
            Event::DocumentStart(_) => {
                let value = loader.value("", 0)?;
                all.push(Marked { value, lines: std::mem::take(&mut loader.lines) });
            }
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            other => return Err(error(span, format!("this cannot stand here: {other:?}"))),
        }
    }
}

fn error(span: Span, message: impl Into<String>) -> YamlError {
    YamlError { line: span.start.line(), message: message.into() }
}

struct Loader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    lines: BTreeMap<String, usize>,
}

impl<'a> Loader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(YamlError {
                line: error.marker().line(),
                message: format!("this is not YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn value(&mut self, path: &str, depth: usize) -> Result<Value, YamlError> {
        let (event, span) = self.next()?;
        self.value_of(event, span, path, depth)
    }

    fn value_of(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Value, YamlError> {
        if depth > DEPTH_MAX {
            return Err(error(span, format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        self.lines.insert(path.to_owned(), span.start.line());
        match event {
            Event::Scalar(text, style, 0, None) => Ok(scalar(&text, style)),
            Event::SequenceStart(0, None) => self.sequence(path, depth),
            Event::MappingStart(0, None) => self.mapping(path, depth),
            Event::Alias(_) => Err(error(span, "aliases (*name) are not taken: write it out")),
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                Err(error(span, "anchors (&name) and tags (!name) are not taken"))
            }
            other => Err(error(span, format!("a value is missing here: {other:?}"))),
        }
    }

    fn sequence(&mut self, path: &str, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            let path = format!("{path}[{}]", items.len());
            items.push(self.value_of(event, span, &path, depth + 1)?);
        }
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Value, YamlError> {
        let mut map = Map::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(map)),
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                _ => return Err(error(span, "a key must be a word")),
            };
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let value = self.value(&path, depth + 1)?;
            self.lines.insert(path, span.start.line());
            let value = with_unit(&key, value).map_err(|message| error(span, format!("{key}: {message}")))?;
            if map.insert(key.clone(), value).is_some() {
                return Err(error(span, format!("'{key}' comes twice")));
            }
        }
    }
}

/// The core schema (YAML 1.2.2, 10.3.2), as far as JSON has such values.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let is_number = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'-');
            let number = is_number.then(|| serde_json::from_str(text).ok()).flatten();
            number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
    }
}

fn with_unit(key: &str, value: Value) -> Result<Value, String> {
    let Value::String(text) = &value else { return Ok(value) };
    let is_size = key.ends_with("_bytes") || key.contains("bytes_per_s");
    if !is_size && !key.ends_with("_s") {
        return Ok(value);
    }
    if text == "none" {
        return Ok(Value::from(0_u64));
    }
    match is_size {
        true => text.parse::<ByteSize>().map(|size| Value::from(size.0)).map_err(|error| error.to_string()),
        false => parse_seconds(text).map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_of_json_with_units_and_lines() {
        let text = "# a site\nvolumes:\n  - name: a\n    size_bytes: 20GiB\n    history_s: 10m\n    compression: off\n  \
                    - {name: 'b', size_bytes: 512, quota_bytes: none}\n---\npolicies: []\n";
        let all = parse(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[0].value,
            json!({"volumes": [
                {"name": "a", "size_bytes": 20_u64 << 30, "history_s": 600, "compression": "off"},
                {"name": "b", "size_bytes": 512, "quota_bytes": 0}
            ]})
        );
        for (path, line) in
            [("volumes", 2), ("volumes[0].size_bytes", 4), ("volumes[1]", 7), ("volumes[1].name", 7)]
        {
            assert_eq!(all[0].lines.get(path), Some(&line), "{path}");
        }
        assert_eq!(all[1].lines.get("policies"), Some(&9));
    }

    #[test]
    fn words_are_not_taken_for_something_else() {
        let text = "a: 02:30\nb: \"true\"\nc: yes\nd: -5\ne: 1.5\nf: 15m\ng: ~\nh: 007\non: sunday\n";
        let value = &parse(text).unwrap()[0].value;
        assert_eq!(
            *value,
            json!({"a": "02:30", "b": "true", "c": "yes", "d": -5, "e": 1.5, "f": "15m", "g": null, "h": "007", "on": "sunday"})
        );
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, line, part) in [
            ("a: 1\nb: [1, 2\n", 3, "not YAML"),
            ("a: 1\nb: 2\na: 3\n", 3, "'a' comes twice"),
            ("a: &x 1\nb: *x\n", 1, "anchors"),
            ("a: !!str 1\n", 1, "tags"),
            ("a: 1\nsize_bytes: huge\n", 2, "size_bytes: "),
            ("rpo_s: soon\n", 1, "rpo_s: 'soon' is not a time"),
            ("? [a]\n: b\n", 1, "a key must be a word"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {error:?}");
            assert!(error.line == line || part == "not YAML", "{text}: {error:?}");
        }
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert!(parse(&deep).unwrap_err().message.contains("nested deeper"));
        assert!(parse("").unwrap().is_empty());
    }
}
