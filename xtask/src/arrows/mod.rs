//! The dependency arrows: the folder is the floor, and arrows point down only.
//!
//! `cargo metadata` says which workspace package depends on which; [`table`] says which may. Dependencies for tests
//! (dev-dependencies) are free, except that the control plane keeps away from the data plane there too.

mod table;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;
use crate::workspace;
use table::{Floor, SIDEWAYS};

/// One arrow between two packages of the workspace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Arrow {
    from: Package,
    to: Package,
    is_for_tests: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Package {
    name: String,
    floor: Floor,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: String,
    dependencies: Vec<MetadataDependency>,
}

#[derive(Deserialize)]
struct MetadataDependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Checks the workspace.
pub fn run() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace::root()).args(["metadata", "--format-version", "1", "--no-deps"]);
    let arrows = read_arrows(&command::run(&mut command)?, workspace::root())?;
    let wrong: Vec<_> = arrows.iter().filter_map(refusal).collect();
    for line in &wrong {
        eprintln!("arrows: {line}");
    }
    if !wrong.is_empty() {
        bail!("{} of {} arrows are not allowed (xtask/src/arrows/table.rs)", wrong.len(), arrows.len());
    }
    println!("arrows: {} checked, all point down", arrows.len());
    Ok(())
}

fn read_arrows(json: &str, root: &Path) -> Result<Vec<Arrow>> {
    let metadata: Metadata = serde_json::from_str(json).context("cargo metadata")?;
    let package = |name: &str| {
        let package = metadata.packages.iter().find(|package| package.name == name)?;
        let folder = Path::new(&package.manifest_path).parent()?.strip_prefix(root).ok()?;
        Some((name.to_owned(), Floor::of(folder)))
    };
    let mut arrows = Vec::new();
    for from in &metadata.packages {
        for dependency in from.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let floor_of = |name: &str| -> Result<Package> {
                let (name, floor) =
                    package(name).with_context(|| format!("{name} is outside the workspace"))?;
                let floor = floor.with_context(|| format!("{name} lies in a folder that is no floor"))?;
                Ok(Package { name, floor })
            };
            let is_for_tests = dependency.kind.as_deref() == Some("dev");
            arrows.push(Arrow { from: floor_of(&from.name)?, to: floor_of(&dependency.name)?, is_for_tests });
        }
    }
    arrows.sort_unstable();
    Ok(arrows)
}

/// Why an arrow is not allowed; `None` when it is.
fn refusal(arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, is_for_tests } = arrow;
    let refuse = |why: &str| Some(format!("{} -> {}: {why}", from.name, to.name));
    if from.floor == Floor::Control && to.floor.is_data_plane() {
        return refuse("the control plane never links the data plane, not even in tests");
    }
    if *is_for_tests {
        return None;
    }
    if from.floor == to.floor && from.floor != Floor::Binary {
        let is_listed = SIDEWAYS.contains(&(from.name.as_str(), to.name.as_str()));
        return if is_listed { None } else { refuse("not in the list of arrows inside a floor") };
    }
    if !from.floor.may_reach(to.floor, &from.name) {
        return refuse(&format!("{:?} may not depend on {:?}", from.floor, to.floor));
    }
    None
}
