use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use quarry_api::Guard;
use quarry_node_api::{Node as _, ObserveNode as _};
use quarry_volume::WriteFlags;

use crate::test_node::{TestNode, name};

/// Families by name: type and help.
type Families = BTreeMap<String, (String, String)>;

/// What the comments of an exposition tell.
fn families(text: &str) -> Families {
    let mut all = Families::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let known = all.insert(name.to_owned(), (String::new(), help.to_owned()));
            assert!(known.is_none(), "{name} is written twice");
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.get_mut(name).expect("the help comes first").0 = kind.to_owned();
        }
    }
    all
}

fn document(families: &Families) -> String {
    let mut text = String::from("| Name | Type | Meaning |\n|---|---|---|\n");
    for (name, (kind, help)) in families {
        writeln!(text, "| `{name}` | {kind} | {help} |").expect("a string takes everything");
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "a test compares a document of the repository")]
#[tokio::test(flavor = "multi_thread")]
async fn the_manual_lists_every_figure_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let node = TestNode::with_volumes(folder.path(), &["v"]).await;
    let (guard, _) = Guard::in_memory();
    let text = node.node.metrics().await.unwrap() + &guard.metrics();
    node.stop().await;
    let path = Path::new("../../docs/manual/metrics.md");
    let written = std::fs::read_to_string(path).unwrap();
    let start = written.find("| Name |").expect("the list begins with its heading");
    let listed = document(&families(&text));
    if std::env::var_os("UPDATE_METRICS").is_some() {
        std::fs::write(path, format!("{}{listed}", &written[..start])).unwrap();
        return;
    }
    assert_eq!(&written[start..], listed, "UPDATE_METRICS=1 cargo test -p quarryd metrics writes it anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hosts_do_with_a_volume_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let node = TestNode::with_volumes(folder.path(), &["a", "b"]).await;
    let before = node.node.show_volume_stats(&name("a")).await.unwrap();
    assert_eq!((before.write.operations, before.pool), (0, Some(name("p"))));
    let id = before.volume_id;
    for core in 0..node.cores.count() {
        let written = node.cores.call(core, move |state| async move {
            let Some(volume) = state.unrouted_volume(id) else { return false };
            for block in 0..10 {
                let data = state.env.buffers.copy_of(&[7; 4096]);
                volume.write(block * 4096, data, WriteFlags::default()).await.expect("a write");
            }
            volume.flush().await.expect("a flush");
            volume.read(0, 8192).await.expect("a read");
            volume.discard(0, 4096, WriteFlags::default()).await.expect("a discard");
            volume.read(1 << 40, 4096).await.expect_err("outside");
            true
        });
        written.await.unwrap();
    }
    let stats = node.node.show_volume_stats(&name("a")).await.unwrap();
    let shape = |of: &quarry_api_types::OperationStats| (of.operations, of.bytes, of.errors);
    assert_eq!(shape(&stats.write), (10, 40960, 0));
    assert_eq!((shape(&stats.read), shape(&stats.discard)), ((2, 8192, 1), (1, 4096, 0)));
    assert_eq!((stats.flush.operations, stats.in_flight), (1, 0));
    assert_eq!(stats.write.latency.buckets.iter().map(|(_, count)| count).sum::<u64>(), 10);
    let all = node.node.show_stats().await.unwrap();
    assert_eq!(all.volumes.len(), 1, "nobody has used the other one");
    assert_eq!((all.pools[0].write.operations, all.pools[0].written_bytes), (10, 40960));
    assert!(all.devices[0].write.operations > 0 && all.devices[0].write.bytes > 40960);
    let text = node.node.metrics().await.unwrap();
    for line in [
        "quarry_volume_request_seconds_count{volume=\"a\",operation=\"write\"} 10",
        "quarry_volume_request_errors_total{volume=\"a\",operation=\"read\"} 1",
        "quarry_pool_request_bytes_total{pool=\"p\",operation=\"write\"} 40960",
        "quarry_volumes_with_series 2",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
    }
    node.node.delete_volume(&name("a"), false).await.unwrap();
    let text = node.node.metrics().await.unwrap();
    assert!(!text.contains("volume=\"a\""), "a volume that is gone has no series");
    let kept = "quarry_pool_request_bytes_total{pool=\"p\",operation=\"write\"} 40960";
    assert!(text.contains(kept), "and stays in those of its pool");
    node.stop().await;
}
