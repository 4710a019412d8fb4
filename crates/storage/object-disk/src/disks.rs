//! Disks by path, where a path may be the address of a place in a bucket.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use quarry_env::{Disk, Disks, Env, OpenMode};

use crate::address::BucketAddress;
use crate::disk::ObjectDisk;
use crate::places::Buckets;

/// The disks of an env, and places in buckets beside them.
struct WithObjects {
    /// The env below, whose disks these are.
    env: Env,
    buckets: Buckets,
}

/// The same env, in which addresses of buckets name disks as well.
pub fn with_objects(env: &Env, buckets: &Buckets) -> Env {
    let disks = WithObjects { env: env.clone(), buckets: buckets.clone() };
    Env { disks: Rc::new(disks), ..env.clone() }
}

impl WithObjects {
    fn open_place(&self, path: &Path, mode: OpenMode) -> io::Result<Rc<dyn Disk>> {
        let address = address(path)?;
        if let OpenMode::Create { .. } = mode {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a place in a bucket is not made as a file",
            ));
        }
        let runtime = self.buckets.runtime()?;
        let device = self.buckets.device(&address)?;
        let holder = self.buckets.holder(|| self.env.random.next_u128());
        let buckets = self.buckets.clone();
        let count_open = Box::new(move || buckets.count_open());
        let with = (runtime, device, holder);
        Ok(Rc::new(ObjectDisk::new(self.env.clone(), with, address.size_bytes, count_open)))
    }
}

fn address(path: &Path) -> io::Result<BucketAddress> {
    BucketAddress::parse(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn no_file(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{} is a place in a bucket, not a file", path.display()),
    )
}

impl Disks for WithObjects {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> Pin<Box<dyn Future<Output = io::Result<Rc<dyn Disk>>> + 'a>> {
        match BucketAddress::is_meant(path) {
            true => Box::pin(std::future::ready(self.open_place(path, mode))),
            false => self.env.disks.open(path, mode),
        }
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        if BucketAddress::is_meant(path) { Ok(false) } else { self.env.disks.is_directory(path) }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if BucketAddress::is_meant(path) { Err(no_file(path)) } else { self.env.disks.free_bytes(path) }
    }

    /// Whether the bucket is there, a request tells.
    fn exists(&self, path: &Path) -> bool {
        BucketAddress::is_meant(path) || self.env.disks.exists(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if BucketAddress::is_meant(path) { Err(no_file(path)) } else { self.env.disks.remove(path) }
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        match BucketAddress::is_meant(path) {
            true => Ok(PathBuf::from(address(path)?.to_string())),
            false => self.env.disks.canonical(path),
        }
    }

    fn is_same(&self, one: &Path, other: &Path) -> bool {
        match (BucketAddress::is_meant(one), BucketAddress::is_meant(other)) {
            (false, false) => self.env.disks.is_same(one, other),
            (true, true) => {
                matches!((self.canonical(one), self.canonical(other)), (Ok(one), Ok(other)) if one == other)
            }
            _ => false,
        }
    }

    fn file_identity(&self, path: &Path) -> io::Result<Option<String>> {
        if BucketAddress::is_meant(path) { Ok(None) } else { self.env.disks.file_identity(path) }
    }

    fn scan(&self) -> io::Result<Vec<(PathBuf, Option<String>)>> {
        self.env.disks.scan()
    }
}
