use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use futures::future::join_all;
use proptest::test_runner::{Config, TestRunner};
use quarry_env::{DiskKind, OpenMode, View};

use super::{create, directory, pattern, read, run, run_with};
use crate::CoreConfig;

#[test]
fn a_created_disk_has_its_size_and_its_space() {
    let directory = directory();
    let path = directory.path().join("disk");
    let created = path.clone();
    run(|env| async move {
        let disk = create(&env, created, 8 << 20).await;
        let geometry = disk.geometry();
        assert_eq!(geometry.kind, DiskKind::File);
        assert_eq!(geometry.size_bytes, 8 << 20);
        assert!(geometry.direct, "the tests want a file system with direct I/O under /var/tmp");
        assert!((512..=4096).contains(&geometry.sector_bytes));
        assert!(geometry.preferred_bytes >= 4096);
        assert!(read(&env, &disk, 4 << 20, 4096).await.iter().all(|&byte| byte == 0));
    });
    let file = std::fs::metadata(&path).expect("the file");
    assert!(file.blocks() * 512 >= 8 << 20, "space is allocated");
}

#[test]
fn creating_over_a_file_is_refused_and_leaves_it_alone() {
    let directory = directory();
    let path = directory.path().join("precious");
    std::fs::write(&path, b"data").expect("a file");
    let tried = path.clone();
    let kind = run(|env| async move {
        env.disks.open(&tried, OpenMode::Create { size_bytes: 1 << 20 }).await.err().map(|error| error.kind())
    });
    assert_eq!(kind, Some(ErrorKind::AlreadyExists));
    assert_eq!(std::fs::read(&path).expect("the file"), b"data");
}

#[test]
fn a_disk_that_does_not_fit_names_the_file_and_leaves_nothing() {
    let directory = directory();
    let path = directory.path().join("huge");
    let tried = path.clone();
    let error = run(|env| async move {
        env.disks
            .open(&tried, OpenMode::Create { size_bytes: 1 << 43 })
            .await
            .err()
            .expect("8 TiB do not fit")
    });
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("huge"), "{error}");
    assert!(!path.exists());
}

#[test]
fn what_is_written_is_read_after_a_flush_and_a_reopen() {
    let directory = directory();
    let path = directory.path().join("disk");
    run(|env| async move {
        let disk = create(&env, path.clone(), 4 << 20).await;
        let data = pattern(&env, 256 << 10, 1);
        assert!(data.registered().is_some(), "the pool's slabs are registered");
        disk.write(1 << 20, vec![data.clone()]).await.expect("a write");
        disk.flush().await.expect("a flush");
        drop(disk);
        let disk = env.disks.open(&path, OpenMode::Exclusive).await.expect("the disk");
        assert_eq!(read(&env, &disk, 1 << 20, 256 << 10).await, data.to_vec());
        disk.discard(1 << 20, 64 << 10).await.expect("a discard");
        assert_eq!(disk.geometry().size_bytes, 4 << 20);
        assert_eq!(read(&env, &disk, (1 << 20) + (64 << 10), 4096).await, data[64 << 10..][..4096]);
    });
}

#[test]
fn unregistered_memory_works_as_well() {
    let directory = directory();
    let path = directory.path().join("disk");
    run_with(CoreConfig { registered_slabs_max: 0, ..CoreConfig::default() }, |env| async move {
        let disk = create(&env, path, 8 << 20).await;
        let large = pattern(&env, 3 << 20, 2);
        assert!(large.registered().is_none());
        let small = pattern(&env, 4096, 3);
        disk.write(0, vec![large.clone(), small.clone()]).await.expect("a write");
        assert_eq!(read(&env, &disk, 0, 3 << 20).await, large.to_vec());
        assert_eq!(read(&env, &disk, 3 << 20, 4096).await, small.to_vec());
    });
}

/// Any list of views, in any order, from one buffer or several, lands as the bytes in that order.
#[test]
fn odd_lists_of_views_are_written_in_order() {
    let directory = directory();
    let path = directory.path().join("disk");
    run(|env| async move {
        let disk = create(&env, path, 4 << 20).await;
        let sector = disk.geometry().sector_bytes as usize;
        let sources: Vec<View> = (0..3).map(|seed| pattern(&env, 64 * sector, seed)).collect();
        let piece = (0usize..3, 0usize..32, 1usize..32);
        let lists = proptest::collection::vec(piece, 1..50);
        let mut runner = TestRunner::new(Config::default());
        for _ in 0..100 {
            let list = proptest::strategy::ValueTree::current(
                &proptest::strategy::Strategy::new_tree(&lists, &mut runner).expect("a list"),
            );
            let data: Vec<View> = list
                .iter()
                .map(|&(source, start, count)| {
                    sources[source].slice(start * sector..(start + count) * sector)
                })
                .collect();
            let expected: Vec<u8> = data.iter().flat_map(|view| view.to_vec()).collect();
            disk.write(512 << 10, data).await.expect("a write");
            assert_eq!(read(&env, &disk, 512 << 10, expected.len()).await, expected);
        }
        // More ranges than one request takes.
        let data: Vec<View> = (0..1500).map(|i| sources[i % 3].slice(0..sector)).collect();
        let expected: Vec<u8> = data.iter().flat_map(|view| view.to_vec()).collect();
        disk.write(0, data).await.expect("a write");
        assert_eq!(read(&env, &disk, 0, expected.len()).await, expected);
    });
}

