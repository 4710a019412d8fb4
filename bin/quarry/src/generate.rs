//! What is made of the definition of the command line: completions of shells and manual pages. No node is needed.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "quarry", &mut text);
    match io::stdout().write_all(&text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::local("cannot write to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Writes one manual page for each command: `quarry.1`, `quarry-volume.1`, `quarry-volume-create.1`.
pub fn man(folder: &Path) -> Result<(), Failure> {
    quarry_manual::write_pages(Arguments::command(), "1", folder).map_err(|error| {
        Failure::local(&format!("cannot write manual pages into '{}'", folder.display()), &error)
    })
}
