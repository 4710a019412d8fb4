use std::path::Path;
use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::address::BucketAddress;

fn device(store: &Arc<InMemory>) -> Device {
    let address = BucketAddress::parse(Path::new("s3://cold/a?size=64MiB")).expect("an address");
    Device::new(Bucket::new(store.clone(), &address))
}

async fn held(store: &Arc<InMemory>, holder: u128) -> Device {
    let device = device(store);
    device.holding.hold(&device.bucket, holder).await.expect("nobody else has it");
    device
}

async fn read(device: &Device, offset: usize, length: usize) -> Vec<u8> {
    device.read(offset as u64, length as u64).await.expect("read").concat()
}

#[tokio::test(start_paused = true)]
async fn ranges_of_any_kind_hold_what_was_written() {
    const SIZE: usize = 6 << 20;
    let store = Arc::new(InMemory::new());
    let device = held(&store, 1).await;
    let mut model = vec![0u8; SIZE];
    let mut state = 7u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    for step in 0..120 {
        let offset = below(SIZE / 4096) * 4096;
        let length = ((1 + below(if step % 8 == 0 { 700 } else { 40 })) * 4096).min(SIZE - offset);
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + step * 13) as u8).collect();
        model[offset..offset + length].copy_from_slice(&bytes);
        device.write(offset as u64, bytes.into()).await.expect("write");
        let at = below(SIZE / 4096) * 4096;
        let length = (64 << 10).min(SIZE - at);
        assert!(read(&device, at, length).await == model[at..at + length], "step {step}");
    }
    assert!(read(&device, 0, SIZE).await == model);
    device.holding.let_go(&device.bucket, 1).await;
    // Another process finds all of it in the bucket.
    assert!(read(&super::tests::device(&store), 0, SIZE).await == model);
    let device = held(&store, 2).await;
    device.discard((1 << 20) + 4096, 3 << 20).await.expect("discard");
    model[2 << 20..4 << 20].fill(0);
    assert!(read(&device, 0, SIZE).await == model, "whole objects are gone, parts stay");
}

#[test]
fn small_objects_in_the_header_and_large_ones_behind_it() {
    let part = |object, range: Range<usize>, object_bytes| Part { object, range, object_bytes };
    let (small, large) = (64 << 10, 1 << 20);
    assert_eq!(parts(0, 4096), [part(0, 0..4096, small)]);
    assert_eq!(
        parts((1 << 20) - 4096, (1 << 20) + 8192),
        [part(15, small - 4096..small, small), part(16, 0..large, large), part(17, 0..4096, large)]
    );
    assert_eq!((name(15), name(16)), ("header/0f".to_owned(), "data/000000000".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_place_keeps_others_from_it_and_writes_nothing_once_it_was_taken() {
    let store = Arc::new(InMemory::new());
    let other = device(&store);
    let first = held(&store, 1).await;
    first.write(0, Bytes::from(vec![1; 4096])).await.expect("write");
    let error = other.holding.hold(&other.bucket, 2).await.expect_err("its holder lives");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    first.write(0, Bytes::from(vec![2; 4096])).await.expect("it is renewed");
    first.holding.let_go(&first.bucket, 1).await;
    let began = Instant::now();
    other.holding.hold(&other.bucket, 2).await.expect("it was given back");
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits after an orderly end");
    // Somebody takes it by force.
    let claim = quarry_format::claim::Claim { holder: 9, sequence: 1, is_held: true };
    first.bucket.put("claim", claim.encode().into(), || Ok(())).await.result.expect("put");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let error = other.write(0, Bytes::from(vec![3; 4096])).await.expect_err("it was taken over");
    assert!(error.to_string().contains("another quarryd has taken it over"), "{error}");
    assert!(read(&other, 0, 4096).await.iter().all(|&byte| byte == 2));
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_claim_of_one_that_died_waits_until_nothing_can_come_from_it() {
    let store = Arc::new(InMemory::new());
    let claim = quarry_format::claim::Claim { holder: 9, sequence: 4, is_held: true };
    let next = device(&store);
    next.bucket.put("claim", claim.encode().into(), || Ok(())).await.result.expect("put");
    let began = Instant::now();
    next.holding.hold(&next.bucket, 2).await.expect("nobody renews it");
    assert!(began.elapsed() >= Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_object_with_a_request_in_doubt_is_left_alone_until_that_cannot_come_any_more() {
    let store = Arc::new(InMemory::new());
    let device = held(&store, 1).await;
    device.note_doubt(16, true);
    let began = Instant::now();
    device.write(2 << 20, Bytes::from(vec![1; 1 << 20])).await.expect("another object");
    assert!(began.elapsed() < Duration::from_secs(1));
    device.write(1 << 20, Bytes::from(vec![1; 1 << 20])).await.expect("this one");
    assert!(began.elapsed() >= LATE_TIME_MAX, "{:?}", began.elapsed());
}
