//! `volume import`: a new volume with the content of an image.

use std::ffi::OsStr;

use quarry_api_types::{DeleteVolume, Name, ProblemCode, RenameVolume, Volume, VolumePath};
use quarry_client::Client;
use quarry_types::limits::NAME_BYTES_MAX;
use quarry_types::{ByteSize, SECTOR_BYTES};

use super::interrupt::Interrupt;
use super::serve::{Served, is};
use super::source::Source;
use super::{note, qemu, random_suffix};
use crate::arguments::ImportVolume;
use crate::commands::volume_request;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::tables;

/// What goes before the suffix in the name of a volume that is not whole yet.
const INFIX: &str = ".import-";
const SUFFIX_BYTES: usize = 8;

/// Runs it.
pub async fn run(client: &Client, arguments: ImportVolume, output: &mut Output) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    check_name(client, &arguments.name).await?;
    check_alone(client, &arguments.name).await?;
    let source =
        Source::inspect(&arguments.source, arguments.source_format, arguments.with_backing, &interrupt)
            .await?;
    check_space(client, &arguments, &source).await?;
    let size_bytes = whole_sectors(&source)?;
    let name = unfinished(&arguments.name)?;
    let request = volume_request(name.clone(), arguments.pool.clone(), size_bytes, &arguments.settings);
    interrupt.check()?;
    let filled = match client.create_volume(&request).await {
        Ok(_) => fill(client, &name, &source, &arguments, &interrupt).await,
        Err(error) if is_refused(&error) => return Err(error.into()),
        // The node may have made it, or may yet do so.
        Err(error) => Err(error.into()),
    };
    match filled {
        Ok(()) => finish(client, &name, &arguments.name, output).await,
        Err(failure) => Err(give_up(client, &name, arguments.keep, failure).await),
    }
}

fn is_refused(error: &quarry_client::ClientError) -> bool {
    matches!(error, quarry_client::ClientError::Problem(_) | quarry_client::ClientError::Unreachable { .. })
}

