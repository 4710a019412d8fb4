//! The calls.

use std::time::Duration;

use quarry_api_types::{
    CreateExport, CreatePool, CreateVolume, Device, Export, ExportSelector, Health, Name, Pool, Problem,
    ResizeVolume, Status, Volume,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ClientError, Endpoint, Result};

/// How long to wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer. Making a pool over many slow devices is the longest call.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// A client of one node. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
}

impl Client {
    /// A client of the node at `endpoint`. Connects with the first call.
    pub fn new(endpoint: Endpoint) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("quarry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| ClientError::Unreachable { endpoint: endpoint.clone(), source })?;
        Ok(Self { http, endpoint })
    }

    /// Where the node is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The devices of the pools, and what the last scan has seen.
    pub async fn list_devices(&self) -> Result<Vec<Device>> {
        self.get("/v1/devices").await
    }

    /// The devices of the machine, looked at anew.
    pub async fn scan_devices(&self) -> Result<Vec<Device>> {
        self.json(self.request(Method::POST, "/v1/devices/scan")).await
    }

    /// Makes a pool.
    pub async fn create_pool(&self, request: &CreatePool) -> Result<Pool> {
        self.post("/v1/pools", request).await
    }

    /// Every pool.
    pub async fn list_pools(&self) -> Result<Vec<Pool>> {
        self.get("/v1/pools").await
    }

    /// One pool.
    pub async fn show_pool(&self, name: &Name) -> Result<Pool> {
        self.get(&format!("/v1/pools/{name}")).await
    }

    /// Ends a pool.
    pub async fn delete_pool(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/pools/{name}")).await
    }

    /// Carves a volume from a pool.
    pub async fn create_volume(&self, request: &CreateVolume) -> Result<Volume> {
        self.post("/v1/volumes", request).await
    }

    /// Every volume.
    pub async fn list_volumes(&self) -> Result<Vec<Volume>> {
        self.get("/v1/volumes").await
    }

    /// One volume.
    pub async fn show_volume(&self, name: &Name) -> Result<Volume> {
        self.get(&format!("/v1/volumes/{name}")).await
    }

    /// Gives a volume another size.
    pub async fn resize_volume(&self, name: &Name, request: &ResizeVolume) -> Result<Volume> {
        self.post(&format!("/v1/volumes/{name}/resize"), request).await
    }

    /// Destroys a volume.
    pub async fn delete_volume(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/volumes/{name}")).await
    }

    /// Serves a volume.
    pub async fn create_export(&self, request: &CreateExport) -> Result<Export> {
        self.post("/v1/exports", request).await
    }

    /// Every export.
    pub async fn list_exports(&self) -> Result<Vec<Export>> {
        self.get("/v1/exports").await
    }

    /// Ends one export, or all exports of a volume.
    pub async fn delete_export(&self, selector: &ExportSelector) -> Result<()> {
        self.delete(&format!("/v1/exports/{selector}")).await
    }

    /// The node in one page.
    pub async fn status(&self) -> Result<Status> {
        self.get("/v1/status").await
    }

    /// The node's health, be it good or bad: a critical one is an answer here and not an error.
    pub async fn health(&self) -> Result<Health> {
        let response = self.send(self.request(Method::GET, "/v1/health")).await?;
        let is_health = response.status() == StatusCode::SERVICE_UNAVAILABLE && !is_problem(&response);
        let response = if is_health { response } else { self.accept(response).await? };
        self.decode(response).await
    }

    /// The node's figures in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String> {
        let response = self.send(self.request(Method::GET, "/metrics")).await?;
        let response = self.accept(response).await?;
        response.text().await.map_err(|source| ClientError::from_transport(&self.endpoint, source))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let response = self.send(self.request(Method::DELETE, path)).await?;
        self.accept(response).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        self.decode(self.accept(response).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.endpoint.url(path))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|source| ClientError::from_transport(&self.endpoint, source))
    }

    /// Lets a good answer pass and turns any other one into an error.
    async fn accept(&self, response: Response) -> Result<Response> {
        if response.status().is_success() {
            return Ok(response);
        }
        if !is_problem(&response) {
            return Err(self.not_quarry(response.status(), None));
        }
        let problem: Box<Problem> = self.decode(response).await?;
        Err(ClientError::Problem(problem))
    }

    async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let status = response.status();
        let body =
            response.bytes().await.map_err(|source| ClientError::from_transport(&self.endpoint, source))?;
        serde_json::from_slice(&body).map_err(|source| self.not_quarry(status, Some(source)))
    }

    fn not_quarry(&self, status: StatusCode, source: Option<serde_json::Error>) -> ClientError {
        ClientError::NotQuarry { endpoint: self.endpoint.clone(), status: status.as_u16(), source }
    }
}

fn is_problem(response: &Response) -> bool {
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"))
}
