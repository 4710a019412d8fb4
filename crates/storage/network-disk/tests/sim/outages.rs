//! One thing at a time.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{DiskKind, OpenMode};

use super::server::Manner;
use super::{Stage, URI};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_written_is_read() {
    for structured in [true, false] {
        let stage = Stage::new(1, 1 << 20, Manner { structured, ..Manner::default() });
        let disk = stage.open(0);
        let geometry = disk.geometry().clone();
        assert_eq!(
            (geometry.kind, geometry.size_bytes, geometry.sector_bytes),
            (DiskKind::Network, 1 << 20, 512)
        );
        let buffers = stage.client.env(0).buffers;
        stage.run(0, async move {
            let (head, tail) = (buffers.copy_of(&[1; 512]), buffers.copy_of(&[2; 1024]));
            disk.write(4096, vec![head, tail]).await.expect("written");
            disk.flush().await.expect("flushed");
            let (read, result) = disk.read(3584, buffers.allocate(2560)).await;
            result.expect("read");
            assert_eq!(
                (read[511], read[512], read[1023], read[1024], read[2047], read[2048]),
                (0, 1, 1, 2, 2, 0)
            );
            disk.discard(4096, 512).await.expect("trimmed");
            assert_eq!(disk.read(4096, buffers.allocate(512)).await.0[0], 0xDD);
        });
        stage.world.run_for(SECOND).expect("no spin");
        assert_eq!((stage.stats().connections, stage.stats().reconnects), (0, 0), "closed with its disk");
    }
}

/// The server says that a write is done, loses it with its cache, and is back: the client writes it again before anybody reads.
#[test]
fn a_restarted_server_gets_again_what_it_had_not_flushed() {
    let stage = Stage::new(2, 1 << 20, Manner::default());
    let disk = stage.open(0);
    let buffers = stage.client.env(0).buffers;
    let writing = (disk.clone(), buffers.clone());
    stage.run(0, async move {
        let (disk, buffers) = writing;
        disk.write(0, vec![buffers.copy_of(&[1; 512])]).await.expect("written");
        disk.flush().await.expect("flushed");
        disk.write(512, vec![buffers.copy_of(&[2; 512])]).await.expect("written");
    });
    stage.kill_server(true);
    assert_eq!(stage.medium.borrow().bytes[512], 0, "the server has lost it");
    stage.restart_server();
    let reading = disk.clone();
    stage.run(0, async move {
        let (read, result) = reading.read(0, buffers.allocate(1024)).await;
        result.expect("read");
        assert_eq!((read[0], read[512]), (1, 2));
        reading.flush().await.expect("flushed");
    });
    stage.kill_server(true);
    assert_eq!(stage.medium.borrow().bytes[512], 2, "the flush covers what was written again");
    assert_eq!((stage.stats().reconnects, stage.stats().restored_writes), (1, 1));
}

/// The connection ends while a write is on its way; it is repeated and answered over another one. The first must not land
/// on top of what is written there next.
#[test]
fn a_late_write_does_not_land_on_a_newer_one() {
    let manner = Manner { delay: 8 * SECOND, ..Manner::default() };
    let mut both_answered = 0;
    for seed in 0..40 {
        let stage = Stage::new(seed, 1 << 20, manner);
        let disk = stage.open(0);
        let buffers = stage.client.env(0).buffers;
        let write = {
            let (disk, buffers) = (disk.clone(), buffers.clone());
            move |byte: u8| disk.write(0, vec![buffers.copy_of(&[byte; 512])])
        };
        let done = Rc::new(Cell::new(0));
        let (both, seen) = (write.clone(), done.clone());
        stage
            .client
            .spawn(0, async move {
                for byte in [1, 2] {
                    if both(byte).await.is_err() {
                        return;
                    }
                    seen.set(byte);
                }
            })
            .detach();
        stage.world.run_for(Duration::from_millis(100)).expect("it is on its way");
        stage.world.connections().into_iter().for_each(|connection| stage.world.cut(connection));
        stage.world.run_for(300 * SECOND).expect("everything has landed");
        let landed = stage.medium.borrow().bytes[0];
        assert!(
            landed >= done.get(),
            "seed {seed}: {landed} is there and {} was the last answered",
            done.get()
        );
        both_answered += u32::from(done.get() == 2);
    }
    assert!(both_answered > 20, "both writes were answered in {both_answered} of 40 histories only");
}

/// Another core's write is held back as well: the table is the export's.
#[test]
fn a_haunted_range_is_left_alone_by_all_cores() {
    let stage = Stage::new(3, 1 << 20, Manner { delay: SECOND, ..Manner::default() });
    let (disk, other) = (stage.open(0), stage.open(1));
    let (buffers, more) = (stage.client.env(0).buffers, stage.client.env(1).buffers);
    let writing = disk.clone();
    stage
        .client
        .spawn(0, async move { writing.write(0, vec![buffers.copy_of(&[1; 512])]).await.expect("repeated") })
        .detach();
    stage.world.run_for(Duration::from_millis(10)).expect("it is on its way");
    stage.world.connections().into_iter().for_each(|connection| stage.world.cut(connection));
    stage.world.run_for(10 * SECOND).expect("it was repeated");
    let began = stage.world.now();
    stage.run(
        1,
        async move { other.write(256 << 10, vec![more.copy_of(&[2; 512])]).await.expect("elsewhere") },
    );
    assert!(stage.world.now() - began < 5 * SECOND, "another range is not held back");
    let other = stage.open(1);
    let more = stage.client.env(1).buffers;
    stage.run(1, async move { other.write(0, vec![more.copy_of(&[2; 512])]).await.expect("written") });
    assert!(stage.world.now() - began > 8 * SECOND, "the range is");
    assert_eq!((stage.medium.borrow().bytes[0], stage.stats().held_back), (2, 1));
    drop(disk);
}