/// Says early what would only come out when all is copied.
async fn check_name(client: &Client, name: &Name) -> Result<(), Failure> {
    match client.show_volume(name).await {
        Ok(_) => Err(Failure {
            exit: Exit::Conflict,
            message: format!("volume '{name}' exists already"),
            cause: None,
            next_step: "Choose another name, or rename or delete that volume.".to_owned(),
        }),
        Err(error) if is(&error, ProblemCode::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Two imports under one name would both copy everything, and one of them in vain.
async fn check_alone(client: &Client, name: &Name) -> Result<(), Failure> {
    let start = unfinished_start(name);
    let volumes = client.list_volumes().await?;
    match volumes.iter().find(|volume| volume.name.as_str().starts_with(&start)) {
        None => Ok(()),
        Some(other) => Err(Failure {
            exit: Exit::Conflict,
            message: format!("volume '{name}' is being imported already, as '{}'", other.name),
            cause: None,
            next_step: format!(
                "Choose another name or wait. If that import was killed, delete what it has left: `quarry volume delete {}`.",
                other.name
            ),
        }),
    }
}

/// A pool that an import fills to the brim fails everybody's writes, so that is not begun.
async fn check_space(client: &Client, arguments: &ImportVolume, source: &Source) -> Result<(), Failure> {
    let available_bytes = client.show_pool(&arguments.pool).await?.capacity.available_bytes;
    if source.data_bytes <= available_bytes || arguments.skip_space_check {
        return Ok(());
    }
    let (data, available) = (ByteSize(source.data_bytes), ByteSize(available_bytes));
    Err(Failure {
        exit: Exit::NoSpace,
        message: format!("'{}' does not fit into pool '{}'", source.name, arguments.pool),
        cause: Some(format!("it holds about {data} of data, and the pool has {available} available")),
        next_step: "Choose another pool or free space; or begin all the same with --skip-space-check."
            .to_owned(),
    })
}

/// The size of the volume: that of the source, rounded up to what a volume can have.
fn whole_sectors(source: &Source) -> Result<u64, Failure> {
    let size_bytes = source.size_bytes.next_multiple_of(SECTOR_BYTES as u64);
    if size_bytes != source.size_bytes {
        note(&format!(
            "'{}' has {} bytes; the volume gets {size_bytes}, a multiple of {SECTOR_BYTES}, with zeroes at its end",
            source.name, source.size_bytes
        ));
    }
    Ok(size_bytes)
}

/// The name that a volume has while it is being filled.
fn unfinished(name: &Name) -> Result<Name, Failure> {
    let text = format!("{}{}", unfinished_start(name), random_suffix());
    text.parse().map_err(|error| Failure::local("no name could be made for the volume", &error))
}

/// What it begins with, whoever imports.
fn unfinished_start(name: &Name) -> String {
    let room = NAME_BYTES_MAX - INFIX.len() - SUFFIX_BYTES;
    // Names are ASCII, so any place is one to cut at.
    format!("{}{INFIX}", &name.as_str()[..name.as_str().len().min(room)])
}

async fn fill(
    client: &Client,
    name: &Name,
    source: &Source,
    arguments: &ImportVolume,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    interrupt.check()?;
    let path = VolumePath { volume: name.clone(), snapshot: None };
    let served = Served::begin(client, &path).await?;
    let copied = copy(source, &served.uri, arguments, interrupt).await;
    let ended = served.end(client).await;
    match (copied, ended) {
        (Ok(()), ended) => ended,
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(also)) => Err(failure.and(also)),
    }
}

async fn copy(
    source: &Source,
    uri: &str,
    arguments: &ImportVolume,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let (format, location, is_shown) =
        (source.format.as_str(), source.location.as_os_str(), !arguments.no_progress);
    let mut progress = Progress::begin("importing", source.data_bytes, is_shown);
    // The volume is fresh, so that zeroes need not be written. `writeback`, because convert never flushes otherwise.
    let convert = ["convert", "-p", "-n", "--target-is-zero", "-W", "-m", "16", "-t", "writeback"];
    let rest = ["-f", format, "-O", "raw"];
    let words = [&convert[..], &rest[..]].concat();
    let words =
        [&words.into_iter().map(OsStr::new).collect::<Vec<_>>()[..], &[location, OsStr::new(uri)]].concat();
    let ended = qemu::run(&words, interrupt, Some(&mut progress)).await;
    progress.end();
    let copied = ended?.require(&format!("'{}' could not be copied", source.name));
    // A full pool is the node's complaint and not the source's.
    copied
        .map_err(|failure| if failure.exit == Exit::NoSpace { failure } else { source.explain(failure) })?;
    if arguments.verify {
        let volume = OsStr::new(uri);
        qemu::compare((format, location), ("raw", volume), source.data_bytes, is_shown, interrupt).await?;
    }
    Ok(())
}

/// Gives the volume its name.
async fn finish(client: &Client, unfinished: &Name, name: &Name, output: &mut Output) -> Result<(), Failure> {
    let request = RenameVolume { name: name.clone() };
    let renamed: Volume = client.rename_volume(unfinished, &request).await.map_err(|error| {
        let failure = Failure::from(error);
        Failure {
            cause: Some(failure.message),
            message: format!("the import is complete, but the volume could not be named '{name}'"),
            next_step: format!("Give it a name: `quarry volume rename {unfinished} NAME`."),
            ..failure
        }
    })?;
    output.answer(&renamed, tables::volume)
}

/// Takes away what a failed import has left, unless it is to be kept.
async fn give_up(client: &Client, name: &Name, keep: bool, failure: Failure) -> Failure {
    if keep {
        note(&format!("what was imported is kept as '{name}'"));
        return failure;
    }
    match client.delete_volume(name, &DeleteVolume::default()).await {
        Ok(()) => failure,
        Err(error) if is(&error, ProblemCode::NotFound) => failure,
        Err(error) => failure.and(Failure {
            next_step: format!("Delete it by hand: `quarry volume delete {name}`."),
            message: format!("the unfinished volume '{name}' could not be deleted: {error}"),
            ..Failure::from(error)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_volume_says_so_in_its_name() {
        for (name, start) in [("vm-17", "vm-17.import-"), (&"a".repeat(63), &("a".repeat(47) + ".import-"))] {
            let unfinished = unfinished(&name.parse().unwrap()).unwrap();
            assert!(unfinished.as_str().starts_with(start), "{unfinished}");
            assert_eq!(unfinished.as_str().len(), start.len() + SUFFIX_BYTES);
        }
    }
}
