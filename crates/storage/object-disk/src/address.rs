//! Where a device is: `s3://BUCKET/PREFIX?size=SIZE&endpoint=URL&region=REGION`.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use quarry_types::ByteSize;
use quarry_types::limits::{DEVICE_BYTES_MIN, S3_SCHEME};

use crate::limits::OBJECT_BYTES;

const REGION_DEFAULT: &str = "us-east-1";
/// Bucket names are 3 to 63 characters long (Amazon S3 User Guide, "Bucket naming rules").
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
const PREFIX_BYTES_MAX: usize = 512;
const SIZE_BYTES_MAX: u64 = 1 << 50;
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// Why a text names no bucket.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "'{text}' names no place in a bucket: {reason}; write s3://BUCKET/PREFIX?size=1TiB, with &endpoint=http://ADDRESS:PORT \
     for another server than Amazon's, and &region=REGION"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A place in a bucket, and how large the device there is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BucketAddress {
    /// The bucket.
    pub bucket: String,
    /// What the names of its objects begin with, without a slash at either end.
    pub prefix: String,
    /// The server, where it is not Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// Size of the device in bytes, a multiple of [`OBJECT_BYTES`].
    pub size_bytes: u64,
}

impl BucketAddress {
    /// Whether a path is meant to be an address of this kind.
    pub fn is_meant(path: &Path) -> bool {
        path.as_os_str().as_bytes().starts_with(S3_SCHEME.as_bytes())
    }

    /// Reads an address.
    pub fn parse(path: &Path) -> Result<Self, AddressError> {
        let text = path.to_string_lossy();
        let wrong = |reason| AddressError { text: text.clone().into_owned(), reason };
        let rest = text.strip_prefix(S3_SCHEME).ok_or_else(|| wrong("it begins otherwise"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let is_of_bucket =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !BUCKET_BYTES.contains(&bucket.len()) || !bucket.bytes().all(is_of_bucket) {
            return Err(wrong("a bucket's name has 3 to 63 small letters, digits, '-' and '.'"));
        }
        let decode = |part: &str, reason| {
            percent_decode_str(part).decode_utf8().map(String::from).map_err(|_| wrong(reason))
        };
        let prefix = decode(prefix.trim_end_matches('/'), "the prefix is no UTF-8")?;
        let parts = || prefix.split('/');
        if prefix.is_empty() || parts().any(|part| matches!(part, "" | "." | "..")) {
            return Err(wrong(
                "a prefix is needed, so that a bucket can hold several devices, without empty parts",
            ));
        }
        if prefix.len() > PREFIX_BYTES_MAX || prefix.contains(char::is_control) {
            return Err(wrong("the prefix is too long, or has control characters"));
        }
        let mut address = Self {
            bucket: bucket.to_owned(),
            prefix,
            endpoint: None,
            region: REGION_DEFAULT.to_owned(),
            size_bytes: 0,
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = decode(value, "an option is no UTF-8")?;
            match key {
                "size" => {
                    let size: ByteSize =
                        value.parse().map_err(|_| wrong("the size is none, such as 1TiB"))?;
                    address.size_bytes = size.0 - size.0 % OBJECT_BYTES;
                }
                "endpoint" => {
                    let is_url = value.starts_with("http://") || value.starts_with("https://");
                    if !is_url || value.contains(['?', '@', '#']) || value.contains(char::is_whitespace) {
                        return Err(wrong("an endpoint is http://HOST:PORT or https://HOST:PORT"));
                    }
                    address.endpoint = Some(value.trim_end_matches('/').to_owned());
                }
                "region" => address.region = value,
                _ => return Err(wrong("it has an option beside size, endpoint and region")),
            }
        }
        if !(DEVICE_BYTES_MIN..=SIZE_BYTES_MAX).contains(&address.size_bytes) {
            return Err(wrong(
                "size= is needed: how much of the bucket the device may take, from 32 MiB to 1 PiB",
            ));
        }
        Ok(address)
    }

    /// The place, whatever the size: of two devices there each would overwrite the other.
    pub fn place(&self) -> String {
        format!("{}/{}/{}", self.endpoint.as_deref().unwrap_or("amazon"), self.bucket, self.prefix)
    }
}

/// The one way to write it: two addresses of one device are equal as text.
impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |text| utf8_percent_encode(text, ENCODED);
        write!(f, "{S3_SCHEME}{}/{}?size={}", self.bucket, encoded(&self.prefix), self.size_bytes)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, "&endpoint={}", encoded(endpoint))?;
        }
        if self.region != REGION_DEFAULT {
            write!(f, "&region={}", encoded(&self.region))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        BucketAddress::parse(Path::new(text))
            .map_or_else(|error| error.reason.to_owned(), |it| it.to_string())
    }

    #[test]
    fn addresses_have_one_canonical_form() {
        for (text, expected) in [
            ("s3://cold/site-a/1?size=1GiB", "s3://cold/site-a/1?size=1073741824"),
            ("s3://cold/a/?size=1073741825", "s3://cold/a?size=1073741824"),
            (
                "s3://cold/a?region=eu-1&endpoint=http://10.0.0.7:9000/&size=32MiB",
                "s3://cold/a?size=33554432&endpoint=http://10.0.0.7:9000&region=eu-1",
            ),
            ("s3://cold/a%20b?size=1TiB&region=us-east-1", "s3://cold/a%20b?size=1099511627776"),
        ] {
            assert_eq!(canonical(text), expected);
            assert_eq!(canonical(expected), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, part) in [
            ("s3://cold/a", "size= is needed"),
            ("s3://cold/a?size=1MiB", "size= is needed"),
            ("s3://cold/a?size=much", "the size is none"),
            ("s3://cold?size=1GiB", "a prefix is needed"),
            ("s3://cold/a/../b?size=1GiB", "without empty parts"),
            ("s3://Cold/a?size=1GiB", "a bucket's name"),
            ("s3://cold/a?size=1GiB&endpoint=10.0.0.7", "an endpoint is"),
            ("s3://cold/a?size=1GiB&endpoint=http://key:secret@host", "an endpoint is"),
            ("s3://cold/a?size=1GiB&acl=public", "it has an option beside"),
            ("s4://cold/a?size=1GiB", "it begins otherwise"),
        ] {
            assert!(canonical(text).contains(part), "{text}: {}", canonical(text));
        }
    }
}
