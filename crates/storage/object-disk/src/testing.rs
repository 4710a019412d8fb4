//! A server of objects in memory, and how it treats one of its clients.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::sleep;

use crate::address::BucketAddress;
use crate::bucket::Bucket;
use crate::device::Device;
use crate::lease::Lease;
use crate::limits::{LATE_TIME_MAX, REQUEST_TIME_MAX};

/// What becomes of a client's requests.
#[derive(Clone, Copy, Default, Debug)]
pub enum Weather {
    #[default]
    Fine,
    /// 503.
    Refused,
    /// Answered after so long.
    Slow(Duration),
    /// Not answered; what writes is carried out after so long. The longest that the rules allow: [`Weather::latest`].
    Late(Duration),
    /// Not answered, and not carried out.
    Mute,
}

impl Weather {
    /// Just in time for [`LATE_TIME_MAX`] after a request that was given up as early as can be.
    pub fn latest() -> Self {
        Self::Late(LATE_TIME_MAX)
    }
}

/// What is told when an object has been written: by which client, and its name.
pub type Told = Arc<dyn Fn(u128, &Path) + Send + Sync>;

/// One client's way to the server. Clients share what is stored.
#[derive(Clone)]
pub struct Way {
    client: u128,
    store: Arc<InMemory>,
    weather: Arc<Mutex<Weather>>,
    told: Told,
}

impl Way {
    pub fn new(client: u128, store: &Arc<InMemory>) -> Self {
        Self::telling(client, store, Arc::new(|_, _| {}))
    }

    pub fn telling(client: u128, store: &Arc<InMemory>, told: Told) -> Self {
        Self { client, store: store.clone(), weather: Arc::default(), told }
    }

    pub fn set(&self, weather: Weather) {
        *self.weather.lock().expect("no panic under it") = weather;
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().expect("no panic under it")
    }

    pub fn device(&self) -> Arc<Device> {
        let address =
            BucketAddress::parse(std::path::Path::new("s3://cold/a?size=64MiB")).expect("an address");
        Arc::new(Device::new(Bucket::new(Arc::new(self.clone()), &address)))
    }

    /// A device that holds its place.
    pub async fn held(&self) -> (Arc<Device>, Arc<Lease>) {
        let device = self.device();
        let lease = device.hold(self.client).await.expect("nobody else has it");
        (device, lease)
    }

    async fn put_now(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let result = self.store.put_opts(path, payload, options).await;
        (self.told)(self.client, path);
        result
    }
}

async fn never<T>() -> T {
    sleep(REQUEST_TIME_MAX * 2).await;
    std::future::pending().await
}

fn refused<T>() -> Result<T> {
    let source = "Server returned non-2xx status code: 503 Service Unavailable".into();
    Err(object_store::Error::Generic { store: "S3", source })
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.client)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Way {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.weather() {
            Weather::Fine => self.put_now(path, payload, options).await,
            Weather::Refused => refused(),
            // Whoever does not wait for the answer does not stop the server.
            Weather::Slow(time) => {
                let (way, path) = (self.clone(), path.clone());
                let late = async move {
                    sleep(time).await;
                    way.put_now(&path, payload, options).await
                };
                tokio::spawn(late).await.expect("it does not panic")
            }
            Weather::Late(time) => {
                let (way, path) = (self.clone(), path.clone());
                tokio::spawn(async move {
                    sleep(time).await;
                    way.put_now(&path, payload, options).await
                });
                never().await
            }
            Weather::Mute => never().await,
        }
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.weather() {
            Weather::Fine => {}
            Weather::Refused => return refused(),
            Weather::Slow(time) => sleep(time).await,
            Weather::Late(_) | Weather::Mute => return never().await,
        }
        self.store.get_opts(path, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
