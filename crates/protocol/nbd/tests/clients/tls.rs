//! Encrypted connections, by clients that have GnuTLS: libnbd's and QEMU's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quarry_tls::ServerTls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::fixture::{Fixture, run, sparse_bytes, try_run};
use crate::support::protocol::*;

/// An authority, and what it has signed.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// A certificate for `name` and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// A directory as clients want it: whom they trust, and who they are if they are somebody.
    fn directory(&self, at: &Path, name: &str, client: Option<(String, String)>) -> PathBuf {
        let directory = at.join(name);
        std::fs::create_dir(&directory).expect("a new directory");
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("a file");
        write("ca-cert.pem", &self.0.pem());
        if let Some((certificate, key)) = client {
            write("client-cert.pem", &certificate);
            write("client-key.pem", &key);
        }
        directory
    }
}

/// A node that proves to be 127.0.0.1, and asks clients for a certificate where `asks`.
fn fixture(authority: &Authority, asks: bool) -> Fixture {
    let (certificate, key) = authority.sign("127.0.0.1");
    let clients = authority.0.pem();
    let clients = asks.then_some(clients.as_bytes());
    let tls = ServerTls::from_pem(certificate.as_bytes(), key.as_bytes(), clients);
    Fixture::start(tempfile::tempdir().expect("a directory"), Some(tls.expect("what was just made")))
}

fn uri(fixture: &Fixture, export: &str, directory: &Path) -> String {
    format!("nbds://{}/{export}?tls-certificates={}", fixture.node.tcp, directory.display())
}

#[test]
fn an_image_goes_there_and_back_encrypted() {
    let authority = Authority::new("authority");
    let fixture = fixture(&authority, false);
    let directory = authority.directory(fixture.directory.path(), "client", None);
    let image = fixture.file("image", &sparse_bytes());
    let copy = fixture.directory.path().join("copy");
    let (image, copy) = (image.to_str().expect("a text"), copy.to_str().expect("a text"));
    // `far` moves to the other core after its negotiation.
    for export in ["disk", "far"] {
        let uri = uri(&fixture, export, &directory);
        assert!(run("nbdinfo", &[&uri]).contains("with TLS"), "nbdinfo does not say that it is encrypted");
        run("nbdcopy", &["--connections=2", image, &uri]);
        run("nbdcopy", &["--connections=2", &uri, copy]);
        assert!(std::fs::read(image).expect("the image") == std::fs::read(copy).expect("the copy"));
    }
    let credentials = format!("tls-creds-x509,id=tls,endpoint=client,dir={}", directory.display());
    let tcp = fixture.node.tcp;
    let options = format!("driver=nbd,host={},port={},export=disk,tls-creds=tls", tcp.ip(), tcp.port());
    run(
        "qemu-img",
        &["compare", "--object", &credentials, "--image-opts", &options, &format!("file.filename={image}")],
    );
}

#[test]
fn nothing_is_told_in_the_clear() {
    let authority = Authority::new("authority");
    let fixture = fixture(&authority, false);
    let tcp = fixture.node.tcp;
    for arguments in [vec!["--list".to_owned(), format!("nbd://{tcp}")], vec![format!("nbd://{tcp}/disk")]] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (success, output) = try_run("nbdinfo", &arguments);
        assert!(!success && !output.contains("67108864") && !output.contains("a b/ü"), "{output}");
    }
    // A socket in the file system is as it was.
    assert!(run("nbdinfo", &[&fixture.node.uri("disk")]).contains("without TLS"));
}

#[test]
fn who_is_not_who_it_should_be_is_not_served() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let fixture = fixture(&authority, true);
    let at = fixture.directory.path();
    let known = authority.directory(at, "known", Some(authority.sign("host")));
    run("nbdinfo", &[&uri(&fixture, "disk", &known)]);
    let nobody = authority.directory(at, "nobody", None);
    let forged = authority.directory(at, "forged", Some(stranger.sign("host")));
    let elsewhere = stranger.directory(at, "elsewhere", Some(authority.sign("host")));
    for directory in [nobody, forged, elsewhere] {
        let (success, output) = try_run("nbdinfo", &[&uri(&fixture, "disk", &directory)]);
        assert!(!success && !output.contains("67108864"), "{}: {output}", directory.display());
    }
    run("nbdinfo", &[&uri(&fixture, "disk", &known)]);
}

fn option(kind: u32, data: &[u8]) -> Vec<u8> {
    [&IHAVEOPT[..], &kind.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

fn reply(kind: u32, code: u32) -> Vec<u8> {
    [&OPTION_REPLY.to_be_bytes()[..], &kind.to_be_bytes(), &code.to_be_bytes()].concat()
}

/// What the server answers to these bytes behind the greeting, until it closes.
fn say(fixture: &Fixture, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(fixture.node.tcp).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(&[&3u32.to_be_bytes()[..], bytes].concat()).expect("the server listens");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn options_wait_for_tls_and_nothing_slips_in_before_it() {
    let fixture = fixture(&Authority::new("authority"), false);
    let go = option(OPT_GO, &[&4u32.to_be_bytes()[..], b"disk", &[0; 2]].concat());
    let answer = say(&fixture, &[option(OPT_LIST, &[]), go.clone(), option(OPT_ABORT, &[])].concat());
    assert!(
        contains(&answer, &reply(OPT_LIST, ERR_TLS_REQD)) && contains(&answer, &reply(OPT_GO, ERR_TLS_REQD))
    );
    assert!(contains(&answer, &reply(OPT_ABORT, REP_ACK)));
    // There is no way to say no to this one.
    assert_eq!(say(&fixture, &option(OPT_EXPORT_NAME, b"disk")).len(), 18);
    // What comes in the clear behind STARTTLS is taken for TLS, which it is not.
    let answer = say(&fixture, &[option(OPT_STARTTLS, &[]), go].concat());
    let ack = reply(OPT_STARTTLS, REP_ACK);
    assert!(contains(&answer, &ack));
    assert!(!contains(&answer, &OPT_GO.to_be_bytes()), "{answer:?}");
    let garbage = say(&fixture, &[option(OPT_STARTTLS, &[]), vec![0x16; 100_000]].concat());
    assert!(contains(&garbage, &ack));
    // The server notes the end of a session after its client sees it.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fixture.node.exports.sessions().is_empty() {
        assert!(Instant::now() < deadline, "sessions are left");
        std::thread::sleep(Duration::from_millis(5));
    }
}
