//! Our kernels.

use std::hint::black_box;

use quarry_ec::{Code, Kernel, Members};

use crate::clock::Sampler;
use crate::{Group, Row};

pub fn measure(kernel: Kernel, group: &mut Group, sampler: Sampler) -> Row {
    let shape = group.shape;
    let code = Code::with_kernel(shape, kernel);
    let encode_ns = sampler.fastest_ns(|| encode(&code, group));
    let rebuild_one_ns = sampler.fastest_ns(|| rebuild(&code, group, 1));
    let rebuild_all_ns = sampler.fastest_ns(|| rebuild(&code, group, shape.parity()));
    let degraded_read_ns = sampler.short_ns(|| degraded_read(&code, group));
    Row { name: format!("ours, {kernel}"), encode_ns, rebuild_one_ns, rebuild_all_ns, degraded_read_ns }
}

fn encode(code: &Code, group: &mut Group) {
    let pieces = group.pieces();
    let (data, parity) = group.members.split_at_mut(code.shape().data());
    for piece in pieces {
        let data: Vec<&[u8]> = data.iter().map(|member| &member[piece.clone()]).collect();
        let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|member| &mut member[piece.clone()]).collect();
        code.encode(black_box(&data), &mut parity);
    }
}

/// Computes the first `count` members from the k behind them.
fn rebuild(code: &Code, group: &mut Group, count: usize) {
    let missing = Members::first(count);
    let present = missing.iter().fold(Members::first(code.shape().members()), Members::without);
    let recovery = code.recovery(present, missing).expect("k members are left");
    let pieces = group.pieces();
    let (outputs, sources) = group.members.split_at_mut(count);
    for piece in pieces {
        let sources: Vec<&[u8]> =
            recovery.sources().iter().map(|source| &sources[source - count][piece.clone()]).collect();
        let mut outputs: Vec<&mut [u8]> =
            outputs.iter_mut().map(|member| &mut member[piece.clone()]).collect();
        recovery.run(black_box(&sources), &mut outputs);
    }
}

fn degraded_read(code: &Code, group: &Group) {
    let missing = Members::first(1);
    let present = Members::first(code.shape().members()).without(0);
    let recovery = code.recovery(black_box(present), missing).expect("k members are left");
    let sources: Vec<&[u8]> =
        recovery.sources().iter().map(|&source| &group.members[source][..4096]).collect();
    let mut output = [0; 4096];
    recovery.run(&sources, &mut [&mut output]);
    black_box(&output);
}
