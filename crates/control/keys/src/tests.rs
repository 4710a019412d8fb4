#![expect(clippy::disallowed_methods, reason = "tests look at the file itself")]

use std::path::PathBuf;

use crate::{KeyStore, KeyStoreError, LocalKeyring, random_key};

struct Place {
    _folder: tempfile::TempDir,
    keyring: PathBuf,
    passphrase: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let (keyring, passphrase) = (folder.path().join("keyring.json"), folder.path().join("passphrase"));
    std::fs::write(&passphrase, "correct horse\n").expect("write");
    Place { _folder: folder, keyring, passphrase }
}

#[tokio::test]
async fn keys_survive_and_open_with_the_passphrase_alone() {
    let place = place();
    let keyring = LocalKeyring::open(&place.keyring, &place.passphrase).expect("a new one");
    let (one, two) = (keyring.create().await.expect("one"), keyring.create().await.expect("two"));
    let key = random_key();
    let wrapped = keyring.wrap(&one, &key).await.expect("wrap");
    drop(keyring);
    let text = std::fs::read_to_string(&place.keyring).expect("a file");
    assert!(text.contains(&one) && !text.contains("horse"));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&place.keyring).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);

    let keyring = LocalKeyring::open(&place.keyring, &place.passphrase).expect("open");
    let opened = keyring.unwrap(&one, &wrapped).await.expect("unwrap");
    assert_eq!(opened.bytes(), key.bytes());
    assert!(matches!(keyring.unwrap(&two, &wrapped).await, Err(KeyStoreError::Refused { .. })));
    assert!(matches!(keyring.unwrap(&one, &wrapped[1..]).await, Err(KeyStoreError::Refused { .. })));
    std::fs::write(&place.passphrase, "wrong horse").expect("write");
    let wrong = LocalKeyring::open(&place.keyring, &place.passphrase);
    assert!(matches!(wrong, Err(KeyStoreError::Passphrase { .. })));
    std::fs::write(&place.passphrase, "\n").expect("write");
    let empty = LocalKeyring::open(&place.keyring, &place.passphrase);
    assert!(matches!(empty, Err(KeyStoreError::Empty { .. })));
}

#[tokio::test]
async fn what_was_destroyed_is_gone() {
    let place = place();
    let keyring = LocalKeyring::open(&place.keyring, &place.passphrase).expect("a new one");
    let name = keyring.create().await.expect("create");
    let wrapped = keyring.wrap(&name, &random_key()).await.expect("wrap");
    keyring.destroy(&name).await.expect("destroy");
    keyring.destroy(&name).await.expect("once more");
    assert!(matches!(keyring.unwrap(&name, &wrapped).await, Err(KeyStoreError::NotFound { .. })));
    assert!(matches!(keyring.wrap(&name, &random_key()).await, Err(KeyStoreError::NotFound { .. })));
    assert!(!std::fs::read_to_string(&place.keyring).expect("a file").contains(&name));
    let again = LocalKeyring::open(&place.keyring, &place.passphrase).expect("open");
    assert!(matches!(again.unwrap(&name, &wrapped).await, Err(KeyStoreError::NotFound { .. })));
}

#[test]
fn a_damaged_keyring_is_named() {
    let place = place();
    LocalKeyring::open(&place.keyring, &place.passphrase).expect("a new one");
    let text = std::fs::read_to_string(&place.keyring).expect("a file");
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("argon2id", "md5"),
        ("\"memory_kib\": 65536", "\"memory_kib\": 4000000000"),
        ("{", "["),
    ] {
        std::fs::write(&place.keyring, text.replacen(from, to, 1)).expect("write");
        let opened = LocalKeyring::open(&place.keyring, &place.passphrase);
        assert!(matches!(opened, Err(KeyStoreError::Damaged { .. })), "{to}");
    }
}
