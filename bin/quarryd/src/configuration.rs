//! The settings of the node as it shows them: where secrets are, never what they are.

use std::fmt::Display;

use quarry_api_types::{Configuration, Setting};
use quarry_types::ByteSize;

use crate::settings::Settings;

fn list<T: Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl Settings {
    /// Every setting by the name that it has in the configuration file.
    pub fn describe(&self) -> Configuration {
        let given = |is_given: bool| if is_given { "given" } else { "none" }.to_owned();
        let settings: Vec<(&str, String)> = vec![
            ("data_dir", self.data_dir.display().to_string()),
            ("api", self.api.to_string()),
            ("api_cert", given(self.api_certificate.is_some())),
            ("api_key", given(self.api_certificate.is_some())),
            ("api_names", self.api_names.join(" ")),
            ("metrics_open", self.metrics_are_open.to_string()),
            ("metrics_volumes", self.metrics_volumes.to_string()),
            ("log_format", self.log_format.as_str().to_owned()),
            ("nbd", list(&self.nbd)),
            ("nbd_tls_cert", given(self.nbd_tls.is_some())),
            ("nbd_tls_key", given(self.nbd_tls.is_some())),
            ("iscsi", list(&self.iscsi)),
            ("nvme_tcp", list(&self.nvme_tcp)),
            ("vhost_user", self.vhost_user.display().to_string()),
            ("advertise", list(&self.advertise)),
            ("cores", self.cores.to_string()),
            ("memory", ByteSize(self.memory.bytes).to_string()),
            ("read_cache", ByteSize(self.memory.read_cache_bytes).to_string()),
            (
                "cache_disk",
                self.cache_disk.as_ref().map_or_else(String::new, |path| path.display().to_string()),
            ),
            ("scrub_days", self.scrub_days.to_string()),
            ("scrub_rate", ByteSize(self.scrub_rate_bytes).to_string()),
            ("device_timeout", self.device_patience.as_secs().to_string()),
            ("slow_request_ms", self.slow_after.as_millis().to_string()),
            ("forecast_days", self.forecast_days.to_string()),
            (
                "keyring_passphrase_file",
                self.keyring_passphrase_file
                    .as_ref()
                    .map_or_else(String::new, |path| path.display().to_string()),
            ),
        ];
        let setting = |(name, value): (&str, String)| Setting { name: name.to_owned(), value };
        Configuration { settings: settings.into_iter().map(setting).collect() }
    }
}
