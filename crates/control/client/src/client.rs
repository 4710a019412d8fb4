//! The calls.

use std::time::Duration;

use quarry_api_types::{
    AddDevice, AdoptVolume, AttachPolicy, ChangeGroup, ChangeHost, ChangeHostGroup, ChangePolicy, ChangePool,
    ChangeSnapshot, ChangeVolume, Changes, ChangesQuery, CloneVolume, CreateExport, CreateGroup, CreateHost,
    CreateHostGroup, CreatePolicy, CreatePool, CreateSnapshot, CreateSnapshotSet, CreateVolume, DeleteExport,
    DeleteVolume, Device, DeviceId, Events, EventsQuery, Export, ExportSelector, Group, GroupPolicy,
    GroupSnapshot, Health, Host, HostGroup, Job, JobState, Keyring, MigrateVolume, Name, Policy, Pool,
    PoolTiers, Problem, RenameVolume, ResizeVolume, RollBackGroup, RollBackVolume, SetTier, Snapshot,
    SnapshotPath, StartScrub, State, StatePlan, Status, UnlockKeyring, Volume, VolumePlacement, VolumePolicy,
};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, redirect};
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

/// What a client proves itself with, and by what it knows the node.
#[derive(Clone, Default)]
pub struct Identity {
    /// The text of a token.
    pub token: Option<String>,
    /// Certificates in PEM form, one of which the node's must come from; those of the system when absent.
    pub authorities: Option<Vec<u8>>,
}

impl Client {
    /// A client of the node at `endpoint`. Connects with the first call.
    ///
    /// # Errors
    /// [`ClientError::BadIdentity`].
    pub fn new(endpoint: Endpoint, identity: Identity) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("quarry/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = identity.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value =
                value.map_err(|_| ClientError::BadIdentity { what: "the token", source: None })?;
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        if let Some(pem) = identity.authorities {
            let bad =
                |source| ClientError::BadIdentity { what: "the file with authorities", source: Some(source) };
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(bad)?);
        } else if !endpoint.is_encrypted() {
            // Nobody is to be known: reading the system's authorities takes a while, and a machine may have none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|source| ClientError::BadIdentity { what: "TLS", source: Some(source) })?;
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

    /// Changes the levels of a pool, or how far it may be over-committed.
    pub async fn change_pool(&self, name: &Name, request: &ChangePool) -> Result<Pool> {
        self.json(self.request(Method::PATCH, &format!("/v1/pools/{name}")).json(request)).await
    }

    /// Ends a pool.
    pub async fn delete_pool(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/pools/{name}")).await
    }

    /// The tiers of a pool.
    pub async fn show_tiers(&self, pool: &Name) -> Result<PoolTiers> {
        self.get(&format!("/v1/pools/{pool}/tiers")).await
    }

    /// Says in which tier everything of a pool is to lie.
    pub async fn place_pool(&self, pool: &Name, request: &SetTier) -> Result<PoolTiers> {
        self.json(self.request(Method::PUT, &format!("/v1/pools/{pool}/tiers")).json(request)).await
    }

    /// Says what a device counts as.
    pub async fn set_device_tier(&self, pool: &Name, device: DeviceId, request: &SetTier) -> Result<Pool> {
        let path = format!("/v1/pools/{pool}/devices/{device}/tier");
        self.json(self.request(Method::PUT, &path).json(request)).await
    }

    /// Where a volume lies.
    pub async fn show_placement(&self, volume: &Name) -> Result<VolumePlacement> {
        self.get(&format!("/v1/volumes/{volume}/placement")).await
    }

    /// Makes a device a member of a pool.
    pub async fn add_device(&self, pool: &Name, request: &AddDevice) -> Result<Pool> {
        self.post(&format!("/v1/pools/{pool}/devices"), request).await
    }

    /// Drains a device and ends its membership.
    pub async fn remove_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.json(self.request(Method::DELETE, &format!("/v1/pools/{pool}/devices/{device}"))).await
    }

