//! Files and folders as one document, in which everything knows where it stands.

use std::path::{Path, PathBuf};

use quarry_api_types::{State, StatedKind, StatedPlace};

use super::yaml::{Marked, YamlError, parse};
use crate::failure::{Exit, Failure};

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// One document of one file, and where its lists begin in the whole.
struct Part {
    file: PathBuf,
    marked: Marked,
    first: State,
    count: State,
}

/// All that was read.
#[derive(Default)]
pub struct Documents {
    pub state: State,
    parts: Vec<Part>,
}

/// Reads files, the YAML and JSON files of folders, and standard input as `-`.
pub fn read(paths: &[PathBuf]) -> Result<Documents, Failure> {
    let mut all = Documents::default();
    for path in paths {
        for file in files(path)? {
            let text = text_of(&file)?;
            for marked in parse(&text).map_err(|error| of_yaml(&file, error))? {
                all.add(&file, marked)?;
            }
        }
    }
    Ok(all)
}

#[expect(clippy::disallowed_methods, reason = "a command reads the files that it was given")]
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed =
        |error: std::io::Error| Failure::local(&format!("folder {} cannot be read", path.display()), &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_document = file.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        found.extend(Some(file).filter(|_| is_document));
    }
    if found.is_empty() {
        let message = format!("folder {} has no files that end in .yaml, .yml or .json", path.display());
        return Err(wrong(message, "Name the files themselves, or another folder."));
    }
    found.sort();
    Ok(found)
}

#[expect(clippy::disallowed_methods, reason = "a command reads the files that it was given")]
fn text_of(file: &Path) -> Result<String, Failure> {
    let read = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    read.map_err(|error| Failure::local(&format!("{} cannot be read", file.display()), &error))
}

fn wrong(message: String, next_step: &str) -> Failure {
    Failure { exit: Exit::Usage, message, cause: None, next_step: next_step.to_owned() }
}

fn of_yaml(file: &Path, YamlError { line, message }: YamlError) -> Failure {
    wrong(format!("{}:{line}: {message}", file.display()), "Correct that line.")
}

impl Documents {
    fn add(&mut self, file: &Path, marked: Marked) -> Result<(), Failure> {
        if marked.value.is_null() {
            return Ok(());
        }
        let mut path = String::new();
        let read = {
            let deserializer = &marked.value;
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                path = error.path().to_string();
                error.into_inner().to_string()
            })
        };
        let state: State = read.map_err(|message| of_type(file, &marked, &path, &message))?;
        let part = Part { file: file.to_owned(), marked, first: self.state.clone(), count: state.clone() };
        self.parts.push(part);
        let whole = &mut self.state;
        whole.tenants.extend(state.tenants);
        whole.pools.extend(state.pools);
        whole.policies.extend(state.policies);
        whole.volumes.extend(state.volumes);
        whole.groups.extend(state.groups);
        whole.hosts.extend(state.hosts);
        whole.host_groups.extend(state.host_groups);
        whole.exports.extend(state.exports);
        Ok(())
    }

    /// Where something stands: `FILE:LINE: PATH`. Without a line when the node speaks of something that no file says.
    pub fn place(&self, place: &StatedPlace) -> String {
        let found = self.find(place.kind, place.index, place.field.as_deref());
        found.unwrap_or_else(|| place.to_string())
    }

    /// The same for a JSON pointer (RFC 6901) into the whole, if it leads to a thing in one of the lists.
    pub fn place_of_pointer(&self, pointer: &str) -> Option<String> {
        let mut segments = pointer.strip_prefix('/')?.split('/');
        let list = segments.next()?;
        let kind = StatedKind::ALL.iter().find(|kind| kind.list() == list)?;
        let index = segments.next()?.parse().ok()?;
        let mut field = String::new();
        for segment in segments {
            match segment.parse::<usize>() {
                Ok(index) => field += &format!("[{index}]"),
                Err(_) if field.is_empty() => segment.clone_into(&mut field),
                Err(_) => field += &format!(".{segment}"),
            }
        }
        self.find(*kind, index, Some(field.as_str()).filter(|field| !field.is_empty()))
    }

    fn find(&self, kind: StatedKind, index: usize, field: Option<&str>) -> Option<String> {
        let part = self.parts.iter().find(|part| {
            let first = len(&part.first, kind);
            (first..first + len(&part.count, kind)).contains(&index)
        })?;
        let entry = format!("{}[{}]", kind.list(), index - len(&part.first, kind));
        let path = match field {
            Some(field) => format!("{entry}.{field}"),
            None => entry,
        };
        Some(format!("{}:{}: {path}", part.file.display(), line_of(&part.marked, &path)))
    }
}

fn len(state: &State, kind: StatedKind) -> usize {
    match kind {
        StatedKind::Tenant => state.tenants.len(),
        StatedKind::Pool => state.pools.len(),
        StatedKind::Policy => state.policies.len(),
        StatedKind::Volume => state.volumes.len(),
        StatedKind::Group => state.groups.len(),
        StatedKind::Host => state.hosts.len(),
        StatedKind::HostGroup => state.host_groups.len(),
        StatedKind::Export => state.exports.len(),
    }
}

