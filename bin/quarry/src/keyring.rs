//! The keyring: from a command to a call, and where the passphrase comes from.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use quarry_api_types::UnlockKeyring;
use quarry_client::Client;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::arguments::KeyringCommand;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::tables;

pub async fn run(client: &Client, command: KeyringCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        KeyringCommand::Show => output.answer(&client.show_keyring().await?, tables::keyring),
        KeyringCommand::Unlock { passphrase_file } => {
            // The API is spoken in clear.
            if !client.endpoint().is_loopback() {
                return Err(not_over_a_network());
            }
            let bytes = match passphrase_file {
                Some(path) => read_file(&path)?,
                None => read_stdin()?,
            };
            let passphrase = String::from_utf8(bytes).map_err(|_| not_text())?;
            let unlocked = client.unlock_keyring(&UnlockKeyring { passphrase }).await?;
            output.answer(&unlocked, tables::keyring)
        }
    }
}

fn not_over_a_network() -> Failure {
    Failure {
        exit: Exit::Usage,
        message: "the passphrase is not sent over a network".to_owned(),
        cause: Some("the node's API does not encrypt what goes over it".to_owned()),
        next_step:
            "Run the command on the node itself, or through a tunnel: `ssh NODE quarry keyring unlock`."
                .to_owned(),
    }
}

fn not_text() -> Failure {
    Failure {
        exit: Exit::Usage,
        message: "the passphrase is not UTF-8".to_owned(),
        cause: None,
        next_step: "Restart quarryd with --keyring-passphrase-file, which takes any bytes.".to_owned(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a command reads the file that it was given")]
fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::local(&format!("cannot read the passphrase in '{}'", path.display()), &error)
    })
}

/// One line; a terminal is asked for it and does not show it.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    let stdin = std::io::stdin();
    let failed =
        |error: std::io::Error| Failure::local("cannot read the passphrase from standard input", &error);
    let hidden = match stdin.is_terminal() {
        true => Some(Hidden::begin().map_err(failed)?),
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
    fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
        // When stderr is gone, nobody waits for the question.
        let _ = write!(std::io::stderr(), "Passphrase of the keyring: ");
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
        let _ = writeln!(std::io::stderr());
    }
}
