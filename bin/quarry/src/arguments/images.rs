//! What can be typed to bring images in and out.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quarry_api_types::{Name, VolumePath};

use super::NewVolumeSettings;

#[derive(Args, Debug)]
pub struct ImportVolume {
    /// A file, or a URI: nbd://, nbd+unix://, http://, https:// or another one that qemu-img knows
    pub source: OsString,
    /// The pool to carve the volume from
    #[arg(long)]
    pub pool: Name,
    /// Name of the new volume
    #[arg(long)]
    pub name: Name,
    #[command(flatten)]
    pub settings: NewVolumeSettings,
    /// What the source is, instead of having it detected
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub source_format: Option<ImageFormat>,
    /// Also read the other files that the image names: backing files, external data, extents
    #[arg(long)]
    pub with_backing: bool,
    /// Begin even if the pool has not enough space for all of it now
    #[arg(long)]
    pub skip_space_check: bool,
    /// Compare the volume with the source afterwards
    #[arg(long)]
    pub verify: bool,
    /// Leave the volume where it is when the import fails
    #[arg(long)]
    pub keep: bool,
    /// Do not tell how far it is
    #[arg(long)]
    pub no_progress: bool,
}

#[derive(Args, Debug)]
pub struct ExportImage {
    /// What to write; of a volume a snapshot is taken first, and deleted afterwards
    #[arg(value_name = "VOLUME[@SNAPSHOT]")]
    pub volume: VolumePath,
    /// The file to make
    pub file: PathBuf,
    /// Format of the file; without it, what the name ends with says, else raw
    #[arg(long, value_enum)]
    pub format: Option<TargetFormat>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// Compare the file with the volume before it gets its name
    #[arg(long)]
    pub verify: bool,
    /// Do not tell how far it is
    #[arg(long)]
    pub no_progress: bool,
}

/// An image format that can be read, by QEMU's name for it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageFormat {
    Raw,
    Qcow2,
    Vmdk,
    Vhdx,
    #[value(alias = "vhd")]
    Vpc,
    Vdi,
}

impl ImageFormat {
    /// The name that qemu-img takes and gives.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vpc => "vpc",
            Self::Vdi => "vdi",
        }
    }
}

/// An image format that can be written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetFormat {
    /// The bytes themselves, with holes
    Raw,
    /// QEMU, KVM, OpenStack
    Qcow2,
    /// VMware
    Vmdk,
    /// Hyper-V
    Vhdx,
    /// Virtual PC, Azure (VHD)
    #[value(alias = "vhd")]
    Vpc,
}

impl TargetFormat {
    /// The name that qemu-img takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vpc => "vpc",
        }
    }

    /// What the end of a file's name says, as people name images.
    pub fn of_name(file: &std::path::Path) -> Self {
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "qcow2" => Self::Qcow2,
            "vmdk" => Self::Vmdk,
            "vhdx" => Self::Vhdx,
            "vhd" | "vpc" => Self::Vpc,
            _ => Self::Raw,
        }
    }

    /// Options of `qemu-img convert -o`. A VHD's own geometry would round the size up.
    pub fn options(self) -> Option<&'static str> {
        match self {
            Self::Raw | Self::Qcow2 => None,
            Self::Vmdk => Some("subformat=monolithicSparse"),
            Self::Vhdx => Some("subformat=dynamic"),
            Self::Vpc => Some("subformat=dynamic,force_size=on"),
        }
    }
}
