//! What is to be imported: where it is, its format, its size, and how much of it is data.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::interrupt::Interrupt;
use super::nbdkit::Nbdkit;
use super::qemu;
use crate::arguments::ImageFormat;
use crate::failure::{Exit, Failure};

/// Bytes of the footer that a VHD ends with.
const VHD_FOOTER_BYTES: u64 = 512;
const VHD_COOKIE: &[u8] = b"conectix";
/// Bytes of a block in `st_blocks`, see stat(2).
const STAT_BLOCK_BYTES: u64 = 512;
/// Fields of the header of a VDI: where its blocks begin, the bytes of one, what precedes each, and how many there are.
const VDI_DATA_AT: u64 = 0x158;
const VDI_BLOCK_BYTES_AT: u64 = 0x178;
const VDI_BLOCK_EXTRA_AT: u64 = 0x17c;
const VDI_ALLOCATED_AT: u64 = 0x184;

/// A source that can be read.
pub struct Source {
    /// What was typed.
    pub name: String,
    /// What qemu-img takes for it.
    pub location: OsString,
    pub format: ImageFormat,
    /// What a host would see, to the byte.
    pub size_bytes: u64,
    /// How much of that holds data, about.
    pub data_bytes: u64,
    /// Serves it while this lives, where nbdkit does.
    server: Option<Nbdkit>,
}

/// What `qemu-img info` says of an image.
#[derive(Deserialize)]
struct Info {
    format: String,
    #[serde(rename = "virtual-size")]
    size_bytes: u64,
    #[serde(default)]
    encrypted: bool,
    #[serde(rename = "backing-filename")]
    backing: Option<String>,
    #[serde(rename = "format-specific", default)]
    specific: Value,
}

/// What `qemu-img measure` says.
#[derive(Deserialize)]
struct Measure {
    required: u64,
}

impl Source {
    /// Looks at `typed`; `format` says what it is instead of having that detected.
    pub async fn inspect(
        typed: &OsStr,
        format: Option<ImageFormat>,
        with_backing: bool,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let name = typed.to_string_lossy().into_owned();
        let message = format!("'{name}' cannot be read as an image");
        let uri = Some(&name).filter(|name| name.contains("://"));
        let (location, server, path) = match uri {
            Some(uri) => {
                let server = Nbdkit::serve(uri, interrupt).await?;
                let location = server.as_ref().map_or_else(|| uri.clone(), Nbdkit::uri);
                (OsString::from(location), server, None)
            }
            None => {
                let path = regular_file(Path::new(typed))?;
                (path.clone().into_os_string(), None, Some(path))
            }
        };
        let format = format.or_else(|| known_without_looking(&name, path.as_deref()));
        let asked = info(&location, format, interrupt, &message).await;
        let info = asked.map_err(|failure| explain(failure, server.as_ref()))?;
        let format = check(&name, &info, format, path.as_deref(), with_backing)?;
        check_whole(&name, &location, format, path.as_deref(), interrupt)
            .await
            .map_err(|failure| explain(failure, server.as_ref()))?;
        let size_bytes = exact_size(&info, format, path.as_deref());
        let measured = data_bytes(&location, format.as_str(), size_bytes, interrupt).await?;
        let data_bytes = match info.backing {
            None => measured.min(stored_bytes(format, path.as_deref()).unwrap_or(u64::MAX)),
            Some(_) => measured,
        };
        Ok(Self { name, location, format, size_bytes, data_bytes, server })
    }

    /// A failure to read it, with the cause where that is known.
    pub fn explain(&self, failure: Failure) -> Failure {
        explain(failure, self.server.as_ref())
    }
}

fn explain(failure: Failure, server: Option<&Nbdkit>) -> Failure {
    match server.and_then(Nbdkit::complaint) {
        Some(said) => Failure { cause: Some(said), ..failure },
        None => failure,
    }
}

/// About how many bytes of an image are data, holes and zeroes not counted.
pub async fn data_bytes(
    location: &OsStr,
    format: &str,
    size_bytes: u64,
    interrupt: &Interrupt,
) -> Result<u64, Failure> {
    let arguments = ["measure", "--output=json", "-O", "qcow2", "-f", format].map(OsStr::new);
    let arguments = [&arguments[..], &[location]].concat();
    // What a qcow2 image of it would take: its data in clusters, and a little for tables.
    let measure: Measure =
        qemu::ask(&arguments, interrupt, "what the image holds cannot be measured").await?;
    Ok(measure.required.min(size_bytes))
}

/// What a file takes of its file system, where the image in it is never smaller than its data: QEMU counts the zeroes in the blocks of
/// these formats as data.
#[expect(clippy::disallowed_methods, reason = "an image is a file of the machine on which the command runs")]
fn stored_bytes(format: ImageFormat, path: Option<&Path>) -> Option<u64> {
    let is_plain = matches!(format, ImageFormat::Vhdx | ImageFormat::Vpc | ImageFormat::Vdi);
    let metadata = std::fs::metadata(path.filter(|_| is_plain)?).ok()?;
    metadata.is_file().then(|| metadata.blocks() * STAT_BLOCK_BYTES)
}

