//! An open device: bounds, counts, what an error does to it.

use std::io;

use proptest::prelude::*;
use quarry_device::{Device, DeviceState, DeviceStats, Fault, Operation};
use quarry_env::Env;
use quarry_env_sim::{FaultKind, Verb};
use quarry_types::limits::{DEVICE_HEADER_BYTES, SEGMENT_BYTES_MIN};

use super::{DISK_BYTES, make, run, world};

async fn one(env: &Env) -> Device {
    make(env, 1).await.pop().expect("one device")
}

#[test]
fn operations_are_counted_and_carried_out() {
    let (world, _) = world(1, 1);
    run(&world, async |env: Env| {
        let device = one(&env).await;
        let offset = device.slot_offset(3);
        assert_eq!(offset, DEVICE_HEADER_BYTES + 3 * SEGMENT_BYTES_MIN);
        let (head, tail) = (env.buffers.copy_of(&[1; 512]), env.buffers.copy_of(&[2; 1024]));
        device.write(offset, vec![head, tail]).await.expect("written");
        device.flush().await.expect("flushed");
        let read = device.read(offset, env.buffers.allocate(1536)).await.expect("read");
        assert_eq!((read[511], read[512], read[1535]), (1, 2, 2));
        device.discard(offset, 1536).await.expect("discarded");
        device.note_corruption();
        let expected = DeviceStats {
            reads: 1,
            writes: 1,
            flushes: 1,
            discards: 1,
            read_bytes: 1536,
            written_bytes: 1536,
            errors: 0,
            corruptions: 1,
        };
        assert_eq!(device.stats(), expected);
        assert_eq!(device.state(), DeviceState::Healthy);
    });
}

#[test]
fn a_wrong_request_is_no_mark_against_the_device() {
    let (world, _) = world(2, 1);
    run(&world, async |env: Env| {
        let device = one(&env).await;
        for (offset, length) in
            [(1, 512), (0, 100), (DISK_BYTES, 512), (DISK_BYTES - 512, 1024), (u64::MAX - 511, 512)]
        {
            let error = device.read(offset, env.buffers.allocate(length)).await.expect_err("refused");
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
        assert_eq!((device.state(), device.stats()), (DeviceState::Healthy, DeviceStats::default()));
    });
}

#[test]
fn an_error_names_its_place_and_makes_the_device_suspect() {
    let (world, disks) = world(3, 1);
    let disk = disks[0];
    let device = {
        let process = world.process(1);
        let device = super::run_in(&world, &process, async |env: Env| one(&env).await);
        world.script_fault(disk, FaultKind::ReadError, Verb::Read, 8192..8193, 0);
        world.script_fault(disk, FaultKind::FlushError, Verb::Flush, 0..0, 0);
        super::run_in(&world, &process, async move |env: Env| {
            let error = device.read(8192, env.buffers.allocate(4096)).await.expect_err("the fault");
            let prefix = format!("read of 4096 bytes at 8192 of device {} (/dev/0) failed: ", device.id());
            assert!(error.to_string().starts_with(&prefix), "{error}");
            device.flush().await.expect_err("the fault");
            device
        })
    };
    let DeviceState::Suspect(fault) = device.state() else { panic!("{:?}", device.state()) };
    assert_eq!((fault.operation, fault.offset), (Operation::Read, 8192), "the first fault is kept");
    assert_eq!(device.stats().errors, 2);
}

#[test]
fn a_failed_device_refuses_without_trying() {
    let (world, _) = world(4, 1);
    run(&world, async |env: Env| {
        let device = one(&env).await;
        let fault = Fault { operation: Operation::Flush, offset: 0, kind: io::ErrorKind::Other };
        device.set_state(DeviceState::Failed(fault));
        let error = device.flush().await.expect_err("refused").to_string();
        assert!(error.ends_with("the device has failed (flush at 0 failed: other error)"), "{error}");
        assert_eq!(device.stats(), DeviceStats::default());
    });
}

#[test]
#[should_panic(expected = "has no slot 32")]
fn a_slot_that_does_not_exist_has_no_offset() {
    let (world, _) = world(5, 1);
    run(&world, async |env: Env| one(&env).await.slot_offset(32));
}

#[test]
#[should_panic(expected = "labels only get newer")]
fn a_label_is_never_replaced_by_an_older_one() {
    let (world, _) = world(6, 1);
    run(&world, async |env: Env| {
        let device = one(&env).await;
        let label = quarry_device::Label::clone(&device.label());
        device.write_label(label).await.expect("unreachable");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_range_of_any_alignment_is_read(start in 0u64..5000, length in 1usize..5000) {
        let (world, disks) = world(7, 1);
        let bytes: Vec<u8> = (0..16384u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let expected = bytes[start as usize..start as usize + length].to_vec();
        let read = run(&world, async move |env: Env| {
            let device = one(&env).await;
            let offset = device.slot_offset(0);
            device.write(offset, vec![env.buffers.copy_of(&bytes)]).await.expect("written");
            device.read_range(offset + start, length).await.expect("read").to_vec()
        });
        prop_assert_eq!(read, expected);
        prop_assert_eq!(disks.len(), 1);
    }
}
