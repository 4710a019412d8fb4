//! The keyring: from a command to a call.

use quarry_api_types::UnlockKeyring;
use quarry_client::Client;

use crate::arguments::KeyringCommand;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{secrets, tables};

pub async fn run(client: &Client, command: KeyringCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        KeyringCommand::Show => output.answer(&client.show_keyring().await?, tables::keyring),
        KeyringCommand::Unlock { passphrase_file } => {
            secrets::check_endpoint(client, "the passphrase", "quarry keyring unlock")?;
            let bytes = secrets::read(passphrase_file.as_deref(), "the passphrase")?;
            let passphrase = String::from_utf8(bytes).map_err(|_| not_text())?;
            let unlocked = client.unlock_keyring(&UnlockKeyring { passphrase }).await?;
            output.answer(&unlocked, tables::keyring)
        }
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
