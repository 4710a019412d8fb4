//! The file that an image is written to: `FILE.partial` until it is whole.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an image is a file of the machine on which the command runs"
)]

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// Bytes of a block in `st_blocks`, see stat(2).
const STAT_BLOCK_BYTES: u64 = 512;

/// A file under way. Dropping it removes what there is of it.
pub struct Target {
    file: PathBuf,
    partial: PathBuf,
    is_finished: bool,
}

impl Target {
    /// Makes `FILE.partial`. Without `force` neither that nor the file itself may exist.
    pub fn claim(file: &Path, force: bool) -> Result<Self, Failure> {
        let cannot = |error: &io::Error| Failure::local(&format!("cannot write '{}'", file.display()), error);
        let file = std::path::absolute(file).map_err(|error| cannot(&error))?;
        match fs::symlink_metadata(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(&error)),
            Ok(metadata) if !metadata.is_file() => return Err(no_file(&file)),
            Ok(_) if !force => return Err(exists(&file, "Choose another name, or replace it with --force.")),
            Ok(_) => {}
        }
        let mut partial = file.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let made = match force {
            false => File::create_new(&partial),
            true => File::create(&partial),
        };
        match made {
            Ok(_) => Ok(Self { file, partial, is_finished: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let step = "Another export is writing it, or one was killed: then remove it, or use --force.";
                Err(exists(&partial, step))
            }
            Err(error) => Err(cannot(&error)),
        }
    }

    /// Where to write.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Gives the file its name, durably. Returns its path and what it takes of its file system, in bytes.
    pub fn finish(mut self) -> Result<(PathBuf, u64), Failure> {
        let named = self.give_name();
        let message = format!("the image could not be named '{}'", self.file.display());
        let file_bytes = named.map_err(|error| Failure::local(&message, &error))?;
        self.is_finished = true;
        Ok((self.file.clone(), file_bytes))
    }

    fn give_name(&self) -> io::Result<u64> {
        let file = File::open(&self.partial)?;
        file.sync_all()?;
        fs::rename(&self.partial, &self.file)?;
        if let Some(folder) = self.file.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(file.metadata()?.blocks() * STAT_BLOCK_BYTES)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed shows by its name what it is.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn exists(file: &Path, next_step: &str) -> Failure {
    Failure {
        exit: Exit::Conflict,
        message: format!("'{}' exists", file.display()),
        cause: None,
        next_step: next_step.to_owned(),
    }
}

fn no_file(file: &Path) -> Failure {
    Failure {
        exit: Exit::Usage,
        message: format!("'{}' is there and is not a file", file.display()),
        cause: None,
        next_step:
            "Images are written to files only. To fill a block device, export a raw image and copy it there."
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("quarry-test-{}", super::super::random_suffix()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let folder = Folder::new();
        let file = folder.0.join("a.raw");
        let target = Target::claim(&file, false).unwrap();
        fs::write(target.partial(), [1; 8192]).unwrap();
        assert!(!file.exists() && target.partial().exists());
        assert_eq!(Target::claim(&file, false).err().map(|failure| failure.exit), Some(Exit::Conflict));
        let (path, file_bytes) = target.finish().unwrap();
        assert_eq!((path, fs::read(&file).unwrap()), (file.clone(), vec![1; 8192]));
        assert!(file_bytes >= 8192);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = Folder::new();
        let file = folder.0.join("a.raw");
        fs::write(&file, "old").unwrap();
        assert!(Target::claim(&file, false).is_err_and(|failure| failure.next_step.contains("--force")));
        drop(Target::claim(&file, true).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let folder = Folder::new();
        for path in [folder.0.as_path(), Path::new("/dev/null")] {
            assert_eq!(Target::claim(path, true).err().map(|failure| failure.exit), Some(Exit::Usage));
        }
        assert!(Target::claim(&folder.0.join("no/such/folder"), true).is_err());
    }
}
