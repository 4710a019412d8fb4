//! What the API proves itself with: files that were given, or a certificate of an authority of the node's own.
//!
//! The authority is made at the first start and stays in the data directory: `api-ca.pem` for clients, `api-ca.key`. The server's own
//! certificate is made anew at each start, for the names and addresses that the node has then, and is written nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use quarry_api::ApiTls;
use quarry_local::{AUTHORITY_FILE, read_private, write_private};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::settings::Settings;

const AUTHORITY_KEY_FILE: &str = "api-ca.key";
/// An address that nobody has (RFC 5737): the way there shows which of our addresses others see.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// What the API is to prove itself with.
pub async fn api_tls(settings: &Settings, api: SocketAddr) -> anyhow::Result<ApiTls> {
    let authority = settings.data_dir.join(AUTHORITY_FILE);
    if let Some(pair) = &settings.api_certificate {
        // Clients on this machine must not take the node's own authority for the one of this certificate.
        remove(&authority).with_context(|| format!("{} cannot be removed", authority.display()))?;
        return ApiTls::from_pem(&pair.certificate, &pair.key).context("--api-cert and --api-key");
    }
    let key = authority_key(&settings.data_dir.join(AUTHORITY_KEY_FILE))?;
    if read_private(&authority)?.is_none() {
        let made = authority_params().self_signed(&key).context("an authority cannot be made")?;
        write_private(&authority, made.pem().as_bytes())
            .with_context(|| format!("{} cannot be written", authority.display()))?;
        tracing::info!(
            "API certificates come from {} with the SHA-256 fingerprint {}",
            authority.display(),
            fingerprint(&made)
        );
    }
    let issuer = Issuer::new(authority_params(), key);
    let own = KeyPair::generate().context("a key cannot be made")?;
    let made = server_params(names(settings, api).await)?.signed_by(&own, &issuer);
    let made = made.context("a certificate cannot be made")?;
    ApiTls::from_pem(made.pem().as_bytes(), own.serialize_pem().as_bytes())
        .context("the API's own certificate")
}

fn authority_key(path: &Path) -> anyhow::Result<KeyPair> {
    let kept = read_private(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if let Some(pem) = kept {
        let pem = String::from_utf8(pem).with_context(|| format!("{} is no key", path.display()))?;
        return KeyPair::from_pem(&pem).with_context(|| format!("{} is no key", path.display()));
    }
    let key = KeyPair::generate().context("a key cannot be made")?;
    write_private(path, key.serialize_pem().as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(key)
}

/// The same whenever they are made, so that what is signed today comes from the authority of the first day.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Quarry node authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn server_params(names: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).context("a name of the node fits into no certificate")?;
    params.distinguished_name.push(DnType::CommonName, "Quarry node");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The names and addresses by which clients may ask for the API.
async fn names(settings: &Settings, api: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    names.extend(is_name.then(|| host.into_owned()));
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    match api.ip().is_unspecified() {
        true => addresses.extend(outward_address().await),
        false => addresses.push(api.ip()),
    }
    addresses.extend(&settings.advertise);
    names.extend(addresses.iter().map(ToString::to_string));
    names.extend(settings.api_names.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// The address from which the way to other machines begins, if there is one. Nothing is sent.
async fn outward_address() -> Option<IpAddr> {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    socket.connect(ELSEWHERE).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn fingerprint(certificate: &Certificate) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[expect(clippy::disallowed_methods, reason = "the daemon's own file, before anything runs")]
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