#[test]
fn a_server_that_stays_away_fails_the_device_in_bounded_time() {
    for frozen in [false, true] {
        let stage = Stage::new(4, 1 << 20, Manner::default());
        let disk = stage.open(0);
        match frozen {
            true => stage
                .world
                .connections()
                .into_iter()
                .for_each(|connection| stage.world.set_frozen(connection, true)),
            false => stage.kill_server(true),
        }
        if frozen {
            // A peer that answers nobody: its process is there and does nothing.
            stage.kill_server(false);
        }
        let buffers = stage.client.env(0).buffers;
        let began = stage.world.now();
        let failing = disk.clone();
        let error = stage.run(0, async move {
            failing.write(0, vec![buffers.copy_of(&[1; 512])]).await.expect_err("nobody is there")
        });
        let took = stage.world.now() - began;
        assert!(took > 10 * SECOND && took < 30 * SECOND, "hosts wait for 30 s: {took:?}");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().starts_with("the server was given up: "), "{error}");
        stage.restart_server();
        let later = stage.run(0, async move { disk.flush().await });
        later.expect_err("given up for good: what it held may be lost");
        assert_eq!(stage.stats().losses, 1);
    }
}

#[test]
fn an_outage_in_which_nobody_wants_anything_may_last() {
    let stage = Stage::new(5, 1 << 20, Manner::default());
    let disk = stage.open(0);
    stage.kill_server(true);
    stage.world.run_for(600 * SECOND).expect("no spin");
    stage.restart_server();
    stage.run(0, async move { disk.flush().await }).expect("it is back");
}

#[test]
fn a_flush_that_fails_ends_the_use_of_the_export() {
    let stage = Stage::new(6, 1 << 20, Manner::default());
    let disk = stage.open(0);
    stage.medium.borrow_mut().failing_flushes = 1;
    let flushing = disk.clone();
    let error = stage.run(0, async move { flushing.flush().await }).expect_err("it fails");
    assert!(error.to_string().contains("error 5"), "{error}");
    stage.run(0, async move { disk.flush().await }).expect_err("a later one would cover less than it says");
}

#[test]
fn an_error_of_the_server_is_the_request_s_alone() {
    let stage = Stage::new(7, 1 << 20, Manner::default());
    let disk = stage.open(0);
    let buffers = stage.client.env(0).buffers;
    for (errno, kind) in [(5, io::ErrorKind::Other), (28, io::ErrorKind::StorageFull)] {
        stage.medium.borrow_mut().errors = vec![errno];
        let (disk, buffers) = (disk.clone(), buffers.clone());
        stage.run(0, async move {
            let offset = u64::from(errno) * 512;
            let error = disk.write(offset, vec![buffers.copy_of(&[1; 512])]).await.expect_err("refused");
            assert_eq!(error.kind(), kind);
            disk.write(offset, vec![buffers.copy_of(&[1; 512])]).await.expect("the next one is taken");
        });
    }
    // Error 108: it is going away; another connection does it.
    stage.medium.borrow_mut().errors = vec![108];
    stage.run(0, async move { disk.read(0, buffers.allocate(512)).await.1 }).expect("read in the end");
    assert_eq!(stage.stats().reconnects, 1);
}

#[test]
fn what_cannot_hold_data_is_refused() {
    for (flags, message) in [
        (1 | 1 << 1 | 1 << 2 | 1 << 8, "it is read-only"),
        (1 | 1 << 8, "its server cannot flush"),
        (1 | 1 << 2, "each of the 2 cores of this node needs a connection"),
    ] {
        let stage = Stage::new(8, 1 << 20, Manner { flags, ..Manner::default() });
        let env = stage.env(0);
        let probing = env.clone();
        stage
            .run(0, async move { probing.disks.open(Path::new(URI), OpenMode::Probe).await.map(|_| ()) })
            .expect("looking is allowed");
        let refused = stage
            .run(0, async move { env.disks.open(Path::new(URI), OpenMode::Exclusive).await.map(|_| ()) });
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    }
    let stage = Stage::new(9, 1 << 20, Manner::default());
    let env = stage.env(0);
    let other = Path::new("nbd://10.0.0.7:10809/other");
    let refused = stage.run(0, async move { env.disks.open(other, OpenMode::Exclusive).await.map(|_| ()) });
    let error = refused.expect_err("there is none").to_string();
    assert_eq!(
        error,
        "the server refuses the export 'other' (there is none of that name: nothing of that name)"
    );
}
