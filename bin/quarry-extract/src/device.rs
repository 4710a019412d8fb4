//! A device file, opened for reading, and what its label says.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use quarry_format::label::{LABEL_BYTES, LABEL_COPY_OFFSETS, Label};

/// See the module.
pub struct Device {
    pub path: PathBuf,
    pub label: Label,
    /// What is wrong with it, though it can be used.
    pub flaws: Vec<String>,
    file: File,
}

impl Device {
    /// Opens a device. Of the two copies of the label the valid one with the highest sequence counts.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot open '{name}'"))?;
        let (mut best, mut flaws): (Option<Label>, Vec<String>) = (None, Vec::new());
        for offset in LABEL_COPY_OFFSETS {
            let mut bytes = vec![0; LABEL_BYTES];
            let read = file.read_exact_at(&mut bytes, offset).map_err(|error| error.to_string());
            match read.and_then(|()| Label::decode(&bytes).map_err(|error| error.to_string())) {
                Ok(label) if best.as_ref().is_none_or(|best| best.sequence < label.sequence) => {
                    best = Some(label)
                }
                Ok(_) => {}
                Err(error) => flaws.push(format!("'{name}': the label at byte {offset}: {error}")),
            }
        }
        match best {
            Some(label) => Ok(Self { path: path.to_owned(), label, flaws, file }),
            None => bail!("'{name}' is no device of a pool: {}", flaws.join("; ")),
        }
    }

    /// Fills `bytes` from `offset` on.
    pub fn read(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }
}
