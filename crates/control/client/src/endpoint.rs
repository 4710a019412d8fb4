//! Where a node's API is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The address of a node's API: `https://HOST[:PORT]`, or `http://HOST[:PORT]` on the machine itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint(Url);

/// Why a text is not an endpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is not an endpoint: {reason}; write for example http://127.0.0.1:7480")]
pub struct InvalidEndpoint {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Endpoint {
    /// Where a node listens unless it was told otherwise.
    pub const DEFAULT: &'static str = "http://127.0.0.1:7480";

    /// The name or address of its host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether it is on this machine, or the end of a tunnel here.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Whether what goes there is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The same address over TLS.
    #[must_use]
    pub fn encrypted(&self) -> Self {
        let (mut url, port) = (self.0.clone(), self.port());
        // Neither fails for a URL that has a host.
        let _ = url.set_scheme("https");
        let _ = url.set_port(Some(port));
        Self(url)
    }

    /// The URL of `path`, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidEndpoint { text: text.to_owned(), reason };
        let url = Url::parse(text).map_err(|_| invalid("it is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("only http:// and https:// are supported"));
        }
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !is_bare || !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it must have a host and a port only"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for good in [Endpoint::DEFAULT, "http://[::1]:7480", "http://node7", "https://node7:7480"] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        let endpoint: Endpoint = "http://node7:7480/".parse().unwrap();
        assert_eq!(endpoint.url("/v1/volumes/vm-17").as_str(), "http://node7:7480/v1/volumes/vm-17");
        assert_eq!((endpoint.port(), endpoint.is_encrypted()), (7480, false));
        assert_eq!(endpoint.encrypted().to_string(), "https://node7:7480");
        assert_eq!("http://node7".parse::<Endpoint>().unwrap().encrypted().to_string(), "https://node7:80");
    }

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for (text, host, is_loopback) in [
            (Endpoint::DEFAULT, "127.0.0.1", true),
            ("http://localhost:7480", "localhost", true),
            ("http://[::1]:7480", "::1", true),
            ("http://[fd00::7]", "fd00::7", false),
            ("http://node7", "node7", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host(), endpoint.is_loopback()), (host, is_loopback));
        }
    }

    #[test]
    fn anything_else_says_what_is_wrong() {
        for (bad, part) in [
            ("node7", "not a URL"),
            ("ftp://node7:7480", "only http://"),
            ("127.0.0.1:7480", "not a URL"),
            ("node7:7480", "only http://"),
            ("http://node7/v1", "host and a port only"),
            ("http://me:secret@node7", "host and a port only"),
            ("http://node7?a=b", "host and a port only"),
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
