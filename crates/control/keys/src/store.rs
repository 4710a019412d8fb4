//! The seam.

use async_trait::async_trait;
use quarry_crypt::DataKey;

use crate::KeyStoreError;

/// Holds key-encryption keys and wraps data keys under them. Calls may come at the same time.
///
/// What an implementation makes of a wrapped key is its own affair; up to 1024 bytes are kept of it.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Makes a key-encryption key. It is durable when its name is returned.
    async fn create(&self) -> Result<String, KeyStoreError>;

    /// Wraps a data key under the key-encryption key of that name. `NotFound`.
    async fn wrap(&self, name: &str, key: &DataKey) -> Result<Vec<u8>, KeyStoreError>;

    /// Opens what [`Self::wrap`] gave for the same name. `NotFound`, `Refused`.
    async fn unwrap(&self, name: &str, wrapped: &[u8]) -> Result<DataKey, KeyStoreError>;

    /// Destroys a key-encryption key for good. That it is not there is a success.
    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError>;
}

/// A key drawn by chance from the operating system.
pub fn random_key() -> DataKey {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *bytes).expect("the operating system gives random bytes");
    DataKey::new(*bytes)
}
