//! TLS of the API: what the server proves itself with.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is none.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// One of the two is not what it should be.
    #[error("{what} cannot be read")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// They do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// What the API's server proves itself with. Clones are the same.
#[derive(Clone)]
pub struct ApiTls(pub(crate) TlsAcceptor);

impl ApiTls {
    /// From PEM: the server's certificate with those that lead to its authority behind it, and the key of the first.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Pem { what: "the certificate", source })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem { what: "the key", source })?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}
