//! Files as persistent memory. A file system with DAX is not to be had here: the mapping is the page cache, and a flush is one of the file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use quarry_env::{DiskKind, OpenMode};

use super::{create, directory, pattern, read, run};

const BYTES: u64 = 4 << 20;

/// The path of a file that is used as memory.
fn memory(path: &Path) -> PathBuf {
    format!("pmem://{}", path.display()).into()
}

#[test]
fn a_write_is_done_at_once_and_is_in_the_file() {
    let directory = directory();
    let path = directory.path().join("memory");
    run(|env| async move {
        drop(create(&env, memory(&path), BYTES).await);
        let disk = env.disks.open(&memory(&path), OpenMode::Exclusive).await.expect("the memory");
        assert_eq!((disk.geometry().kind, disk.geometry().size_bytes), (DiskKind::Pmem, BYTES));
        assert!(env.disks.exists(&memory(&path)) && !env.disks.is_directory(&memory(&path)).expect("a file"));
        let canonical = |path: &Path| env.disks.canonical(path).expect("it exists");
        assert_eq!(canonical(&memory(&path)), canonical(&path), "two paths to one file");
        let (first, second) = (pattern(&env, 64 << 10, 1), pattern(&env, 512, 2));
        let written = disk.write(1 << 20, vec![first.clone(), second.clone()]);
        assert!(written.is_done(), "no system call was waited for");
        written.await.expect("a write");
        let expected = [first.to_vec(), second.to_vec()].concat();
        assert_eq!(read(&env, &disk, 1 << 20, expected.len()).await, expected);
        disk.flush().await.expect("a flush");
        let beyond = disk.write(BYTES - 512, vec![pattern(&env, 1024, 3)]).await.expect_err("it has no room");
        assert!(beyond.to_string().contains("exceed the disk's"), "{beyond}");
        disk.write(1, vec![pattern(&env, 512, 3)]).await.expect_err("no multiple of a sector");
        drop(disk);
        let plain = env.disks.open(&path, OpenMode::Exclusive).await.expect("the file");
        assert_eq!(read(&env, &plain, 1 << 20, 64 << 10).await, first.to_vec());
    });
}

#[test]
fn no_store_finds_the_file_system_full() {
    let directory = directory();
    let path = directory.path().join("sparse");
    std::fs::File::create(&path).and_then(|file| file.set_len(BYTES)).expect("a file of holes");
    let opened = path.clone();
    run(|env| async move {
        let disk = env.disks.open(&memory(&opened), OpenMode::Exclusive).await.expect("the memory");
        disk.discard(0, BYTES).await.expect("nothing to do");
    });
    assert!(std::fs::metadata(&path).expect("the file").blocks() * 512 >= BYTES, "all of it has its space");
}

#[test]
fn memory_that_is_gone_is_an_error_and_not_the_end() {
    let directory = directory();
    let path = directory.path().join("memory");
    run(|env| async move {
        let disk = create(&env, memory(&path), BYTES).await;
        disk.write(0, vec![pattern(&env, 4096, 1)]).await.expect("a write");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
        file.set_len(1 << 20).expect("cut off");
        let lost = disk.write(2 << 20, vec![pattern(&env, 4096, 2)]).await.expect_err("nothing is there");
        assert!(lost.to_string().contains("the memory behind the file is gone"), "{lost}");
        disk.flush().await.expect_err("what is not there is not made durable");
        disk.write(0, vec![pattern(&env, 4096, 2)])
            .await
            .expect_err("and so it stays until it is opened again");
        assert_eq!(read(&env, &disk, 0, 4096).await, pattern(&env, 4096, 1).to_vec());
    });
}

#[test]
fn what_is_no_file_is_refused() {
    let refused = run(|env| async move {
        let opened = env.disks.open(Path::new("pmem:///dev"), OpenMode::Exclusive).await;
        opened.err().expect("a directory").to_string()
    });
    assert!(!refused.is_empty());
}