/// Refuses an image that was cut off or is damaged: QEMU reads zeroes where its file has ended.
async fn check_whole(
    name: &str,
    location: &OsStr,
    format: ImageFormat,
    path: Option<&Path>,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let message = format!("'{name}' is damaged or was cut off");
    let refuse = |cause: String| Failure {
        exit: Exit::Failure,
        message: message.clone(),
        cause: Some(cause),
        next_step:
            "Get the image again; or mend a copy of it, as far as that goes, with `qemu-img check -r all`."
                .to_owned(),
    };
    match format {
        // Whatever it holds is a disk.
        ImageFormat::Raw => Ok(()),
        ImageFormat::Vdi => match path.and_then(|path| missing_of_vdi(path).ok()) {
            Some(bytes @ 1..) => Err(refuse(format!("{bytes} bytes are missing at its end"))),
            _ => Ok(()),
        },
        _ => match qemu::check(format.as_str(), location, interrupt).await? {
            Some(cause) => Err(refuse(cause)),
            None => Ok(()),
        },
    }
}

/// How many bytes are missing at the end of a VDI: its blocks follow each other, and the header counts them.
#[expect(clippy::disallowed_types, reason = "an image is a file of the machine on which the command runs")]
fn missing_of_vdi(path: &Path) -> std::io::Result<u64> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(0);
    }
    let number = |offset: u64| -> std::io::Result<u64> {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(u64::from(u32::from_le_bytes(bytes)))
    };
    let block_bytes = number(VDI_BLOCK_BYTES_AT)? + number(VDI_BLOCK_EXTRA_AT)?;
    let end = number(VDI_DATA_AT)? + number(VDI_ALLOCATED_AT)? * block_bytes;
    Ok(end.saturating_sub(metadata.len()))
}

async fn info(
    location: &OsStr,
    format: Option<ImageFormat>,
    interrupt: &Interrupt,
    message: &str,
) -> Result<Info, Failure> {
    let mut arguments = vec![OsStr::new("info"), OsStr::new("--output=json")];
    if let Some(format) = format {
        arguments.extend([OsStr::new("-f"), OsStr::new(format.as_str())]);
    }
    arguments.push(location);
    qemu::ask(&arguments, interrupt, message).await
}

/// The absolute path of a source that is a file or a block device. Absolute, because qemu-img takes what is before a colon
/// for a protocol.
#[expect(clippy::disallowed_methods, reason = "an image is a file of the machine on which the command runs")]
fn regular_file(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(path).and_then(|path| Ok((std::fs::metadata(&path)?.is_dir(), path)));
    match absolute {
        Ok((false, path)) => Ok(path),
        Ok((true, path)) => Err(Failure {
            exit: Exit::Usage,
            message: format!("'{}' is a directory and no image", path.display()),
            cause: None,
            next_step: "Name the file in it.".to_owned(),
        }),
        Err(error) => {
            let exit = match error.kind() {
                std::io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Failure,
            };
            let message = format!("'{}' cannot be read", path.display());
            Err(Failure { exit, ..Failure::local(&message, &error) })
        }
    }
}

/// What need not, or must not, be asked: an NBD server serves the bytes of a disk, which a guest has written and could make
/// look like an image that names other files; and QEMU does not recognize a VHD of fixed size, whose mark is at its end.
fn known_without_looking(name: &str, path: Option<&Path>) -> Option<ImageFormat> {
    if name.starts_with("nbd") && path.is_none() {
        return Some(ImageFormat::Raw);
    }
    path.filter(|path| ends_like_fixed_vhd(path).unwrap_or(false)).map(|_| ImageFormat::Vpc)
}

#[expect(clippy::disallowed_types, reason = "an image is a file of the machine on which the command runs")]
fn ends_like_fixed_vhd(path: &Path) -> std::io::Result<bool> {
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let (mut start, mut end) = ([0; 8], [0; 8]);
    file.read_exact_at(&mut start, 0)?;
    file.read_exact_at(&mut end, length.saturating_sub(VHD_FOOTER_BYTES))?;
    Ok(end == VHD_COOKIE && start != VHD_COOKIE && length > VHD_FOOTER_BYTES)
}

/// The size to the byte: QEMU counts a file in whole sectors.
#[expect(clippy::disallowed_methods, reason = "an image is a file of the machine on which the command runs")]
fn exact_size(info: &Info, format: ImageFormat, path: Option<&Path>) -> u64 {
    let metadata = path.filter(|_| format == ImageFormat::Raw).and_then(|path| std::fs::metadata(path).ok());
    match metadata {
        Some(metadata) if metadata.is_file() => metadata.len(),
        _ => info.size_bytes,
    }
}

