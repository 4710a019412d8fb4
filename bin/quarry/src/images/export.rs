//! `volume export-image`: a file with the content of a snapshot, or of a volume as it is now.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use quarry_api_types::{CreateSnapshot, Name, ProblemCode, SnapshotPath, VolumePath};
use quarry_client::Client;
use quarry_types::ByteSize;
use serde::Serialize;

use super::interrupt::Interrupt;
use super::serve::{Served, is};
use super::source::data_bytes;
use super::target::Target;
use super::{qemu, random_suffix};
use crate::arguments::{ExportImage, TargetFormat};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// An image that was written.
#[derive(Serialize)]
struct WrittenImage {
    /// `VOLUME` or `VOLUME@SNAPSHOT`.
    source: VolumePath,
    /// Where it is.
    path: PathBuf,
    format: &'static str,
    /// What a host would see.
    size_bytes: u64,
    /// What the file takes of its file system.
    file_bytes: u64,
    /// Whether it was compared with the source.
    verified: bool,
}

/// Runs it.
pub async fn run(client: &Client, arguments: ExportImage, output: &mut Output) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let format = arguments.format.unwrap_or_else(|| TargetFormat::of_name(&arguments.file));
    let target = Target::claim(&arguments.file, arguments.force)?;
    let (snapshot, is_ours) = match arguments.volume.snapshot.clone() {
        Some(snapshot) => (SnapshotPath { volume: arguments.volume.volume.clone(), snapshot }, false),
        None => (snapshot(client, &arguments.volume.volume).await?, true),
    };
    let written = write(client, &snapshot, &target, format, &arguments, &interrupt).await;
    let removed = if is_ours { remove(client, &snapshot).await } else { Ok(()) };
    let size_bytes = match (written, removed) {
        (Ok(size_bytes), Ok(())) => size_bytes,
        (Err(failure), Ok(())) | (Ok(_), Err(failure)) => return Err(failure),
        (Err(failure), Err(also)) => return Err(failure.and(also)),
    };
    let (path, file_bytes) = target.finish()?;
    let source = arguments.volume;
    let verified = arguments.verify;
    let image = WrittenImage { source, path, format: format.as_str(), size_bytes, file_bytes, verified };
    output.answer(&image, WrittenImage::line)
}

impl WrittenImage {
    fn line(&self) -> String {
        let (size, file) = (ByteSize(self.size_bytes), ByteSize(self.file_bytes));
        let verified = if self.verified { ", compared with it" } else { "" };
        let (path, format) = (self.path.display(), self.format);
        format!("{path}: {format} image of {}, {size}, takes {file}{verified}.", self.source)
    }
}

/// Takes a snapshot, so that the image is of one point in time while hosts go on writing.
async fn snapshot(client: &Client, volume: &Name) -> Result<SnapshotPath, Failure> {
    let name = format!("export-image-{}", random_suffix());
    let name =
        name.parse().map_err(|error| Failure::local("no name could be made for the snapshot", &error))?;
    let request = CreateSnapshot { name, locked_until: None };
    Ok(client.create_snapshot(volume, &request).await?.path())
}

async fn remove(client: &Client, snapshot: &SnapshotPath) -> Result<(), Failure> {
    match client.delete_snapshot(snapshot).await {
        Ok(()) => Ok(()),
        Err(error) if is(&error, ProblemCode::NotFound) => Ok(()),
        Err(error) => Err(Failure {
            next_step: format!("Delete it by hand: `quarry snapshot delete {snapshot}`."),
            message: format!("the snapshot '{snapshot}', taken for the image, could not be deleted: {error}"),
            ..Failure::from(error)
        }),
    }
}

/// Writes the image and returns its size as a host sees it.
async fn write(
    client: &Client,
    snapshot: &SnapshotPath,
    target: &Target,
    format: TargetFormat,
    arguments: &ExportImage,
    interrupt: &Interrupt,
) -> Result<u64, Failure> {
    interrupt.check()?;
    let size_bytes = client.show_snapshot(snapshot).await?.size_bytes;
    let served = Served::begin(client, &snapshot.clone().into()).await?;
    let copied = copy(&served.uri, size_bytes, target.partial(), format, arguments, interrupt).await;
    match (copied, served.end(client).await) {
        (Ok(()), Ok(())) => Ok(size_bytes),
        (Err(failure), Ok(())) | (Ok(()), Err(failure)) => Err(failure),
        (Err(failure), Err(also)) => Err(failure.and(also)),
    }
}

async fn copy(
    uri: &str,
    size_bytes: u64,
    file: &Path,
    format: TargetFormat,
    arguments: &ExportImage,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let (uri, is_shown) = (OsStr::new(uri), !arguments.no_progress);
    let data_bytes = data_bytes(uri, "raw", size_bytes, interrupt).await?;
    let mut progress = Progress::begin("exporting", data_bytes, is_shown);
    // `writeback`, because convert never flushes otherwise, and what has its final name must be on the disk.
    let mut words: Vec<&OsStr> =
        ["convert", "-p", "-m", "16", "-t", "writeback", "-f", "raw", "-O", format.as_str()]
            .map(OsStr::new)
            .to_vec();
    if let Some(options) = format.options() {
        words.extend([OsStr::new("-o"), OsStr::new(options)]);
    }
    words.extend([uri, file.as_os_str()]);
    let ended = qemu::run(&words, interrupt, Some(&mut progress)).await;
    progress.end();
    ended?.require(&format!("the image could not be written to '{}'", file.display()))?;
    if arguments.verify {
        let image = (format.as_str(), file.as_os_str());
        qemu::compare(("raw", uri), image, data_bytes, is_shown, interrupt).await?;
    }
    Ok(())
}
