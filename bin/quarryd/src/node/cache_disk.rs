//! The node's cache disk: opened before the pools; the node goes on without it where that fails.

use quarry_api_types::{CacheDiskStatus, Cause, HealthLevel};
use quarry_cache_disk::CacheDisk;

use super::DataNode;
use super::exposition::{Family, put};
use crate::causes::whole;

const HITS: Family =
    ("quarry_cache_disk_hits_total", "counter", "Reads of slow devices that the cache disk has answered.");
const MISSES: Family =
    ("quarry_cache_disk_misses_total", "counter", "Reads of slow devices that it could not answer.");
const WRITTEN: Family =
    ("quarry_cache_disk_written_bytes_total", "counter", "Bytes written to the cache disk.");
const ERRORS: Family = (
    "quarry_cache_disk_errors_total",
    "counter",
    "Operations of the cache disk that failed or took too long, and records on it that were not what they should be.",
);
const USED: Family =
    ("quarry_cache_disk_used_bytes", "gauge", "Bytes of the cache disk that hold something.");
const SIZE: Family = ("quarry_cache_disk_size_bytes", "gauge", "Bytes that the cache disk can hold.");
const RECORDS: Family = ("quarry_cache_disk_records", "gauge", "Blocks that can be found on the cache disk.");
const FAILED: Family =
    ("quarry_cache_disk_failed", "gauge", "1 when the cache disk is not used because of errors.");

/// One of the figures.
type Value = fn(&CacheDiskStatus) -> u64;

impl DataNode {
    /// Opens the cache disk, if the node is to have one. Before the pools, whose logs look for what they have on it.
    pub async fn open_cache_disk(&self) {
        let Some(path) = self.settings.cache_disk.clone() else { return };
        let opened = self
            .cores
            .call(0, {
                let path = path.clone();
                |state| async move { CacheDisk::open(&state.env, &path).await.map_err(|error| whole(&error)) }
            })
            .await;
        match opened.map_err(|error| error.to_string()).flatten() {
            Ok(disk) => {
                tracing::info!(path = %path.display(), bytes = disk.status().size_bytes, "the cache disk is open");
                // It is opened once.
                let _ = self.cache_disk.set(disk);
            }
            Err(error) => {
                tracing::error!(%error, "the node goes on without its cache disk");
                let _ = self.cache_disk_error.set(error);
            }
        }
    }

    /// What has come of the cache disk, if the node is to have one.
    pub(super) fn cache_disk_status(&self) -> Option<CacheDiskStatus> {
        let path = self.settings.cache_disk.as_ref()?.display().to_string();
        let Some(disk) = self.cache_disk.get() else {
            let failure = self.cache_disk_error.get().cloned();
            return Some(CacheDiskStatus { path, failure, ..CacheDiskStatus::default() });
        };
        let seen = disk.status();
        Some(CacheDiskStatus {
            path,
            size_bytes: seen.size_bytes,
            used_bytes: seen.used_bytes,
            records: seen.records,
            hits: seen.hits,
            misses: seen.misses,
            written_bytes: seen.written_bytes,
            errors: seen.errors,
            failure: seen.failure,
        })
    }

    /// What speaks against the node for it.
    pub(super) fn cache_disk_cause(&self) -> Option<Cause> {
        let CacheDiskStatus { path, failure, .. } = self.cache_disk_status()?;
        Some(Cause {
            level: HealthLevel::Warning,
            message: format!("the cache disk {path} is not used: {}", failure?),
            next_step: "Nothing is lost, reads of slow devices are slower. Mend or replace it and restart quarryd, or take --cache-disk away."
                .to_owned(),
        })
    }

    /// Its figures; without samples where the node is to have none.
    pub(super) fn put_cache_disk(&self, text: &mut String) {
        let status = self.cache_disk_status();
        let families: [(Family, Value); 8] = [
            (HITS, |status| status.hits),
            (MISSES, |status| status.misses),
            (WRITTEN, |status| status.written_bytes),
            (ERRORS, |status| status.errors),
            (USED, |status| status.used_bytes),
            (SIZE, |status| status.size_bytes),
            (RECORDS, |status| status.records),
            (FAILED, |status| u64::from(status.failure.is_some())),
        ];
        for (family, value) in families {
            put(text, family, status.iter().map(|status| (String::new(), value(status))));
        }
    }
}
