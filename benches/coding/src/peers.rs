//! What others have written.

use std::hint::black_box;

use anyhow::{Result, anyhow};
use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::clock::Sampler;
use crate::{Group, Row};

/// The crate `reed-solomon-erasure`: the same field.
pub fn erasure(group: &mut Group, sampler: Sampler) -> Result<Row> {
    let (data, parity) = (group.shape.data(), group.shape.parity());
    let code = ReedSolomon::new(data, parity).map_err(|error| anyhow!("{error}"))?;
    let pieces: Vec<_> = group.pieces().collect();
    let encode_ns = sampler.fastest_ns(|| {
        for piece in &pieces {
            let mut members: Vec<&mut [u8]> =
                group.members.iter_mut().map(|member| &mut member[piece.clone()]).collect();
            code.encode(black_box(&mut members)).expect("slices fit");
        }
    });
    let rebuild = |group: &mut Group, count: usize, pieces: &[std::ops::Range<usize>]| {
        for piece in pieces {
            let member = |(number, member): (usize, &mut Vec<u8>)| {
                (number >= count).then(|| member[piece.clone()].to_vec())
            };
            // It takes vectors and gives vectors; copying them in is a part of using it.
            let mut members: Vec<Option<Vec<u8>>> =
                group.members.iter_mut().enumerate().map(member).collect();
            code.reconstruct_data(&mut members).expect("k members are left");
            black_box(&members);
        }
    };
    let rebuild_one_ns = sampler.fastest_ns(|| rebuild(group, 1, &pieces));
    let rebuild_all_ns = sampler.fastest_ns(|| rebuild(group, parity, &pieces));
    #[allow(clippy::single_range_in_vec_init, reason = "one piece")]
    let degraded_read_ns = sampler.short_ns(|| rebuild(group, 1, &[0..4096]));
    Ok(Row {
        name: "reed-solomon-erasure".to_owned(),
        encode_ns,
        rebuild_one_ns,
        rebuild_all_ns,
        degraded_read_ns,
    })
}

/// The crate `reed-solomon-simd`: another field and another algorithm, made for many members.
pub fn simd(group: &mut Group, sampler: Sampler) -> Result<Row> {
    let (data, parity) = (group.shape.data(), group.shape.parity());
    let pieces: Vec<_> = group.pieces().collect();
    let encode = |piece: std::ops::Range<usize>| {
        let members = group.members[..data].iter().map(|member| &member[piece.clone()]);
        reed_solomon_simd::encode(data, parity, members)
    };
    let encode_ns = sampler.fastest_ns(|| {
        for piece in &pieces {
            black_box(encode(piece.clone()).expect("slices fit"));
        }
    });
    let parities: Vec<Vec<Vec<u8>>> =
        pieces.iter().map(|piece| encode(piece.clone())).collect::<Result<_, _>>()?;
    let decode = |count: usize, piece: std::ops::Range<usize>, parity: &[Vec<u8>]| {
        let members = &group.members;
        let original = (count..data).map(|number| (number, &members[number][piece.clone()]));
        let recovery = parity.iter().take(count).enumerate();
        black_box(reed_solomon_simd::decode(data, parity.len(), original, recovery).expect("k are left"));
    };
    let rebuild = |count: usize| {
        pieces.iter().zip(&parities).for_each(|(piece, parity)| decode(count, piece.clone(), parity));
    };
    let rebuild_one_ns = sampler.fastest_ns(|| rebuild(1));
    let rebuild_all_ns = sampler.fastest_ns(|| rebuild(parity.min(data)));
    let short = encode(0..4096)?;
    let degraded_read_ns = sampler.short_ns(|| decode(1, 0..4096, &short));
    Ok(Row {
        name: "reed-solomon-simd".to_owned(),
        encode_ns,
        rebuild_one_ns,
        rebuild_all_ns,
        degraded_read_ns,
    })
}
