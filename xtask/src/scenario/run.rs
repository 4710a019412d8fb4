//! A node in the foreground, for a look around.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{self, Profile};

/// How the node runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder for all that the node keeps; $HOME/.local/share/quarry when absent.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Where the REST API listens.
    #[arg(long, default_value = "127.0.0.1:7480")]
    pub api: SocketAddr,
    /// Where NBD listens.
    #[arg(long, default_value = "127.0.0.1:10809")]
    pub nbd: SocketAddr,
    /// Build that runs.
    #[arg(long, value_enum, default_value = "release")]
    pub profile: Profile,
}

/// Becomes quarryd, after saying what to type in another terminal.
pub fn run(options: &Options) -> Result<()> {
    let bin_dir = workspace::build(options.profile, &["quarryd", "quarry"])?;
    let data_dir = match &options.data_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => {
            PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".local/share/quarry")
        }
    };
    fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let (data, bin) = (data_dir.display(), bin_dir.display());
    let endpoint = match options.api.to_string().as_str() {
        "127.0.0.1:7480" => String::new(),
        api => format!("\n  export QUARRY_ENDPOINT=http://{api}"),
    };
    println!(
        "A node over {data}. It stops with Ctrl-C and finds everything again at its next start.
In another terminal:

  export PATH={bin}:$PATH{endpoint}
  fallocate -l 2G {data}/a.img; fallocate -l 2G {data}/b.img
  quarry pool create main --copies 2 --device {data}/a.img --device {data}/b.img
  quarry volume create disk --pool main --size 10G
  quarry export create disk --protocol nbd
  nbdinfo $(quarry -o json export list | jq -r '.[0].uris[0]')
  quarry status
"
    );
    let mut quarryd = Command::new(bin_dir.join("quarryd"));
    quarryd.arg("--data-dir").arg(&data_dir);
    quarryd.args(["--api", &options.api.to_string(), "--nbd", &options.nbd.to_string()]);
    quarryd.arg("--nbd-unix").arg(data_dir.join("nbd.sock"));
    let error = quarryd.exec();
    bail!("cannot start quarryd: {error}");
}
