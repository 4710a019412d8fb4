//! Real files to copy: the machine's own.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, workspace};

/// Where files are taken from, in this order.
const SOURCES: [&str; 4] = ["/usr/share", "/usr/lib", "/usr/bin", "/usr/include"];
/// Larger files are passed over, so that a sample has many.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Content of the demo's image.
const IMAGE_CONTENT_BYTES: u64 = 540 << 20;
/// Files in the image are at least so large: mkfs.ext4 takes its time for each one.
const IMAGE_FILE_BYTES_MIN: u64 = 16 << 10;
/// Size of the demo's image, with room for what a file system adds.
pub const IMAGE_BYTES: u64 = 704 << 20;

/// Regular files that we may read, none smaller than `file_bytes_min`, with at least `total_bytes` in all.
pub fn files(total_bytes: u64, file_bytes_min: u64) -> Result<Vec<PathBuf>> {
    let mut sample = Sample { wanted_bytes: total_bytes, file_bytes_min, found: Vec::new() };
    SOURCES.iter().for_each(|source| sample.collect(Path::new(source)));
    ensure!(
        sample.wanted_bytes == 0,
        "{} MiB of files are missing in {}",
        sample.wanted_bytes >> 20,
        SOURCES.join(", ")
    );
    Ok(sample.found)
}

struct Sample {
    wanted_bytes: u64,
    file_bytes_min: u64,
    found: Vec<PathBuf>,
}

impl Sample {
    fn collect(&mut self, folder: &Path) {
        // What cannot be read is passed over: it is a sample.
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort_unstable();
        for path in paths {
            if self.wanted_bytes == 0 {
                return;
            }
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let is_of_size = (self.file_bytes_min..=FILE_BYTES_MAX).contains(&metadata.len());
            if metadata.is_dir() {
                self.collect(&path);
            } else if metadata.is_file() && is_of_size && File::open(&path).is_ok() {
                self.wanted_bytes = self.wanted_bytes.saturating_sub(metadata.len());
                self.found.push(path);
            }
        }
    }
}

/// Whether two files hold the same bytes.
pub fn is_same(left: &Path, right: &Path) -> Result<bool> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        anyhow::Ok(BufReader::with_capacity(1 << 16, file))
    };
    let (mut left, mut right) = (open(left)?, open(right)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        (&mut left).take(1 << 16).read_to_end(&mut a)?;
        (&mut right).take(1 << 16).read_to_end(&mut b)?;
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}

/// An ext4 image with the machine's files, built once and kept under the target folder.
pub fn ext4_image() -> Result<PathBuf> {
    let folder = workspace::target_dir().join("demo");
    let image = folder.join("image.ext4");
    if fs::metadata(&image).is_ok_and(|metadata| metadata.len() == IMAGE_BYTES) {
        return Ok(image);
    }
    fs::create_dir_all(&folder)?;
    let tree = folder.join("tree");
    // Left over from a build that was cut off.
    let _ = fs::remove_dir_all(&tree);
    let result = build_image(&tree, &image);
    fs::remove_dir_all(&tree)?;
    result.map(|()| image)
}

fn build_image(tree: &Path, image: &Path) -> Result<()> {
    fs::create_dir_all(tree)?;
    for file in files(IMAGE_CONTENT_BYTES, IMAGE_FILE_BYTES_MIN)? {
        let copy = tree.join(file.strip_prefix("/")?);
        fs::create_dir_all(copy.parent().context("a file lies in a folder")?)?;
        if fs::hard_link(&file, &copy).is_err() {
            fs::copy(&file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    let unfinished = image.with_extension("part");
    let _ = fs::remove_file(&unfinished);
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-L", "quarry-demo", "-d"]).arg(tree).arg(&unfinished);
    mkfs.arg(format!("{}k", IMAGE_BYTES >> 10)).env("PATH", search_path());
    command::run(&mut mkfs)?;
    fs::rename(&unfinished, image)?;
    Ok(())
}

/// PATH with the folders of the system's own tools, which a plain user's may lack.
pub fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
