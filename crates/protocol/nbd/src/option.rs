//! The data of options and of their replies (proto.md, "Option types" and "Option reply types"): decode and encode only.

use quarry_target::Export;
use quarry_types::ByteSize;

use crate::constants::{info, option_replies as reply, options};
use crate::limits::{BLOCK_BYTES_MIN, STRING_BYTES_MAX};
use crate::wire::{put_option_reply, u16_at, u32_at};

/// The data of an option contradicts itself: `NBD_REP_ERR_INVALID`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed option data")]
pub struct Malformed;

/// What `INFO` and `GO` ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InfoRequest<'a> {
    /// The export; empty for the default one.
    pub export: &'a str,
    /// Whether its canonical name is wanted.
    pub name: bool,
    /// Whether its description is wanted.
    pub description: bool,
}

/// What `LIST_META_CONTEXT` and `SET_META_CONTEXT` ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContextRequest<'a> {
    /// The export; empty for the default one.
    pub export: &'a str,
    /// The queries.
    pub queries: Vec<&'a str>,
}

/// Takes fields off the front of option data.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.bytes(2).map(|bytes| u16_at(bytes, 0))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.bytes(4).map(|bytes| u32_at(bytes, 0))
    }

    /// A string behind its length.
    fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32()? as usize;
        text(self.bytes(length)?)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// A string of the protocol ("Conventions"): UTF-8 of bounded length without NUL.
pub fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    if text.len() > STRING_BYTES_MAX || text.contains('\0') { Err(Malformed) } else { Ok(text) }
}

impl<'a> InfoRequest<'a> {
    /// Decodes the data of `INFO` or `GO`. Unknown information requests are ignored, as proto.md wants.
    pub fn decode(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let mut request = Self { export: fields.string()?, name: false, description: false };
        for _ in 0..fields.u16()? {
            match fields.u16()? {
                info::NAME => request.name = true,
                info::DESCRIPTION => request.description = true,
                _ => {}
            }
        }
        fields.end()?;
        Ok(request)
    }
}

impl<'a> ContextRequest<'a> {
    /// Decodes the data of `LIST_META_CONTEXT` or `SET_META_CONTEXT`.
    pub fn decode(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(data);
        let export = fields.string()?;
        let count = fields.u32()?;
        // The count is the client's word; the data bounds how many there really are.
        let mut queries = Vec::new();
        for _ in 0..count {
            queries.push(fields.string()?);
        }
        fields.end()?;
        Ok(Self { export, queries })
    }
}

/// The reply to `INFO` and `GO`: everything that was asked for, the size, and always the block sizes.
pub fn put_info(
    out: &mut Vec<u8>,
    option: u32,
    request: &InfoRequest<'_>,
    export: &Export,
    flags: u16,
    payload_bytes_max: u32,
) {
    let mut put = |kind: u16, data: &[&[u8]]| {
        let kind = kind.to_be_bytes();
        let parts: Vec<&[u8]> = std::iter::once(&kind[..]).chain(data.iter().copied()).collect();
        put_option_reply(out, option, reply::INFO, &parts);
    };
    let volume = &export.volume;
    put(info::EXPORT, &[&volume.size_bytes.to_be_bytes(), &flags.to_be_bytes()]);
    if request.name {
        put(info::NAME, &[export.name.as_bytes()]);
    }
    if request.description {
        put(info::DESCRIPTION, &[description(export).as_bytes()]);
    }
    let preferred = preferred_bytes(volume.preferred_bytes, payload_bytes_max);
    let sizes = [BLOCK_BYTES_MIN, preferred, payload_bytes_max].map(u32::to_be_bytes);
    put(info::BLOCK_SIZE, &[sizes.as_flattened()]);
    put_option_reply(out, option, reply::ACK, &[]);
}

/// One line about the export, for people.
pub fn description(export: &Export) -> String {
    format!("volume {} of {}", export.volume.name, ByteSize(export.volume.size_bytes))
}

/// The preferred block size that proto.md allows: a power of two between 512 and the largest payload.
fn preferred_bytes(wanted: u32, payload_bytes_max: u32) -> u32 {
    let ceiling = 1 << payload_bytes_max.ilog2();
    wanted.clamp(BLOCK_BYTES_MIN, ceiling).next_power_of_two().min(ceiling)
}

/// One entry of the reply to `LIST`.
pub fn put_server(out: &mut Vec<u8>, export: &Export) {
    let length = (export.name.len() as u32).to_be_bytes();
    let description = description(export);
    let parts: [&[u8]; 3] = [&length, export.name.as_bytes(), description.as_bytes()];
    put_option_reply(out, options::LIST, reply::SERVER, &parts);
}

#[cfg(test)]
mod tests;
