//! What a server serves, as a disk.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use quarry_env::{Buffer, Completion, Disk, DiskGeometry, DiskKind, View, completion};

use crate::limits::PAYLOAD_BYTES_MAX;
use crate::request::Work;
use crate::session::Session;
use crate::terms::Terms;

const SECTOR_BYTES_MIN: u32 = 512;

/// A disk that is open on one core. Dropping it gives the claim back, and ends the connection when all it was asked is done.
pub struct NetworkDisk {
    session: Rc<Session>,
    geometry: DiskGeometry,
    payload_bytes_max: u32,
}

/// What is known of a disk from what its server says.
pub fn geometry(terms: &Terms) -> DiskGeometry {
    let sector_bytes = terms.block_bytes_min.max(SECTOR_BYTES_MIN);
    DiskGeometry {
        kind: DiskKind::Network,
        size_bytes: terms.size_bytes,
        sector_bytes,
        preferred_bytes: terms.block_bytes_preferred.max(sector_bytes),
        rotational: None,
        direct: true,
        identity: terms.identity.clone(),
    }
}

impl NetworkDisk {
    pub(crate) fn new(session: Rc<Session>) -> Self {
        let geometry = geometry(&session.terms);
        let payload_bytes_max = session.terms.payload_bytes_max.min(PAYLOAD_BYTES_MAX);
        let payload_bytes_max = payload_bytes_max - payload_bytes_max % geometry.sector_bytes;
        Self { session, geometry, payload_bytes_max }
    }

    fn read_one(&self, offset: u64, buffer: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        let (completer, completion) = completion();
        let length = buffer.len() as u32;
        let work = Work::Read { buffer: Some(buffer), received: 0, completer };
        self.session.submit(work, offset, length);
        completion
    }

    fn write_one(&self, offset: u64, data: Vec<View>, length: u32) -> Completion<io::Result<()>> {
        let (completer, completion) = completion();
        self.session.submit(Work::Write { data, completer }, offset, length);
        completion
    }
}

impl Disk for NetworkDisk {
    fn geometry(&self) -> &DiskGeometry {
        &self.geometry
    }

    fn read(&self, offset: u64, mut buffer: Buffer) -> Completion<(Buffer, io::Result<()>)> {
        if buffer.len() <= self.payload_bytes_max as usize {
            return self.read_one(offset, buffer);
        }
        let (completer, whole) = completion();
        let pool = &self.session.env.buffers;
        let starts = (0..buffer.len()).step_by(self.payload_bytes_max as usize);
        let parts: Vec<_> = starts
            .map(|at| {
                let length = (buffer.len() - at).min(self.payload_bytes_max as usize);
                (at, self.read_one(offset + at as u64, pool.allocate(length)))
            })
            .collect();
        let gather = async move {
            let mut result = Ok(());
            for (at, part) in parts {
                let (part, read) = part.await;
                buffer[at..at + part.len()].copy_from_slice(&part);
                result = result.and(read);
            }
            completer.complete((buffer, result));
        };
        self.session.env.spawner.spawn(gather).detach();
        whole
    }

    fn write(&self, offset: u64, data: Vec<View>) -> Completion<io::Result<()>> {
        let length: usize = data.iter().map(|view| view.len()).sum();
        if length <= self.payload_bytes_max as usize {
            return self.write_one(offset, data, length as u32);
        }
        let mut at = offset;
        let mut parts = Vec::new();
        for (data, length) in pieces(data, self.payload_bytes_max as usize) {
            parts.push(self.write_one(at, data, length));
            at += u64::from(length);
        }
        self.all(parts)
    }

    fn hold(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + '_>> {
        let session = self.session.clone();
        Box::pin(async move { session.hold().await })
    }

    fn flush(&self) -> Completion<io::Result<()>> {
        let (completer, completion) = completion();
        self.session.submit_flush(Some(completer));
        completion
    }

    /// Nothing where the server does not know trimming: what a range holds afterwards is undefined anyway.
    fn discard(&self, offset: u64, length: u64) -> Completion<io::Result<()>> {
        let trim_bytes_max = self.session.terms.trim_bytes_max;
        if length == 0 || trim_bytes_max == 0 {
            return Completion::ready(Ok(()));
        }
        let starts = (offset..offset + length).step_by(trim_bytes_max as usize);
        let parts = starts.map(|at| {
            let (completer, completion) = completion();
            let length = (offset + length - at).min(trim_bytes_max.into()) as u32;
            self.session.submit(Work::Trim { completer }, at, length);
            completion
        });
        self.all(parts.collect())
    }
}

impl NetworkDisk {
    /// Done when all parts are; the first error counts.
    fn all(&self, parts: Vec<Completion<io::Result<()>>>) -> Completion<io::Result<()>> {
        let (completer, whole) = completion();
        let gather = async move {
            let mut result = Ok(());
            for part in parts {
                let part = part.await;
                result = result.and(part);
            }
            completer.complete(result);
        };
        self.session.env.spawner.spawn(gather).detach();
        whole
    }
}

impl Drop for NetworkDisk {
    fn drop(&mut self) {
        let session = self.session.clone();
        let closing = async move {
            session.let_go().await;
            session.close();
        };
        self.session.env.spawner.spawn(closing).detach();
    }
}

/// Cuts data into pieces of at most `piece_bytes`.
fn pieces(data: Vec<View>, piece_bytes: usize) -> Vec<(Vec<View>, u32)> {
    let mut pieces: Vec<(Vec<View>, u32)> = Vec::new();
    for mut view in data {
        while !view.is_empty() {
            let room = pieces.last().map_or(0, |&(_, length)| piece_bytes - length as usize);
            if room == 0 {
                pieces.push((Vec::new(), 0));
                continue;
            }
            let taken = room.min(view.len());
            let (views, length) = pieces.last_mut().expect("one was just pushed");
            views.push(view.slice(0..taken));
            *length += taken as u32;
            view = view.slice(taken..view.len());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use quarry_env::BufferPool;

    use super::*;

    #[test]
    fn data_is_cut_without_loss() {
        let pool = BufferPool::default();
        let bytes: Vec<u8> = (0..250).collect();
        let data = [&bytes[..100], &bytes[100..101], &bytes[101..]].map(|part| pool.copy_of(part));
        let cut = pieces(data.to_vec(), 64);
        assert_eq!(cut.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [64, 64, 64, 58]);
        let whole: Vec<u8> = cut.iter().flat_map(|(views, _)| views).flat_map(|view| view.to_vec()).collect();
        assert_eq!(whole, bytes);
    }
}
