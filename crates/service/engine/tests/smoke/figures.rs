//! What is counted of hosts' requests, and what is told of slow ones.

use std::time::Duration;

use quarry_volume::{Stage, Verb, Volume, WriteFlags};

use crate::node::{Node, VOLUME, content};

const SIZE: u64 = 4 << 20;

#[test]
fn requests_are_counted_by_verb_and_stage_and_stay_when_the_volume_goes() {
    let node = Node::new(3, 2, &[64, 64], SIZE);
    for block in 0..20 {
        node.write(block * 4096, content(1, block * 4096, 4096)).expect("write");
    }
    node.write(512, content(2, 512, 1024)).expect("a part of a block");
    node.with(|env, volume| async move {
        volume.flush().await.expect("flush");
        volume.read(0, 8192).await.expect("read");
        volume.read(SIZE, 4096).await.expect_err("outside");
        volume.discard(0, 4096, WriteFlags::default()).await.expect("discard");
        // Waits for the device: its latency is what the disk takes.
        volume.write(8192, env.buffers.copy_of(&[9; 4096]), WriteFlags { fua: true }).await.expect("durable");
    });
    let engine = node.engine();
    let figures = engine.figures();
    let [(id, seen)] = &figures.volumes[..] else { panic!("one volume") };
    let of = |verb: Verb| (seen.of(verb).latency.count(), seen.of(verb).bytes, seen.of(verb).errors);
    assert_eq!((*id, seen.in_flight), (VOLUME, 0));
    assert_eq!(of(Verb::Write), (22, 20 * 4096 + 1024 + 4096, 0));
    assert_eq!((of(Verb::Read), of(Verb::Flush)), ((2, 8192, 1), (1, 0, 0)));
    assert_eq!((of(Verb::Discard), of(Verb::Zero)), ((1, 4096, 0), (0, 0, 0)));
    let stage = |stage: Stage| &figures.stages[stage as usize].1;
    assert_eq!(
        [Stage::Queue, Stage::Log].map(|of| stage(of).count()),
        [22, 23],
        "the discard waited for the log, too"
    );
    let mean = seen.of(Verb::Write).latency.mean().expect("some");
    assert!(mean > Duration::from_micros(5), "a write takes as long as its disks: {mean:?}");
    assert!(
        stage(Stage::Log).total()
            <= seen.of(Verb::Write).latency.total() + seen.of(Verb::Discard).latency.total()
    );
    assert!(figures.lookups > 0);
    let devices = engine.pool().device_figures();
    assert!(devices.len() == 2 && devices.iter().all(|(_, device)| device.in_flight == 0));
    let writes = devices[0].1.latencies.of(quarry_device::Operation::Write);
    assert_eq!(writes.count(), devices[0].1.stats.writes);
    assert!(writes.mean().expect("some") > Duration::from_micros(5));
    let closing = engine.clone();
    node.run(|_| async move { closing.delete_volume(VOLUME, false).await }).expect("delete");
    let after = engine.figures();
    assert!(after.volumes.is_empty());
    assert_eq!(after.total.of(Verb::Write).latency.count(), 22, "what it did stays in the sum");
}

#[test]
fn what_the_node_itself_does_is_not_what_hosts_do() {
    let node = Node::new(4, 1, &[64], SIZE);
    node.with(|_, volume| async move {
        volume.apart().read(0, 4096).await.expect("read");
    });
    assert_eq!(node.engine().figures().total.operations(), 0);
}

#[test]
fn a_slow_request_is_told_of_with_what_it_waited_for() {
    let node = Node::new(5, 1, &[64], SIZE);
    let engine = node.engine();
    node.write(0, content(1, 0, 4096)).expect("write");
    assert_eq!(engine.slow().take().0, 0, "nobody has said what is slow");
    engine.slow().set_threshold(Duration::from_micros(1));
    node.write(4096, content(1, 4096, 8192)).expect("write");
    let (count, slow) = engine.slow().take();
    assert_eq!((count, slow.len()), (1, 1));
    let request = &slow[0];
    assert_eq!(
        (request.verb, request.offset, request.length, request.is_done),
        (Verb::Write, 4096, 8192, true)
    );
    let in_stages: Duration = request.stages.iter().map(|(_, took)| *took).sum();
    assert!(request.stages.iter().any(|(stage, _)| *stage == Stage::Log), "{request:?}");
    assert!(request.took - in_stages < Duration::from_micros(10), "all of it is in stages: {request:?}");
    engine.slow().set_threshold(Duration::from_secs(3600));
    node.write(0, content(2, 0, 4096)).expect("write");
    assert_eq!(engine.slow().take(), (0, vec![]));
}
