//! `quarry watch`: what is there, and every change of it.

use quarry_api_types::WatchedKind;
use quarry_client::Client;

use crate::arguments::WatchCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables;

pub async fn run(client: &Client, command: WatchCommand, output: &mut Output) -> Result<(), Failure> {
    let mut watch = client.watch(&command.sorts, command.since).await?;
    output.heading(tables::WATCH_HEADING)?;
    while let Some(message) = watch.next().await? {
        let is_over = message.kind == WatchedKind::Ended;
        if !output.line(&message, tables::watch_line)? || is_over {
            break;
        }
    }
    Ok(())
}