    /// Moves everything on a device to others.
    pub async fn drain_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.json(self.request(Method::POST, &format!("/v1/pools/{pool}/devices/{device}/drain"))).await
    }

    /// Uses a device for everything again that was to be drained or removed.
    pub async fn keep_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.json(self.request(Method::DELETE, &format!("/v1/pools/{pool}/devices/{device}/drain"))).await
    }

    /// Puts another device into the place of one.
    pub async fn replace_device(&self, pool: &Name, device: DeviceId, request: &AddDevice) -> Result<Pool> {
        self.post(&format!("/v1/pools/{pool}/devices/{device}/replace"), request).await
    }

    /// Uses all of a device that has become larger.
    pub async fn grow_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.json(self.request(Method::POST, &format!("/v1/pools/{pool}/devices/{device}/grow"))).await
    }

    /// Uses a device again that was missing or has failed.
    pub async fn return_device(&self, pool: &Name, device: DeviceId) -> Result<Pool> {
        self.json(self.request(Method::POST, &format!("/v1/pools/{pool}/devices/{device}/return"))).await
    }

    /// Begins to read every copy of everything that a pool holds.
    pub async fn start_scrub(&self, name: &Name, request: &StartScrub) -> Result<Pool> {
        self.post(&format!("/v1/pools/{name}/scrub"), request).await
    }

    /// Ends the scrub of a pool.
    pub async fn stop_scrub(&self, name: &Name) -> Result<Pool> {
        self.json(self.request(Method::DELETE, &format!("/v1/pools/{name}/scrub"))).await
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

    /// Changes the settings of a volume.
    pub async fn change_volume(&self, name: &Name, request: &ChangeVolume) -> Result<Volume> {
        self.json(self.request(Method::PATCH, &format!("/v1/volumes/{name}")).json(request)).await
    }

    /// Gives a volume another name.
    pub async fn rename_volume(&self, name: &Name, request: &RenameVolume) -> Result<Volume> {
        self.post(&format!("/v1/volumes/{name}/rename"), request).await
    }

    /// Destroys a volume, and its snapshots where that is asked for.
    pub async fn delete_volume(&self, name: &Name, request: &DeleteVolume) -> Result<()> {
        let call = self.request(Method::DELETE, &format!("/v1/volumes/{name}"));
        // A node that knows no snapshots yet knows no such option either.
        let call = if request.with_snapshots { call.query(request) } else { call };
        self.accept(self.send(call).await?).await.map(drop)
    }

    /// Makes a volume with the content of another one, or of one of its snapshots.
    pub async fn clone_volume(&self, origin: &Name, request: &CloneVolume) -> Result<Volume> {
        self.post(&format!("/v1/volumes/{origin}/clone"), request).await
    }

    /// Gives a volume the content of one of its snapshots.
    pub async fn roll_back_volume(&self, name: &Name, request: &RollBackVolume) -> Result<Volume> {
        self.post(&format!("/v1/volumes/{name}/rollback"), request).await
    }

    /// Gives an encrypted volume another key-encryption key.
    pub async fn rotate_volume_key(&self, name: &Name) -> Result<Volume> {
        self.json(self.request(Method::POST, &format!("/v1/volumes/{name}/rotate-key"))).await
    }

    /// Gives a clone the snapshots that it stands on.
    pub async fn promote_volume(&self, name: &Name) -> Result<Volume> {
        self.json(self.request(Method::POST, &format!("/v1/volumes/{name}/promote"))).await
    }

    /// Serves a device as a volume, as it is.
    pub async fn adopt_volume(&self, request: &AdoptVolume) -> Result<Volume> {
        self.post("/v1/image-volumes", request).await
    }

    /// Ends a volume in image mode.
    pub async fn release_volume(&self, name: &Name) -> Result<()> {
        let call = self.request(Method::POST, &format!("/v1/volumes/{name}/release"));
        self.accept(self.send(call).await?).await.map(drop)
    }

    /// Begins to move a volume, or goes on with it.
    pub async fn migrate_volume(&self, name: &Name, request: &MigrateVolume) -> Result<Volume> {
        self.post(&format!("/v1/volumes/{name}/migration"), request).await
    }

    /// Leaves a volume that moves where it was.
    pub async fn cancel_migration(&self, name: &Name) -> Result<Volume> {
        self.json(self.request(Method::DELETE, &format!("/v1/volumes/{name}/migration"))).await
    }

    /// A part of what differs between two states of a volume.
    pub async fn list_changes(&self, volume: &Name, query: &ChangesQuery) -> Result<Changes> {
        self.json(self.request(Method::GET, &format!("/v1/volumes/{volume}/changes")).query(query)).await
    }

    /// The snapshots of every volume.
    pub async fn list_all_snapshots(&self) -> Result<Vec<Snapshot>> {
        self.get("/v1/snapshots").await
    }

    /// The snapshots of a volume.
    pub async fn list_snapshots(&self, volume: &Name) -> Result<Vec<Snapshot>> {
        self.get(&format!("/v1/volumes/{volume}/snapshots")).await
    }

    /// Takes a snapshot of a volume.
    pub async fn create_snapshot(&self, volume: &Name, request: &CreateSnapshot) -> Result<Snapshot> {
        self.post(&format!("/v1/volumes/{volume}/snapshots"), request).await
    }

    /// Takes snapshots of several volumes at one point in time.
    pub async fn create_snapshot_set(&self, request: &CreateSnapshotSet) -> Result<Vec<Snapshot>> {
        self.post("/v1/snapshot-sets", request).await
    }

    /// One snapshot.
    pub async fn show_snapshot(&self, path: &SnapshotPath) -> Result<Snapshot> {
        self.get(&snapshot_path(path)).await
    }

    /// Gives a snapshot another name, or a longer lock.
    pub async fn change_snapshot(&self, path: &SnapshotPath, request: &ChangeSnapshot) -> Result<Snapshot> {
        self.json(self.request(Method::PATCH, &snapshot_path(path)).json(request)).await
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(&self, path: &SnapshotPath) -> Result<()> {
        self.delete(&snapshot_path(path)).await
    }

    /// Every consistency group.
    pub async fn list_groups(&self) -> Result<Vec<Group>> {
        self.get("/v1/groups").await
    }

    /// Makes a consistency group.
    pub async fn create_group(&self, request: &CreateGroup) -> Result<Group> {
        self.post("/v1/groups", request).await
    }

    /// One group.
    pub async fn show_group(&self, name: &Name) -> Result<Group> {
        self.get(&format!("/v1/groups/{name}")).await
    }

    /// Gives a group another name, or other volumes.
    pub async fn change_group(&self, name: &Name, request: &ChangeGroup) -> Result<Group> {
        self.json(self.request(Method::PATCH, &format!("/v1/groups/{name}")).json(request)).await
    }

    /// Ends a group.
    pub async fn delete_group(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/groups/{name}")).await
    }

    /// The snapshots of a group.
    pub async fn list_group_snapshots(&self, group: &Name) -> Result<Vec<GroupSnapshot>> {
        self.get(&format!("/v1/groups/{group}/snapshots")).await
    }

    /// Takes a snapshot of a group.
    pub async fn create_group_snapshot(
        &self,
        group: &Name,
        request: &CreateSnapshot,
    ) -> Result<GroupSnapshot> {
        self.post(&format!("/v1/groups/{group}/snapshots"), request).await
    }

    /// Deletes a snapshot of a group.
    pub async fn delete_group_snapshot(&self, group: &Name, snapshot: &Name) -> Result<()> {
        self.delete(&format!("/v1/groups/{group}/snapshots/{snapshot}")).await
    }

    /// Gives the volumes of a group the content of one of its snapshots.
    pub async fn roll_back_group(&self, name: &Name, request: &RollBackGroup) -> Result<Group> {
        self.post(&format!("/v1/groups/{name}/rollback"), request).await
    }

    /// Every policy.
    pub async fn list_policies(&self) -> Result<Vec<Policy>> {
        self.get("/v1/policies").await
    }

    /// Makes a policy.
    pub async fn create_policy(&self, request: &CreatePolicy) -> Result<Policy> {
        self.post("/v1/policies", request).await
    }

    /// One policy.
    pub async fn show_policy(&self, name: &Name) -> Result<Policy> {
        self.get(&format!("/v1/policies/{name}")).await
    }

    /// Gives a policy other settings.
    pub async fn change_policy(&self, name: &Name, request: &ChangePolicy) -> Result<Policy> {
        self.put(&format!("/v1/policies/{name}"), request).await
    }

    /// Ends a policy.
    pub async fn delete_policy(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/policies/{name}")).await
    }

    /// What is meant for a volume, and whether it is so.
    pub async fn show_volume_policy(&self, volume: &Name) -> Result<VolumePolicy> {
        self.get(&format!("/v1/volumes/{volume}/policy")).await
    }

    /// Attaches a policy to a volume.
    pub async fn attach_volume_policy(&self, volume: &Name, request: &AttachPolicy) -> Result<VolumePolicy> {
        self.put(&format!("/v1/volumes/{volume}/policy"), request).await
    }

    /// Takes the policy of a volume away.
    pub async fn detach_volume_policy(&self, volume: &Name) -> Result<VolumePolicy> {
        self.json(self.request(Method::DELETE, &format!("/v1/volumes/{volume}/policy"))).await
    }

    /// The policy of a group.
    pub async fn show_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        self.get(&format!("/v1/groups/{group}/policy")).await
    }

    /// Attaches a policy to a group.
    pub async fn attach_group_policy(&self, group: &Name, request: &AttachPolicy) -> Result<GroupPolicy> {
        self.put(&format!("/v1/groups/{group}/policy"), request).await
    }

    /// Takes the policy of a group away.
    pub async fn detach_group_policy(&self, group: &Name) -> Result<GroupPolicy> {
        self.json(self.request(Method::DELETE, &format!("/v1/groups/{group}/policy"))).await
    }

    /// The whole intended state as one document.
    pub async fn show_state(&self) -> Result<State> {
        self.get("/v1/state").await
    }

    /// What applying a document would do.
    pub async fn plan_state(&self, state: &State) -> Result<StatePlan> {
        self.post("/v1/state/plan", state).await
    }

    /// Begins to make a document so.
    pub async fn apply_state(&self, state: &State) -> Result<Job> {
        self.post("/v1/state", state).await
    }

    /// What the node does for longer than a request waits, and what it did; of all states, or of one.
    pub async fn list_jobs(&self, state: Option<JobState>) -> Result<Vec<Job>> {
        let wanted: Vec<_> = state.iter().map(|state| ("state", state.as_str())).collect();
        self.json(self.request(Method::GET, "/v1/jobs").query(&wanted)).await
    }

    /// One job.
    pub async fn show_job(&self, id: u64) -> Result<Job> {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// Ends a job.
    pub async fn cancel_job(&self, id: u64) -> Result<Job> {
        self.json(self.request(Method::POST, &format!("/v1/jobs/{id}/cancel"))).await
    }

    /// Serves a volume or a snapshot.
    pub async fn create_export(&self, request: &CreateExport) -> Result<Export> {
        self.post("/v1/exports", request).await
    }

    /// Every export.
    pub async fn list_exports(&self) -> Result<Vec<Export>> {
        self.get("/v1/exports").await
    }

    /// One export, or all exports of a volume or a snapshot.
    pub async fn show_exports(&self, selector: &ExportSelector) -> Result<Vec<Export>> {
        self.get(&format!("/v1/exports/{selector}")).await
    }

    /// Ends one export, or all exports of a volume or a snapshot.
    pub async fn delete_export(&self, selector: &ExportSelector, request: &DeleteExport) -> Result<()> {
        let call = self.request(Method::DELETE, &format!("/v1/exports/{selector}"));
        // As for volumes: an older node knows no such option.
        let call = if request.force { call.query(request) } else { call };
        self.accept(self.send(call).await?).await.map(drop)
    }

    /// Every host.
    pub async fn list_hosts(&self) -> Result<Vec<Host>> {
        self.get("/v1/hosts").await
    }

    /// Makes a host.
    pub async fn create_host(&self, request: &CreateHost) -> Result<Host> {
        self.post("/v1/hosts", request).await
    }

    /// One host.
    pub async fn show_host(&self, name: &Name) -> Result<Host> {
        self.get(&format!("/v1/hosts/{name}")).await
    }

    /// Gives a host other initiators, networks or proofs.
    pub async fn change_host(&self, name: &Name, request: &ChangeHost) -> Result<Host> {
        self.json(self.request(Method::PATCH, &format!("/v1/hosts/{name}")).json(request)).await
    }

    /// Ends a host.
    pub async fn delete_host(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/hosts/{name}")).await
    }

    /// Every host group.
    pub async fn list_host_groups(&self) -> Result<Vec<HostGroup>> {
        self.get("/v1/host-groups").await
    }

    /// Makes a host group.
    pub async fn create_host_group(&self, request: &CreateHostGroup) -> Result<HostGroup> {
        self.post("/v1/host-groups", request).await
    }

    /// One host group.
    pub async fn show_host_group(&self, name: &Name) -> Result<HostGroup> {
        self.get(&format!("/v1/host-groups/{name}")).await
    }

    /// Gives a host group other hosts.
    pub async fn change_host_group(&self, name: &Name, request: &ChangeHostGroup) -> Result<HostGroup> {
        self.json(self.request(Method::PATCH, &format!("/v1/host-groups/{name}")).json(request)).await
    }

    /// Ends a host group.
    pub async fn delete_host_group(&self, name: &Name) -> Result<()> {
        self.delete(&format!("/v1/host-groups/{name}")).await
    }

    /// Whether the node can open encrypted volumes.
    pub async fn show_keyring(&self) -> Result<Keyring> {
        self.get("/v1/keyring").await
    }

    /// Opens the node's keyring.
    pub async fn unlock_keyring(&self, request: &UnlockKeyring) -> Result<Keyring> {
        self.post("/v1/keyring/unlock", request).await
    }

    /// A part of what has happened, the oldest first.
    pub async fn list_events(&self, query: &EventsQuery) -> Result<Events> {
        self.json(self.request(Method::GET, "/v1/events").query(query)).await
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

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.json(self.request(Method::PUT, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        let response = self.send(self.request(Method::DELETE, path)).await?;
        self.accept(response).await.map(drop)
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        self.decode(self.accept(response).await?).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.endpoint.url(path))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|source| ClientError::from_transport(&self.endpoint, source))
    }

    /// Lets a good answer pass and turns any other one into an error.
    pub(crate) async fn accept(&self, response: Response) -> Result<Response> {
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

    pub(crate) fn not_quarry(&self, status: StatusCode, source: Option<serde_json::Error>) -> ClientError {
        ClientError::NotQuarry { endpoint: self.endpoint.clone(), status: status.as_u16(), source }
    }
}

fn snapshot_path(path: &SnapshotPath) -> String {
    format!("/v1/volumes/{}/snapshots/{}", path.volume, path.snapshot)
}

fn is_problem(response: &Response) -> bool {
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"))
}
