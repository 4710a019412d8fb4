//! The image that is written: `OUT.partial` until it is whole, then `OUT`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use quarry_types::limits::BLOCK_BYTES;

use crate::arguments::ImageFormat;
use crate::qcow2::Qcow2;

/// See the module. Dropping it unfinished removes what there is.
pub struct Output {
    file: PathBuf,
    partial: PathBuf,
    image: Option<Image>,
}

enum Image {
    Raw { file: File, size_bytes: u64 },
    Qcow2(Box<Qcow2>),
}

impl ImageFormat {
    /// What the end of a file's name says.
    pub fn of_name(file: &Path) -> Self {
        match file.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("qcow2") => Self::Qcow2,
            _ => Self::Raw,
        }
    }
}

impl Output {
    /// Begins an image of so many bytes.
    pub fn create(file: &Path, format: ImageFormat, size_bytes: u64, force: bool) -> Result<Self> {
        let mut partial = file.to_owned().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match fs::symlink_metadata(file) {
            Ok(metadata) if !metadata.is_file() => bail!("'{}' is there and is not a file", file.display()),
            Ok(_) if !force => bail!("'{}' exists; replace it with --force", file.display()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot write '{}'", file.display()));
            }
            _ => {}
        }
        let made = if force { File::create(&partial) } else { File::create_new(&partial) };
        let made = made.with_context(|| format!("cannot make '{}'", partial.display()))?;
        let mut output = Self { file: file.to_owned(), partial, image: None };
        let image = match format {
            ImageFormat::Raw => made.set_len(size_bytes).map(|()| Image::Raw { file: made, size_bytes }),
            ImageFormat::Qcow2 => Qcow2::new(made, size_bytes).map(|image| Image::Qcow2(Box::new(image))),
        };
        output.image = Some(image.with_context(|| output.cannot())?);
        Ok(output)
    }

    /// Writes a block; blocks come in order, each once.
    pub fn block(&mut self, number: u64, block: &[u8]) -> Result<()> {
        let offset = number * BLOCK_BYTES as u64;
        let written = match self.image.as_mut().expect("it is not finished") {
            Image::Raw { file, size_bytes } => {
                let length = size_bytes.saturating_sub(offset).min(BLOCK_BYTES as u64);
                file.write_all_at(&block[..length as usize], offset)
            }
            Image::Qcow2(image) => image.write(offset, block),
        };
        written.with_context(|| self.cannot())
    }

    /// Gives the image its name, durably.
    pub fn finish(mut self) -> Result<()> {
        let image = self.image.take().expect("it is finished once");
        self.name(image).with_context(|| self.cannot())?;
        Ok(())
    }

    fn name(&mut self, image: Image) -> io::Result<()> {
        let file = match image {
            Image::Raw { file, .. } => file,
            Image::Qcow2(image) => image.finish()?,
        };
        file.sync_all()?;
        fs::rename(&self.partial, &self.file)?;
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn cannot(&self) -> String {
        format!("cannot write '{}'", self.partial.display())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Gone where it has its name already; else its name says what it is.
        let _ = fs::remove_file(&self.partial);
    }
}
