//! A watch: messages without end.

use std::time::Duration;

use quarry_api_types::{WatchQuery, WatchSort, Watched};
use reqwest::{Method, Response};

use crate::{Client, ClientError, Result};

/// A node that watches says something at least every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longer than anybody watches.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Messages of a node as they come.
pub struct Watch {
    client: Client,
    response: Response,
    /// What has arrived and was not taken.
    buffer: Vec<u8>,
}

impl Client {
    /// Watches objects of some sorts, and events behind `since`, or those from now on.
    pub async fn watch(&self, sorts: &[WatchSort], since: Option<u64>) -> Result<Watch> {
        let sorts: Vec<_> = sorts.iter().map(|sort| sort.as_str()).collect();
        let query = WatchQuery { sorts: sorts.join(","), since };
        let request = self.request(Method::GET, "/v1/watch").query(&query).timeout(FOR_EVER);
        let response = self.accept(self.send(request).await?).await?;
        Ok(Watch { client: self.clone(), response, buffer: Vec::new() })
    }
}

impl Watch {
    /// The next message; `None` when the node has ended the watch.
    ///
    /// # Errors
    /// [`ClientError::Silent`] when the node says nothing any more; those of every call.
    pub async fn next(&mut self) -> Result<Option<Watched>> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(watched) = self.decode(&message)? {
                    return Ok(Some(watched));
                }
            }
            let endpoint = self.client.endpoint();
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| ClientError::Silent { endpoint: endpoint.clone() })?;
            match chunk.map_err(|source| ClientError::from_transport(endpoint, source))? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// The data of a server-sent event; comments have none.
    fn decode(&self, message: &[u8]) -> Result<Option<Watched>> {
        let data = message.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
        let not_quarry = |source| self.client.not_quarry(self.response.status(), Some(source));
        data.map(|data| serde_json::from_slice(data).map_err(not_quarry)).transpose()
    }
}
