#![expect(clippy::disallowed_methods, reason = "tests look at the file itself")]

use std::path::PathBuf;

use crate::{KeyStore, KeyStoreError, LocalKeyring, Passphrase, random_key};

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

impl Place {
    fn open(&self) -> Result<LocalKeyring, KeyStoreError> {
        LocalKeyring::open_or_create(&self.keyring, &Passphrase::read(&self.passphrase)?)
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into()).expect("it is not empty")
}

#[tokio::test]
async fn keys_survive_and_open_with_the_passphrase_alone() {
    let place = place();
    let keyring = place.open().expect("a new one");
    let (one, two) = (keyring.create().await.expect("one"), keyring.create().await.expect("two"));
    let key = random_key();
    let wrapped = keyring.wrap(&one, &key).await.expect("wrap");
    drop(keyring);
    let text = std::fs::read_to_string(&place.keyring).expect("a file");
    assert!(text.contains(&one) && !text.contains("horse"));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&place.keyring).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);

    let keyring = place.open().expect("open");
    let opened = keyring.unwrap(&one, &wrapped).await.expect("unwrap");
    assert_eq!(opened.bytes(), key.bytes());
    assert!(matches!(keyring.unwrap(&two, &wrapped).await, Err(KeyStoreError::Refused { .. })));
    assert!(matches!(keyring.unwrap(&one, &wrapped[1..]).await, Err(KeyStoreError::Refused { .. })));
    std::fs::write(&place.passphrase, "wrong horse").expect("write");
    let wrong = place.open();
    assert!(matches!(wrong, Err(KeyStoreError::Passphrase { .. })));
    std::fs::write(&place.passphrase, "\n").expect("write");
    let empty = place.open();
    assert!(matches!(empty, Err(KeyStoreError::Empty { .. })));
}

#[tokio::test]
async fn what_was_destroyed_is_gone() {
    let place = place();
    let keyring = place.open().expect("a new one");
    let name = keyring.create().await.expect("create");
    let wrapped = keyring.wrap(&name, &random_key()).await.expect("wrap");
    keyring.destroy(&name).await.expect("destroy");
    keyring.destroy(&name).await.expect("once more");
    assert!(matches!(keyring.unwrap(&name, &wrapped).await, Err(KeyStoreError::NotFound { .. })));
    assert!(matches!(keyring.wrap(&name, &random_key()).await, Err(KeyStoreError::NotFound { .. })));
    assert!(!std::fs::read_to_string(&place.keyring).expect("a file").contains(&name));
    let again = place.open().expect("open");
    assert!(matches!(again.unwrap(&name, &wrapped).await, Err(KeyStoreError::NotFound { .. })));
}

#[test]
fn a_damaged_keyring_is_named() {
    let place = place();
    place.open().expect("a new one");
    let text = std::fs::read_to_string(&place.keyring).expect("a file");
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("argon2id", "md5"),
        ("\"memory_kib\": 65536", "\"memory_kib\": 4000000000"),
        ("{", "["),
    ] {
        std::fs::write(&place.keyring, text.replacen(from, to, 1)).expect("write");
        let opened = place.open();
        assert!(matches!(opened, Err(KeyStoreError::Damaged { .. })), "{to}");
    }
}

#[test]
fn what_is_no_passphrase() {
    assert!(Passphrase::new(b" \r\n".to_vec()).is_none());
    assert_eq!(passphrase(" a b \n").bytes(), b" a b");
    assert_eq!(format!("{:?}", passphrase("horse")), "Passphrase(..)");
    let place = place();
    let opened = LocalKeyring::open(&place.keyring, &passphrase("any"));
    assert!(matches!(opened, Err(KeyStoreError::NoKeyring { .. })));
    assert!(!LocalKeyring::exists(&place.keyring).expect("look"));
    let missing = Passphrase::read(&place.keyring);
    assert!(matches!(missing, Err(KeyStoreError::NoPassphrase { .. })));
}

#[tokio::test]
async fn another_passphrase_opens_the_same_keys() {
    let place = place();
    let keyring = place.open().expect("a new one");
    let (name, key) = (keyring.create().await.expect("create"), random_key());
    keyring.create().await.expect("another one");
    let wrapped = keyring.wrap(&name, &key).await.expect("wrap");
    drop(keyring);
    let (old, new) = (passphrase("correct horse"), passphrase("better horse"));
    let before = std::fs::read(&place.keyring).expect("a file");
    let wrong = LocalKeyring::change_passphrase(&place.keyring, &new, &old);
    assert!(matches!(wrong, Err(KeyStoreError::Passphrase { .. })));
    assert_eq!(std::fs::read(&place.keyring).expect("a file"), before, "nothing is changed");

    assert_eq!(LocalKeyring::change_passphrase(&place.keyring, &old, &new).expect("change"), 2);
    assert!(matches!(place.open(), Err(KeyStoreError::Passphrase { .. })));
    let keyring = LocalKeyring::open(&place.keyring, &new).expect("open");
    assert_eq!(keyring.unwrap(&name, &wrapped).await.expect("unwrap").bytes(), key.bytes());
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&place.keyring).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
    // Nothing that the old one opens is left: neither salt nor keys are the same.
    let (before, after) =
        (String::from_utf8(before).unwrap(), std::fs::read_to_string(&place.keyring).unwrap());
    let secrets = |text: &str| -> Vec<String> {
        text.split('"').filter(|part| part.len() >= 32 && !part.contains('/')).map(str::to_owned).collect()
    };
    assert_eq!(secrets(&before).len(), 4);
    assert!(secrets(&before).iter().all(|secret| !after.contains(secret)));
}

#[tokio::test]
async fn a_keyring_with_a_key_that_does_not_open_keeps_its_passphrase() {
    let place = place();
    let name = place.open().expect("a new one").create().await.expect("create");
    let text = std::fs::read_to_string(&place.keyring).expect("a file");
    let at = text.find(&name).expect("it is there") + name.len() + 20;
    let mut damaged = text.into_bytes();
    damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(&place.keyring, &damaged).expect("write");
    let (old, new) = (passphrase("correct horse"), passphrase("better horse"));
    let changed = LocalKeyring::change_passphrase(&place.keyring, &old, &new);
    assert!(matches!(changed, Err(KeyStoreError::Damaged { .. })), "{changed:?}");
    assert_eq!(std::fs::read(&place.keyring).expect("a file"), damaged);
}

/// Whatever a kill leaves beside the keyring, the keyring itself is whole.
#[test]
fn what_a_kill_leaves_of_a_change_is_passed_over() {
    let place = place();
    place.open().expect("a new one");
    let new = place.keyring.with_extension("new");
    std::fs::write(&new, "{\"version\": 1, \"deri").expect("write");
    place.open().expect("the old passphrase opens it");
    let (old, better) = (passphrase("correct horse"), passphrase("better horse"));
    LocalKeyring::change_passphrase(&place.keyring, &old, &better).expect("change");
    LocalKeyring::open(&place.keyring, &better).expect("the new passphrase opens it");
    assert!(!new.exists());
}
