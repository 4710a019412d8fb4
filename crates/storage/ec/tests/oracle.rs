//! Every kernel of this machine beside another implementation, for every shape and every pattern of missing members.

use proptest::prelude::*;
use quarry_ec::{Code, CodeError, Kernel, Members, Shape};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// More than a step of any kernel, and a rest that is none.
const LENGTH: usize = 300;

/// Bytes without a pattern that the code might hide.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

fn slices(members: &[Vec<u8>]) -> Vec<&[u8]> {
    members.iter().map(Vec::as_slice).collect()
}

fn slices_mut(members: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    members.iter_mut().map(Vec::as_mut_slice).collect()
}

/// A whole group, its parity by the oracle.
fn group_of(shape: Shape, length: usize) -> Vec<Vec<u8>> {
    let mut members: Vec<_> = (0..shape.data()).map(|member| noise(member, length)).collect();
    members.resize(shape.members(), vec![0; length]);
    let oracle = ReedSolomon::new(shape.data(), shape.parity()).expect("the oracle knows the shape");
    oracle.encode(&mut members).expect("encoded");
    members
}

fn recover(code: &Code, group: &[Vec<u8>], missing: Members) -> Vec<Vec<u8>> {
    let present = missing.iter().fold(Members::first(group.len()), Members::without);
    let recovery = code.recovery(present, missing).expect("enough are present");
    assert_eq!(recovery.sources().len(), code.shape().data());
    assert!(recovery.sources().iter().all(|&source| present.contains(source)));
    assert!(recovery.wanted().iter().copied().eq(missing.iter()));
    let sources: Vec<&[u8]> = recovery.sources().iter().map(|&source| &group[source][..]).collect();
    let mut outputs = vec![vec![0xEE; group[0].len()]; missing.count()];
    recovery.run(&sources, &mut slices_mut(&mut outputs));
    outputs
}

/// All sets of 1 to `parity` members.
fn patterns(shape: Shape) -> impl Iterator<Item = Members> {
    let set = |bits: u32| (0..16).filter(|member| bits >> member & 1 != 0).collect::<Members>();
    let fits = move |set: &Members| (1..=shape.parity()).contains(&set.count());
    (0..1 << shape.members()).map(set).filter(fits)
}

#[test]
fn this_machine_runs_more_than_the_portable_kernel() {
    assert_eq!(Kernel::available().next(), Some(Kernel::Scalar));
    assert_eq!(Kernel::available().last(), Some(Kernel::best()));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(Kernel::available().any(|kernel| kernel == Kernel::Avx2), is_x86_feature_detected!("avx2"));
}

#[test]
fn parity_is_that_of_the_oracle() {
    for shape in Shape::all() {
        let group = group_of(shape, LENGTH);
        let (data, expected) = group.split_at(shape.data());
        for kernel in Kernel::available() {
            let mut parity = vec![vec![0xEE; LENGTH]; shape.parity()];
            Code::with_kernel(shape, kernel).encode(&slices(data), &mut slices_mut(&mut parity));
            assert_eq!(parity, expected, "{shape} by {kernel}");
        }
    }
}

#[test]
fn every_pattern_of_missing_members_is_recovered() {
    let mut tried = 0;
    for shape in Shape::all() {
        let group = group_of(shape, LENGTH);
        for kernel in Kernel::available() {
            let code = Code::with_kernel(shape, kernel);
            for missing in patterns(shape) {
                let expected: Vec<_> = missing.iter().map(|member| group[member].clone()).collect();
                assert!(
                    recover(&code, &group, missing) == expected,
                    "{shape} without {missing:?} by {kernel}"
                );
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 1_008 * Kernel::available().count(), "all patterns of all shapes");
}

/// Any k members do, not only the first k: each choice of sources, for each member that they leave out.
#[test]
fn any_choice_of_sources_gives_any_other_member() {
    for shape in [Shape::new(2, 3), Shape::new(4, 2), Shape::new(8, 3)].map(|shape| shape.expect("known")) {
        let (group, code) = (group_of(shape, LENGTH), Code::new(shape));
        for left_out in patterns(shape).filter(|set| set.count() == shape.parity()) {
            let present = left_out.iter().fold(Members::first(shape.members()), Members::without);
            for wanted in left_out.iter() {
                let recovery =
                    code.recovery(present, Members::default().with(wanted)).expect("k are present");
                let sources: Vec<&[u8]> =
                    recovery.sources().iter().map(|&source| &group[source][..]).collect();
                let mut output = vec![0xEE; LENGTH];
                recovery.run(&sources, &mut [&mut output]);
                assert!(output == group[wanted], "{shape}: {wanted} from {present:?}");
            }
        }
    }
}

#[test]
fn less_than_k_members_are_refused() {
    let shape = Shape::new(4, 2).expect("known");
    let refused = Code::new(shape).recovery(Members::first(3), Members::default().with(3));
    let error = refused.expect_err("three are too few");
    assert_eq!(error, CodeError::TooFew { shape, present: 3 });
    assert_eq!(error.to_string(), "3 members of a group of 4+2 are present, and 4 are needed");
}

#[test]
#[should_panic(expected = "slices of one length")]
fn slices_of_different_lengths_are_a_mistake() {
    let code = Code::new(Shape::new(2, 1).expect("known"));
    code.encode(&[&[1; 64], &[1; 63]], &mut [&mut [0; 64]]);
}

#[test]
#[should_panic(expected = "what is there is not computed")]
fn a_member_that_is_present_is_not_computed() {
    let code = Code::new(Shape::new(2, 1).expect("known"));
    let _refused = code.recovery(Members::first(3), Members::first(1));
}

proptest! {
    /// Lengths from nothing to several steps of the widest kernel, at any alignment, and the range alone.
    #[test]
    fn a_range_of_any_length_and_alignment_is_coded(
        shape in prop::sample::select(Shape::all().collect::<Vec<_>>()),
        start in 0usize..67,
        length in 0usize..700,
        pattern in any::<prop::sample::Index>(),
    ) {
        let group = group_of(shape, start + length + 5);
        let range = start..start + length;
        let part: Vec<Vec<u8>> = group.iter().map(|member| member[range.clone()].to_vec()).collect();
        let patterns: Vec<Members> = patterns(shape).collect();
        let missing = patterns[pattern.index(patterns.len())];
        for kernel in Kernel::available() {
            let code = Code::with_kernel(shape, kernel);
            let data: Vec<&[u8]> = group[..shape.data()].iter().map(|member| &member[range.clone()]).collect();
            let mut parity = vec![vec![0xEE; start + length + 5]; shape.parity()];
            let mut outputs: Vec<&mut [u8]> =
                parity.iter_mut().map(|member| &mut member[range.clone()]).collect();
            code.encode(&data, &mut outputs);
            for (member, parity) in parity.iter().enumerate() {
                prop_assert_eq!(&parity[range.clone()], &part[shape.data() + member][..]);
                let around = parity[..start].iter().chain(&parity[range.end..]);
                prop_assert!(around.copied().all(|byte| byte == 0xEE), "only the range is written");
            }
            let expected: Vec<_> = missing.iter().map(|member| part[member].clone()).collect();
            prop_assert_eq!(recover(&code, &part, missing), expected);
        }
    }
}