/// The line of a part of a document, or of the nearest thing around it that is there.
fn line_of(marked: &Marked, path: &str) -> usize {
    let mut path = path;
    loop {
        if let Some(line) = marked.lines.get(path) {
            return *line;
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = &path[..end],
            None => return 1,
        }
    }
}

fn of_type(file: &Path, marked: &Marked, path: &str, message: &str) -> Failure {
    // An unknown field is told of the thing that has it; its own line is better.
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let path = match (unknown, path) {
        (Some(field), "." | "") => field.to_owned(),
        (Some(field), path) if !path.ends_with(field) => format!("{path}.{field}"),
        (_, path) => path.to_owned(),
    };
    let line = line_of(marked, &path);
    let path = if path == "." { String::new() } else { format!("{path}: ") };
    wrong(
        format!("{}:{line}: {path}{message}", file.display()),
        "Correct that line; `quarry state export` shows the form.",
    )
}

/// A document of one text, for tests.
#[cfg(test)]
pub fn read_text(file: &str, text: &str) -> Result<Documents, Failure> {
    let mut all = Documents::default();
    for marked in parse(text).map_err(|error| of_yaml(Path::new(file), error))? {
        all.add(Path::new(file), marked)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_with_file_line_and_field() {
        for (text, expected) in [
            (
                "volumes:\n  - name: a\n    pool: p\n    size_bytes: -1\n",
                "f.yaml:4: volumes[0].size_bytes: invalid value: integer `-1`",
            ),
            (
                "volumes:\n  - name: a\n    pool: p\n    sise: 20GiB\n",
                "f.yaml:4: volumes[0].sise: unknown field `sise`",
            ),
            ("volumes:\n  - name: a b\n", "f.yaml:2: volumes[0].name: 'a b' is not a valid name"),
            ("volumes:\n\n  - name: a\n    pool: p\n", "f.yaml:3: volumes[0]: missing field `size_bytes`"),
            ("volume:\n  - name: a\n", "f.yaml:1: volume: unknown field `volume`"),
            (
                "policies:\n  - name: g\n    settings:\n      compression: gzip\n",
                "f.yaml:4: policies[0].settings.compression: unknown variant `gzip`",
            ),
            (
                "exports:\n  - volume: v\n    protocol: smoke\n",
                "f.yaml:3: exports[0].protocol: unknown variant `smoke`",
            ),
            (
                "policies:\n  - name: g\n    settings:\n      snapshots:\n        rules:\n          - every: 7m\n            keep: 1\n",
                "f.yaml:6: policies[0].settings.snapshots.rules[0].every: '7m' is not an interval",
            ),
            ("a: b: c\n", "f.yaml:1: this is not YAML"),
            ("- 1\n", "f.yaml:1: [0]: invalid type: integer `1`"),
        ] {
            let failure = read_text("f.yaml", text).err().unwrap();
            assert!(failure.message.starts_with(expected), "{text}\n{}", failure.message);
            assert_eq!(failure.exit, Exit::Usage);
        }
    }

    #[test]
    fn what_the_node_says_is_told_with_its_place_in_several_files() {
        let mut all = read_text("a.yaml", "volumes:\n  - {name: a, pool: p, size_bytes: 1GiB}\n").unwrap();
        let second = "pools: []\nvolumes:\n  - name: b\n    pool: p\n    size_bytes: 1GiB\n---\nvolumes:\n  - name: c\n    pool: q\n    size_bytes: 1\n";
        for marked in parse(second).unwrap() {
            all.add(Path::new("b.yaml"), marked).unwrap();
        }
        assert_eq!(all.state.volumes.len(), 3);
        let place = |index, field: Option<&str>| {
            let field = field.map(str::to_owned);
            all.place(&StatedPlace { kind: StatedKind::Volume, index, name: "x".to_owned(), field })
        };
        assert_eq!(place(0, Some("pool")), "a.yaml:2: volumes[0].pool");
        assert_eq!(place(1, Some("size_bytes")), "b.yaml:5: volumes[0].size_bytes");
        assert_eq!(place(2, Some("pool")), "b.yaml:9: volumes[0].pool");
        assert_eq!(place(2, Some("policy")), "b.yaml:8: volumes[0].policy");
        assert_eq!(place(1, None), "b.yaml:3: volumes[0]");
        assert_eq!(all.place_of_pointer("/volumes/1/size_bytes").unwrap(), "b.yaml:5: volumes[0].size_bytes");
        assert_eq!(all.place_of_pointer("/volumes/2/qos/weight").unwrap(), "b.yaml:8: volumes[0].qos.weight");
        assert_eq!(all.place_of_pointer("/volumes/0").unwrap(), "a.yaml:2: volumes[0]");
        assert_eq!(all.place_of_pointer("/volumes/3"), None);
        assert_eq!(all.place_of_pointer("/elsewhere/0"), None);
    }
}
