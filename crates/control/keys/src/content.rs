//! What is in a keyring's file.

use std::collections::BTreeMap;

use argon2::{Algorithm, Argon2, Params, Version};
use quarry_crypt::{DataKey, WrappedKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Passphrase, random_key};

const VERSION: u32 = 1;
const CHECK: &str = "check";
/// The second recommendation of RFC 9106, section 4: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// A file cannot make us use more than this.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;

/// The file, as it is.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    version: u32,
    derivation: Derivation,
    check: String,
    pub(crate) keys: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Derivation {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

/// Why a file is not opened.
pub(crate) enum Refusal {
    Damaged(String),
    Passphrase,
}

impl Derivation {
    fn new() -> Self {
        let (memory_kib, passes, lanes) = (MEMORY_KIB, PASSES, LANES);
        Self { name: "argon2id".to_owned(), memory_kib, passes, lanes, salt: hex::encode(chance()) }
    }

    fn derive(&self, passphrase: &Passphrase) -> Result<DataKey, Refusal> {
        if self.name != "argon2id" || self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX {
            return Err(Refusal::Damaged("its key derivation is not one that this version uses".to_owned()));
        }
        let salt = hex::decode(&self.salt).map_err(|error| Refusal::Damaged(format!("its salt: {error}")))?;
        let unusable = |error: argon2::Error| Refusal::Damaged(format!("its key derivation: {error}"));
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(unusable)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.bytes(), &salt, &mut *key)
            .map_err(unusable)?;
        Ok(DataKey::new(*key))
    }
}

impl Content {
    /// Without keys, under a passphrase; and the key that comes from that.
    pub(crate) fn new(passphrase: &Passphrase) -> Result<(Self, DataKey), Refusal> {
        let derivation = Derivation::new();
        let master = derivation.derive(passphrase)?;
        let check = hex::encode(master.wrap(&random_key(), CHECK, nonce()));
        Ok((Self { version: VERSION, derivation, check, keys: BTreeMap::new() }, master))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let content: Self =
            serde_json::from_slice(bytes).map_err(|error| Refusal::Damaged(error.to_string()))?;
        match content.version {
            VERSION => Ok(content),
            version => Err(Refusal::Damaged(format!("it has version {version}"))),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers can be written");
        bytes.push(b'\n');
        bytes
    }

    /// The key that comes from the passphrase, if that is the right one.
    pub(crate) fn open(&self, passphrase: &Passphrase) -> Result<DataKey, Refusal> {
        let master = self.derivation.derive(passphrase)?;
        let check = parse_wrapped(&self.check)
            .ok_or_else(|| Refusal::Damaged("its entry 'check' is no wrapped key".to_owned()))?;
        match master.unwrap(&check, CHECK) {
            Ok(_) => Ok(master),
            Err(_) => Err(Refusal::Passphrase),
        }
    }

    /// The key of that name; `None` when its entry does not open.
    pub(crate) fn key(&self, name: &str, master: &DataKey) -> Option<DataKey> {
        let wrapped = parse_wrapped(self.keys.get(name)?)?;
        master.unwrap(&wrapped, name).ok()
    }

    pub(crate) fn put(&mut self, name: String, key: &DataKey, master: &DataKey) {
        let wrapped = hex::encode(master.wrap(key, &name, nonce()));
        self.keys.insert(name, wrapped);
    }
}

pub(crate) fn chance() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

pub(crate) fn nonce() -> u128 {
    u128::from_le_bytes(chance())
}

fn parse_wrapped(text: &str) -> Option<WrappedKey> {
    hex::decode(text).ok()?.try_into().ok()
}
