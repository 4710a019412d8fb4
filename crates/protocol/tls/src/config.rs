//! Certificates and keys.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of the certificate has none.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// A file is not what it should be.
    #[error("{what} cannot be read: {source}")]
    Pem {
        /// Which.
        what: &'static str,
        /// The reason.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The authorities of clients cannot be used.
    #[error("the authorities of clients cannot be used: {reason}")]
    Authorities {
        /// The reason.
        reason: String,
    },
}

/// What a server proves itself with, and whom it takes. Clones are the same.
#[derive(Clone, Debug)]
pub struct ServerTls(pub(crate) Arc<ServerConfig>);

impl ServerTls {
    /// From files in PEM form: the server's certificate with those that lead to its authority behind it, the key of the first, and
    /// the authorities that a client's certificate must come from, if clients need one.
    pub fn from_pem(
        certificates: &[u8],
        key: &[u8],
        client_authorities: Option<&[u8]>,
    ) -> Result<Self, ConfigError> {
        let chain = read(certificates, "the certificate")?;
        if chain.is_empty() {
            return Err(ConfigError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| ConfigError::Pem { what: "the key", source })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = match client_authorities {
            None => versions.with_no_client_auth(),
            Some(bytes) => {
                let mut roots = RootCertStore::empty();
                for authority in read(bytes, "the authorities of clients")? {
                    roots.add(authority)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let unusable = |error: rustls::server::VerifierBuilderError| ConfigError::Authorities {
                    reason: error.to_string(),
                };
                versions.with_client_cert_verifier(verifier.map_err(unusable)?)
            }
        };
        Ok(Self(Arc::new(config.with_single_cert(chain, key)?)))
    }
}

fn read(bytes: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let all = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    all.map_err(|source| ConfigError::Pem { what, source })
}
