//! Secrets on their way to the node: from a file or from standard input, never from the command line, which others can see.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use quarry_client::Client;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Exit, Failure};

/// Fails when a secret would go over a network in clear. `what` is the secret, `command` what was typed.
pub fn check_endpoint(client: &Client, what: &str, command: &str) -> Result<(), Failure> {
    if client.endpoint().is_loopback() || client.endpoint().is_encrypted() {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Usage,
        message: format!("{what} is not sent over a network"),
        cause: Some(format!("{} is not encrypted", client.endpoint())),
        next_step: format!(
            "Use {}, or run the command on the node itself: `ssh NODE {command}`.",
            client.endpoint().encrypted()
        ),
    })
}

/// The content of `file`, or a line of standard input where there is none or it is `-`.
pub fn read(file: Option<&Path>, what: &str) -> Result<Vec<u8>, Failure> {
    match file {
        Some(path) if path != Path::new("-") => read_file(path, what),
        _ => read_stdin(what),
    }
}

#[expect(clippy::disallowed_methods, reason = "a command reads the file that it was given")]
fn read_file(path: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::local(&format!("cannot read {what} in '{}'", path.display()), &error))
}

/// One line; a terminal is asked for it and does not show it.
fn read_stdin(what: &str) -> Result<Vec<u8>, Failure> {
    let stdin = std::io::stdin();
    let failed =
        |error: std::io::Error| Failure::local(&format!("cannot read {what} from standard input"), &error);
    let hidden = match stdin.is_terminal() {
        true => Some(Hidden::begin(what).map_err(failed)?),
        false => None,
    };
    let mut line = Vec::new();
    let read = stdin.lock().read_until(b'\n', &mut line);
    drop(hidden);
    read.map_err(failed)?;
    Ok(line)
}

/// As long as it lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin(what: &str) -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
        // When stderr is gone, nobody waits for the question.
        let _ = write!(std::io::stderr(), "Type {what}: ");
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
        let _ = writeln!(std::io::stderr());
    }
}
