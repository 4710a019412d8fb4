use clap::Parser;

use super::*;
use crate::settings::Settings;

/// What packages put into `/etc/quarry`.
const DEFAULT_FILE: &str = include_str!("../../../../deploy/config/quarryd.toml");
const CONTAINER_FILE: &str = include_str!("../../../../deploy/container/quarryd.toml");

fn wrong(text: &str) -> String {
    parse("q.toml", text).err().map(|error| format!("{error:#}")).unwrap_or_default()
}

/// Settings of a file, or what is wrong.
fn settings(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.toml");
    write(&path, text);
    let arguments = Arguments { config: Some(path.clone()), ..Arguments::default() };
    let replace = |error: anyhow::Error| format!("{error:#}").replace(&path.display().to_string(), "q.toml");
    Settings::from_arguments(arguments).map_err(replace)
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Every setting that a node shows.
fn shown(settings: &Settings) -> Vec<(String, String)> {
    settings.describe().settings.into_iter().map(|setting| (setting.name, setting.value)).collect()
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_one() {
    for (text, said) in [
        ("\n\nmemmory = \"1GiB\"", "q.toml:3: unknown key 'memmory'; did you mean 'memory'?"),
        ("core = 1", "q.toml:1: unknown key 'core'; did you mean 'cores'?"),
        ("nvme-tcp = []", "q.toml:1: unknown key 'nvme-tcp'; did you mean 'nvme_tcp'?"),
        ("api_name = \"n\"", "q.toml:1: unknown key 'api_name'; did you mean 'api_names'?"),
        (
            "zzz = 1\ncores = 2\n[qqq]\na = 1",
            "q.toml:1: unknown key 'zzz'; `quarryd --help` lists the flags, which are the keys\n\
             q.toml:3: unknown key 'qqq'; `quarryd --help` lists the flags, which are the keys",
        ),
    ] {
        assert_eq!(wrong(text), said);
    }
}

#[test]
fn what_is_wrong_with_a_value_is_told_with_its_line() {
    for (text, said) in [
        ("cores = 1\nmemory = 5", "q.toml:2: invalid type: integer `5`, expected a string"),
        ("\nmemory = \"much\"", "q.toml:2: "),
        ("\n\ncores = -1", "q.toml:3: "),
        ("nbd = [\n", "q.toml:"),
        ("cores = 1\ncores = 2", "q.toml:2: duplicate key"),
        ("advertise = [\"host\"]", "q.toml:1: "),
        ("log_format = \"xml\"", "q.toml:1: unknown variant `xml`"),
    ] {
        assert!(wrong(text).starts_with(said), "{text}: {}", wrong(text));
    }
    for (text, said) in [
        ("cores = 0", "q.toml:2: cores 0: a node has between 1 and 64"),
        ("\nmemory = \"1MiB\"", "q.toml:3: memory 1 MiB: at least "),
        ("device_timeout = 0", "q.toml:2: device_timeout 0: between "),
        ("metrics_volumes = 100000", "q.toml:2: metrics_volumes 100000: at most "),
        ("scrub_rate = \"1KiB\"", "q.toml:2: scrub_rate 1 KiB: at least 1 MiB a second is needed"),
        ("iscsi = [\"nowhere\"]", "q.toml:2: iscsi nowhere: not an address"),
        ("api_cert = \"/none\"", "q.toml:2: api_cert: the API needs a certificate and its key"),
        ("nbd_tls_client_ca = \"/none\"", "q.toml:2: nbd_tls_client_ca: NBD needs a certificate"),
        ("api_cert = \"/none\"\napi_key = \"/none\"", "q.toml:2: api_cert /none cannot be read"),
    ] {
        let error = settings(&format!("data_dir = \"d\"\n{text}")).unwrap_err();
        assert!(error.starts_with(said), "{text}: {error}");
    }
    assert!(settings("").unwrap_err().starts_with("no data directory given"));
}

#[test]
fn flags_win_over_the_file_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.toml");
    write(
        &path,
        "data_dir = \"d\"\ncores = 3\nscrub_days = 7\nmetrics_open = true\niscsi = [\"127.0.0.1:1\"]",
    );
    let file = path.display().to_string();
    let line =
        ["quarryd", "--config", &file, "--cores", "2", "--metrics-open=false", "--iscsi", "127.0.0.1:2"];
    let (arguments, origins) = complete(Arguments::try_parse_from(line).unwrap()).unwrap();
    assert_eq!(
        (arguments.cores, arguments.scrub_days, arguments.metrics_open),
        (Some(2), Some(7), Some(false))
    );
    assert_eq!(arguments.iscsi, ["127.0.0.1:2"]);
    assert_eq!(origins.name("cores"), "--cores");
    assert_eq!(origins.name("scrub_days"), format!("{file}:3: scrub_days"));
    let of = |key| origins.describe(key);
    assert_eq!(
        (of("cores"), of("scrub_days"), of("memory")),
        ("environment".into(), "line 3".into(), "default".into())
    );
}

#[test]
fn every_flag_has_its_variable() {
    for argument in Arguments::command().get_arguments() {
        let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else {
            continue;
        };
        let expected = format!(
            "QUARRYD_{}",
            if long == "config" { "config".to_owned() } else { key_of(long) }.to_uppercase()
        );
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
    }
}

/// The default configuration with its commented lines in effect: all, or those alone that show defaults.
fn uncommented(with_examples: bool) -> String {
    let line = |line: &str| match line
        .strip_prefix('#')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    {
        Some(rest) if with_examples || !rest.ends_with("# for example") => rest.to_owned(),
        _ => line.to_owned(),
    };
    DEFAULT_FILE.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn the_default_file_names_every_key_once_and_in_the_form_that_is_read() {
    let (_, lines) = parse("quarryd.toml", &uncommented(true)).unwrap();
    let (mut named, mut known): (Vec<_>, _) = (lines.into_keys().collect(), keys());
    named.sort();
    known.sort();
    assert_eq!(named, known);
}

#[test]
fn the_default_file_changes_nothing_but_the_data_directory() {
    let defaults = Arguments { data_dir: Some("/var/lib/quarry".into()), ..Arguments::default() };
    let defaults = shown(&Settings::from_arguments(defaults).unwrap());
    assert_eq!(shown(&settings(DEFAULT_FILE).unwrap()), defaults);
    assert!(settings(CONTAINER_FILE).is_ok());
    // And what it shows as defaults are the defaults.
    assert_eq!(shown(&settings(&uncommented(false)).unwrap()), defaults);
}
