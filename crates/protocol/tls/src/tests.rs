use rcgen::{CertificateParams, KeyPair};

use crate::{ConfigError, ServerTls};

fn pair() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["host".to_owned()]).expect("a name");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn certificate_and_key_belong_together() {
    let ((certificate, key), (other, _)) = (pair(), pair());
    let load = |certificate: &str, key: &str, clients: Option<&str>| {
        ServerTls::from_pem(certificate.as_bytes(), key.as_bytes(), clients.map(str::as_bytes))
    };
    load(&certificate, &key, None).expect("a pair");
    load(&certificate, &key, Some(&other)).expect("with an authority for clients");
    assert!(matches!(load("", &key, None), Err(ConfigError::NoCertificate)));
    assert!(matches!(load(&certificate, "nothing", None), Err(ConfigError::Pem { what: "the key", .. })));
    assert!(matches!(load(&certificate, &certificate, None), Err(ConfigError::Pem { what: "the key", .. })));
    assert!(matches!(load(&other, &key, None), Err(ConfigError::Unusable(_))));
    assert!(matches!(load(&certificate, &key, Some("")), Err(ConfigError::Authorities { .. })));
    let damaged = certificate.replace("-----END", "-----EMD");
    assert!(matches!(load(&damaged, &key, None), Err(ConfigError::Pem { .. })));
}
