//! Whatever is moved in whatever parts, every record that lives is found where it was copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use quarry_types::{ChunkId, Incarnation, LogId, PoolId};

use super::*;
use crate::{PoolShared, Slots};

const GRANULES: u32 = 128;
const GEOMETRY: Geometry = Geometry { granule_bytes: 4096, segment_bytes: GRANULES as u64 * 4096 };
const GRANULE_SECTORS: u32 = 8;

/// One round of cleaning: which granules die before it, which chunks are emptied, and after how many granules a chunk is
/// full.
#[derive(Clone, Debug)]
struct Round {
    dead: Vec<u32>,
    victims: Vec<usize>,
    room: u32,
}

fn round() -> impl Strategy<Value = Round> {
    let dead = prop::collection::vec(0..GRANULES, 0..60);
    let victims = prop::collection::vec(0usize..64, 1..4);
    (dead, victims, 1..GRANULES).prop_map(|(dead, victims, room)| Round { dead, victims, room })
}

struct Model {
    shared: Arc<PoolShared>,
    table: SegmentTable,
    id: SegmentId,
    chunks: u64,
    /// Where each granule that lives is.
    places: BTreeMap<u32, (ChunkId, u32)>,
}

impl Model {
    fn new() -> Self {
        let shared = Arc::new(PoolShared::new(
            PoolId::from_bytes([0; 16]),
            "tank".to_owned(),
            1,
            GEOMETRY,
            Vec::new(),
        ));
        let id = SegmentId::new(LogId(0), 1);
        let mut model =
            Self { shared, table: SegmentTable::new(GEOMETRY), id, chunks: 0, places: BTreeMap::new() };
        let chunk = model.chunk();
        model.table.insert(id, Segment::open(chunk.clone(), GEOMETRY));
        model.table.seal(id, GRANULES * GRANULE_SECTORS);
        for granule in 1..GRANULES {
            model.table.mark_live(LogAddress::new(id, granule * GRANULE_SECTORS), GRANULE_SECTORS);
            model.places.insert(granule, (chunk.id(), granule * GRANULE_SECTORS));
        }
        model
    }

    fn chunk(&mut self) -> Rc<Chunk> {
        self.chunks += 1;
        let id = ChunkId::new(LogId(0), Incarnation(1), self.chunks);
        Rc::new(Chunk::with_slots(&self.shared, id, &Slots::new()))
    }

    fn play(&mut self, round: &Round) {
        for &granule in &round.dead {
            self.table.mark_dead(LogAddress::new(self.id, granule * GRANULE_SECTORS), GRANULE_SECTORS);
            self.places.remove(&granule);
        }
        let Some(segment) = self.table.get(self.id).cloned() else { return };
        let all: Vec<Rc<Chunk>> = segment.chunks().cloned().collect();
        if all.is_empty() {
            return;
        }
        let mut victims = Vec::new();
        for chosen in &round.victims {
            let chunk = &all[chosen % all.len()];
            if !victims.iter().any(|victim| Rc::ptr_eq(victim, chunk)) {
                victims.push(chunk.clone());
            }
        }
        let (mut output, mut filled) = (self.chunk(), 1);
        let mut relocations = Vec::new();
        for victim in victims {
            for (index, run) in segment.runs.iter().enumerate() {
                if !Rc::ptr_eq(&run.chunk, &victim) {
                    continue;
                }
                let (mut runs, mut kept) = (Vec::<Run>::new(), Bitmap::new(GRANULES));
                for granule in segment.range(index).filter(|&granule| segment.live.get(granule)) {
                    if filled > round.room {
                        (output, filled) = (self.chunk(), 1);
                    }
                    let start_sector = filled * GRANULE_SECTORS;
                    if runs.last().is_none_or(|run| !Rc::ptr_eq(&run.chunk, &output)) {
                        let first_granule = if runs.is_empty() { run.first_granule } else { granule };
                        runs.push(Run { first_granule, chunk: output.clone(), start_sector });
                    }
                    self.places.insert(granule, (output.id(), start_sector));
                    kept.set(granule, 1);
                    filled += 1;
                }
                let (segment, first_granule) = (self.id, run.first_granule);
                relocations.push(Relocation { segment, first_granule, from: victim.clone(), kept, runs });
            }
        }
        self.table.relocate(relocations);
    }

    fn check(&self) {
        for (&granule, &place) in &self.places {
            let found = self.table.resolve(LogAddress::new(self.id, granule * GRANULE_SECTORS));
            assert_eq!(found.map(|(chunk, sector)| (chunk.id(), sector)), Some(place), "granule {granule}");
        }
        let segment = self.table.get(self.id).expect("nobody removes it");
        assert!(segment.runs.is_sorted_by(|run, next| run.first_granule < next.first_granule));
        let live: u32 = segment.live_by_run().map(|(_, live)| live).sum();
        assert_eq!(live as usize, self.places.len(), "every granule that lives is in a run");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_lives_is_found_where_it_was_copied(rounds in prop::collection::vec(round(), 1..12)) {
        let mut model = Model::new();
        for round in &rounds {
            model.play(round);
            model.check();
        }
    }
}

#[test]
fn a_run_that_is_empty_does_not_hide_the_one_behind_it() {
    let mut model = Model::new();
    let (both, between) = (model.chunk(), model.chunk());
    let run = |first_granule, chunk: &Rc<Chunk>, granule: u32| {
        let start_sector = granule * GRANULE_SECTORS;
        Run { first_granule, chunk: chunk.clone(), start_sector }
    };
    let first = model.table.get(model.id).and_then(Segment::written_chunk).expect("as written").clone();
    let mut kept = Bitmap::new(GRANULES);
    kept.set(1, GRANULES - 1);
    // 39 granules, 20 elsewhere, and the rest right behind the 39.
    let runs = vec![run(0, &both, 1), run(40, &between, 1), run(60, &both, 40)];
    let (segment, first_granule) = (model.id, 0);
    model.table.relocate(vec![Relocation { segment, first_granule, from: first, kept, runs }]);
    for granule in 1..GRANULES {
        let place = match granule {
            ..40 => (both.id(), granule),
            40..60 => (between.id(), granule - 39),
            _ => (both.id(), granule - 20),
        };
        model.places.insert(granule, (place.0, place.1 * GRANULE_SECTORS));
    }
    model.check();
    // The 20 die, and one round takes both chunks, theirs first.
    let victims = model.table.get(segment).expect("it is there").chunks().cloned().collect::<Vec<_>>();
    assert!(Rc::ptr_eq(&victims[1], &between));
    let dead: Vec<u32> = (40..60).collect();
    model.play(&Round { dead, victims: vec![1, 0], room: GRANULES });
    model.check();
}
