//! How volumes store their data, in words.

words! {
    /// When an acknowledged write has become safe.
    #[derive(Default)]
    pub enum Durability {
        /// Survives the death of the daemon; a flush makes it survive power loss.
        #[default]
        Flush = "flush",
        /// Survives power loss at once.
        Always = "always",
    }
}

words! {
    /// How blocks are made smaller before they are stored.
    #[derive(Default)]
    pub enum Compression {
        /// Not at all.
        #[default]
        Off = "off",
        /// LZ4, the fast one.
        Lz4 = "lz4",
        /// Zstandard at level 1: denser, at several times the cost.
        Zstd = "zstd",
    }
}

words! {
    /// Whether blocks that its core has stored since the start are stored again.
    #[derive(Default)]
    pub enum Deduplication {
        /// Yes, each time.
        #[default]
        Off = "off",
        /// No: what seems to be there is read and compared byte by byte first.
        Verified = "verified",
        /// No: what has the same 128-bit hash is taken for the same without reading it.
        Hashed = "hashed",
    }
}

words! {
    /// Whether what is read again is answered from the node's memory.
    #[derive(Default)]
    pub enum ReadCache {
        /// Yes: the volume has its part in the read cache.
        #[default]
        On = "on",
        /// No: the memory is left to other volumes.
        Off = "off",
    }
}

impl From<quarry_types::ReadCache> for ReadCache {
    fn from(read_cache: quarry_types::ReadCache) -> Self {
        match read_cache {
            quarry_types::ReadCache::On => Self::On,
            quarry_types::ReadCache::Off => Self::Off,
        }
    }
}

impl From<ReadCache> for quarry_types::ReadCache {
    fn from(read_cache: ReadCache) -> Self {
        match read_cache {
            ReadCache::On => Self::On,
            ReadCache::Off => Self::Off,
        }
    }
}

impl From<quarry_types::Deduplication> for Deduplication {
    fn from(deduplication: quarry_types::Deduplication) -> Self {
        match deduplication {
            quarry_types::Deduplication::Off => Self::Off,
            quarry_types::Deduplication::Verified => Self::Verified,
            quarry_types::Deduplication::Hashed => Self::Hashed,
        }
    }
}

impl From<Deduplication> for quarry_types::Deduplication {
    fn from(deduplication: Deduplication) -> Self {
        match deduplication {
            Deduplication::Off => Self::Off,
            Deduplication::Verified => Self::Verified,
            Deduplication::Hashed => Self::Hashed,
        }
    }
}

impl From<quarry_types::Compression> for Compression {
    fn from(compression: quarry_types::Compression) -> Self {
        match compression {
            quarry_types::Compression::Off => Self::Off,
            quarry_types::Compression::Lz4 => Self::Lz4,
            quarry_types::Compression::Zstd => Self::Zstd,
        }
    }
}

impl From<Compression> for quarry_types::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Off => Self::Off,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

impl From<quarry_types::Durability> for Durability {
    fn from(durability: quarry_types::Durability) -> Self {
        match durability {
            quarry_types::Durability::Flush => Self::Flush,
            quarry_types::Durability::Always => Self::Always,
        }
    }
}

impl From<Durability> for quarry_types::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Flush => Self::Flush,
            Durability::Always => Self::Always,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deduplication_is_the_same_word_everywhere() {
        for &deduplication in Deduplication::ALL {
            let base = quarry_types::Deduplication::from(deduplication);
            assert_eq!(Deduplication::from(base), deduplication);
            assert_eq!(serde_json::to_value(base).unwrap(), deduplication.as_str());
        }
    }

    #[test]
    fn compression_is_the_same_word_everywhere() {
        for &compression in Compression::ALL {
            let base = quarry_types::Compression::from(compression);
            assert_eq!(Compression::from(base), compression);
            assert_eq!(serde_json::to_value(base).unwrap(), compression.as_str());
            assert_eq!(compression.as_str().parse(), Ok(compression));
        }
    }

    #[test]
    fn durability_is_the_same_word_everywhere() {
        for &durability in Durability::ALL {
            let base = quarry_types::Durability::from(durability);
            assert_eq!(Durability::from(base), durability);
            assert_eq!(serde_json::to_value(base).unwrap(), durability.as_str());
            assert_eq!(serde_json::to_value(durability).unwrap(), durability.as_str());
            assert_eq!(durability.as_str().parse(), Ok(durability));
        }
        assert_eq!(Durability::default(), Durability::from(quarry_types::Durability::default()));
        assert_eq!(
            "never".parse::<Durability>().unwrap_err().to_string(),
            "'never' is not one of: flush, always"
        );
    }

    #[test]
    fn the_read_cache_is_the_same_word_everywhere() {
        for &read_cache in ReadCache::ALL {
            let base = quarry_types::ReadCache::from(read_cache);
            assert_eq!(ReadCache::from(base), read_cache);
            assert_eq!(serde_json::to_value(base).unwrap(), read_cache.as_str());
        }
    }
}
