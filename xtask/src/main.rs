//! `cargo xtask`: see the library's documentation and `cargo xtask help`.

use std::process::ExitCode;

use clap::Parser;
use xtask::commands::Xtask;

fn main() -> ExitCode {
    xtask::interrupt::catch();
    match Xtask::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The chain of causes without a backtrace: what failed is the thing under test, not this program.
        Err(error) => {
            eprintln!("FAIL: {error:#}");
            ExitCode::FAILURE
        }
    }
}