/// Refuses what would not be imported as it was meant.
fn check(
    name: &str,
    info: &Info,
    format: Option<ImageFormat>,
    path: Option<&Path>,
    with_backing: bool,
) -> Result<ImageFormat, Failure> {
    let refuse = |message: String, next_step: &str| Failure {
        exit: Exit::Usage,
        message,
        cause: None,
        next_step: next_step.to_owned(),
    };
    let detected = <ImageFormat as clap::ValueEnum>::from_str(&info.format, false).ok();
    let Some(format) = format.or(detected) else {
        let message = format!("'{name}' has the format {}, which is not imported", info.format);
        let step = "Make another one of it: `qemu-img convert -O qcow2 IMAGE NEW`. Or say what it is with --source-format.";
        return Err(refuse(message, step));
    };
    if info.encrypted {
        let message = format!("'{name}' is encrypted");
        return Err(refuse(message, "Make a clear copy of it with `qemu-img convert` and its secret first."));
    }
    if info.size_bytes == 0 {
        return Err(refuse(format!("'{name}' is empty"), "A volume has at least 512 bytes."));
    }
    match named_files(info, path).first() {
        Some(other) if !with_backing => {
            let message = format!("'{name}' is not whole: it names another file, '{other}'");
            Err(refuse(message, "Where you trust the image, let that file be read too with --with-backing."))
        }
        _ => Ok(format),
    }
}

/// The other files that an image consists of or stands on.
fn named_files(info: &Info, path: Option<&Path>) -> Vec<String> {
    let data = &info.specific["data"];
    let data_file = data["data-file"].as_str().map(str::to_owned);
    let extents = data["extents"].as_array().into_iter().flatten();
    let extents = extents.filter_map(|extent| extent["filename"].as_str());
    let is_other = |file: &&str| path.is_none_or(|path| Path::new(file) != path);
    let extents = extents.filter(is_other).map(str::to_owned);
    info.backing.iter().cloned().chain(data_file).chain(extents).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Info {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_image_that_names_other_files_is_refused_unless_trusted() {
        let path = Path::new("/x/a.vmdk");
        for (json, other) in [
            (r#"{"format": "qcow2", "virtual-size": 1, "backing-filename": "/etc/shadow"}"#, "/etc/shadow"),
            (
                r#"{"format": "qcow2", "virtual-size": 1, "format-specific": {"data": {"data-file": "b"}}}"#,
                "'b'",
            ),
            (
                r#"{"format": "vmdk", "virtual-size": 1, "format-specific": {"data":
                    {"extents": [{"filename": "/x/a.vmdk"}, {"filename": "/x/a-flat.vmdk"}]}}}"#,
                "a-flat.vmdk",
            ),
        ] {
            let info = read(json);
            let failure = check("a", &info, None, Some(path), false).unwrap_err();
            assert!(failure.message.contains(other), "{}", failure.message);
            assert!(failure.next_step.contains("--with-backing"));
            assert!(check("a", &info, None, Some(path), true).is_ok());
        }
        let alone = r#"{"format": "vmdk", "virtual-size": 1, "format-specific": {"data":
            {"extents": [{"filename": "/x/a.vmdk"}]}}}"#;
        assert_eq!(check("a", &read(alone), None, Some(path), false).ok(), Some(ImageFormat::Vmdk));
    }

    #[test]
    #[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test of files needs files")]
    fn a_sparse_file_of_a_plain_format_holds_no_more_than_it_takes() {
        let path = std::env::temp_dir().join(format!("quarry-test-{}", super::super::random_suffix()));
        std::fs::File::create_new(&path).unwrap().set_len(64 << 20).unwrap();
        let stored = |format| stored_bytes(format, Some(&path));
        assert!(stored(ImageFormat::Vhdx).is_some_and(|bytes| bytes < 1 << 20));
        // Its data may be compressed.
        assert_eq!((stored(ImageFormat::Qcow2), stored_bytes(ImageFormat::Vhdx, None)), (None, None));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_not_imported_is_named() {
        for (json, part) in [
            (r#"{"format": "parallels", "virtual-size": 1}"#, "has the format parallels"),
            (r#"{"format": "qcow2", "virtual-size": 1, "encrypted": true}"#, "encrypted"),
            (r#"{"format": "raw", "virtual-size": 0}"#, "is empty"),
        ] {
            let failure = check("a", &read(json), None, None, true).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.message.contains(part), "{}", failure.message);
        }
    }

    #[test]
    fn a_disk_behind_nbd_is_never_taken_for_an_image() {
        for uri in ["nbd://h/x", "nbd+unix:///x?socket=s", "nbds://h/x"] {
            assert_eq!(known_without_looking(uri, None), Some(ImageFormat::Raw));
        }
        assert_eq!(known_without_looking("https://h/x", None), None);
    }
}
