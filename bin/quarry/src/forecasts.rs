//! `quarry history`, `quarry pool forecast`, `quarry volume forecast`: what was and what is to be expected.

use quarry_api_types::{Name, SeriesQuery, Timestamp};
use quarry_client::Client;

use crate::arguments::{HistoryCommand, HistoryOf};
use crate::failure::Failure;
use crate::members;
use crate::output::Output;
use crate::tables;
use crate::values::Since;

type Result = std::result::Result<(), Failure>;

pub async fn history(client: &Client, command: HistoryCommand, output: &mut Output) -> Result {
    let found = match command {
        HistoryCommand::Pool { name, what } => client.show_pool_history(&name, &query(&what)).await?,
        HistoryCommand::Volume { name, what } => client.show_volume_history(&name, &query(&what)).await?,
        HistoryCommand::Device { of, what } => {
            let id = members::find(client, &of).await?;
            client.show_device_history(&of.pool, id, &query(&what)).await?
        }
    };
    output.answer(&found, tables::forecasts::history)
}

fn query(what: &HistoryOf) -> SeriesQuery {
    let from = what.from.map(|since| match since {
        Since::At(time) => time,
        Since::Ago(ago) => {
            Timestamp::from_unix_ms(now_ms().saturating_sub(ago.as_millis().try_into().unwrap_or(u64::MAX)))
        }
    });
    SeriesQuery { series: what.series, from, resolution: what.resolution }
}

#[expect(clippy::disallowed_types, reason = "how long ago is said by whoever sits here")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

pub async fn pool(client: &Client, name: &Name, output: &mut Output) -> Result {
    output.answer(&client.show_pool_forecast(name).await?, tables::forecasts::forecast)
}

pub async fn volume(client: &Client, name: &Name, output: &mut Output) -> Result {
    output.answer(&client.show_volume_forecast(name).await?, tables::forecasts::forecast)
}
