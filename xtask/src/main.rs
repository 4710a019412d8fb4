//! `cargo xtask`: see the library's documentation and `cargo xtask help`.

use anyhow::Result;
use clap::Parser;
use xtask::commands::Xtask;

fn main() -> Result<()> {
    Xtask::parse().run()
}