#[test]
fn requests_outside_the_disk_or_between_sectors_are_errors() {
    let directory = directory();
    let path = directory.path().join("disk");
    run(|env| async move {
        let disk = create(&env, path, 1 << 20).await;
        let (_, result) = disk.read((1 << 20) - 4096, env.buffers.allocate(8192)).await;
        assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
        let (_, result) = disk.read(1 << 30, env.buffers.allocate(4096)).await;
        assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
        let view = pattern(&env, 8192, 0);
        for (offset, length) in [((1 << 20) - 4096, 8192), (1 << 30, 4096), (u64::MAX - 511, 4096)] {
            let result = disk.write(offset, vec![view.slice(0..length)]).await;
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput), "{offset}");
        }
        for (offset, range) in [(0, 0..100), (100, 0..4096)] {
            let result = disk.write(offset, vec![view.slice(range)]).await;
            assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput), "{offset}");
        }
        let halves = vec![view.slice(0..256), view.slice(300..556)];
        assert!(disk.write(0, halves).await.is_err(), "each view is a multiple of a sector");
        assert!(read(&env, &disk, 0, 4096).await.iter().all(|&byte| byte == 0));
    });
}

#[test]
fn what_is_no_disk_is_refused() {
    let directory = directory();
    let path = directory.path().to_owned();
    run(|env| async move {
        for mode in [OpenMode::Probe, OpenMode::Exclusive] {
            for path in [path.as_path(), "/dev/null".as_ref(), path.join("missing").as_path()] {
                assert!(env.disks.open(path, mode).await.is_err(), "{}", path.display());
            }
        }
        assert!(env.disks.is_directory(&path).expect("it is there"));
        assert!(!env.disks.exists(&path.join("missing")));
        assert!(env.disks.free_bytes(&path).expect("it is there") > 0);
    });
}

/// More operations at once than the queues hold, with completions that nobody waits for among them.
#[test]
fn more_operations_than_the_queues_hold_all_end() {
    let directory = directory();
    let path = directory.path().join("disk");
    let config = CoreConfig { submission_entries: 8, completion_entries: 16, ..CoreConfig::default() };
    run_with(config, |env| async move {
        let disk = create(&env, path, 16 << 20).await;
        let writes = (0..4096u64).map(|index| disk.write(index * 4096, vec![pattern(&env, 4096, index)]));
        for result in join_all(writes.collect::<Vec<_>>()).await {
            result.expect("a write");
        }
        let reads: Vec<_> = (0..4096u64)
            .filter_map(|index| {
                let read = disk.read(index * 4096, env.buffers.allocate(4096));
                (index % 3 != 0).then_some(async move { (index, read.await) })
            })
            .collect();
        for (index, (buffer, result)) in join_all(reads).await {
            result.expect("a read");
            assert_eq!(buffer[..], pattern(&env, 4096, index)[..]);
        }
        disk.flush().await.expect("a flush");
    });
}

/// A core ends with operations in flight: their memory stays until the kernel is done with it, and the data lands.
#[test]
fn a_core_that_ends_finishes_its_disk_operations() {
    let directory = directory();
    let path = directory.path().join("disk");
    let written = path.clone();
    let expected = run(|env| async move {
        let disk = create(&env, written, 16 << 20).await;
        for index in 0..1000u64 {
            drop(disk.write(index * 4096, vec![pattern(&env, 4096, index)]));
        }
        let waiting = disk.clone();
        let buffers = env.buffers.clone();
        env.spawner.spawn(async move { waiting.read(0, buffers.allocate(1 << 20)).await.1 }).detach();
        (0..1000u64).flat_map(|index| pattern(&env, 4096, index).to_vec()).collect::<Vec<u8>>()
    });
    assert_eq!(std::fs::read(&path).expect("the file")[..expected.len()], expected[..]);
}

#[test]
fn a_disk_knows_whether_a_path_leads_to_it() {
    let directory = directory();
    let (path, other, link) =
        (directory.path().join("disk"), directory.path().join("other"), directory.path().join("link"));
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    run(|env| async move {
        let disk = create(&env, path.clone(), 1 << 20).await;
        let is_at = async |path: &std::path::Path| disk.is_at(path).await.expect("it can be looked at");
        assert!(is_at(&path).await && is_at(&link).await && !is_at(&other).await);
        assert!(!is_at(&path.join("below")).await, "a file is no directory");
        std::fs::rename(&path, &other).expect("it is there");
        assert!(!is_at(&path).await && !is_at(&link).await && is_at(&other).await);
        std::fs::write(&path, b"another").expect("a file");
        assert!(!is_at(&path).await, "another file has its name");
    });
}
