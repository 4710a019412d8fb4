//! Whatever is moved in whatever parts, every record that lives is found where it was copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use quarry_types::{ChunkId, Incarnation, LogId, PoolId};

use super::*;
use crate::{PoolShared, Slots};

/// Pieces of the segment that is played with; of 8 sectors each they fill it.
const PIECES: u32 = 128;
const SEGMENT_SECTORS: u32 = 8 * PIECES;
const GEOMETRY: Geometry = Geometry { granule_bytes: 4096, segment_bytes: PIECES as u64 * 4096 };

/// One round of cleaning: which pieces die before it, which chunks are emptied, and after how many pieces a chunk is
/// full.
#[derive(Clone, Debug)]
struct Round {
    dead: Vec<u32>,
    victims: Vec<usize>,
    room: u32,
}

fn round() -> impl Strategy<Value = Round> {
    let dead = prop::collection::vec(0..PIECES, 0..60);
    let victims = prop::collection::vec(0usize..64, 1..4);
    (dead, victims, 1..PIECES).prop_map(|(dead, victims, room)| Round { dead, victims, room })
}

struct Model {
    /// Sectors of a piece.
    sectors: u32,
    shared: Arc<PoolShared>,
    table: SegmentTable,
    id: SegmentId,
    chunks: u64,
    /// Where each piece that lives is.
    places: BTreeMap<u32, (ChunkId, u32)>,
}

impl Model {
    fn new(sectors: u32) -> Self {
        let shared = Arc::new(PoolShared::new(
            PoolId::from_bytes([0; 16]),
            "tank".to_owned(),
            crate::policies::Policies::new(quarry_types::Protection::Copies(1)),
            GEOMETRY,
            Vec::new(),
        ));
        let id = SegmentId::new(LogId(0), 1);
        let mut model =
            Self { sectors, shared, table: SegmentTable::default(), id, chunks: 0, places: BTreeMap::new() };
        let chunk = model.chunk();
        model.table.insert(id, Segment::open(chunk.clone(), GEOMETRY));
        model.table.seal(id, PIECES * sectors);
        for piece in 1..PIECES {
            model.table.mark_live(LogAddress::new(id, piece * sectors), sectors);
            model.places.insert(piece, (chunk.id(), piece * sectors));
        }
        model
    }

    fn chunk(&mut self) -> Rc<Chunk> {
        self.chunks += 1;
        let id = ChunkId::new(LogId(0), Incarnation(1), self.chunks);
        Rc::new(Chunk::with_slots(&self.shared, (LogId(0), id), &Slots::new()))
    }

    fn play(&mut self, round: &Round) {
        for &piece in &round.dead {
            self.table.mark_dead(LogAddress::new(self.id, piece * self.sectors), self.sectors);
            self.places.remove(&piece);
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
                let (mut runs, mut kept) = (Vec::<Run>::new(), Bitmap::new(SEGMENT_SECTORS));
                let (range, sectors) = (segment.range(index), self.sectors);
                let pieces = (range.start.div_ceil(sectors)..range.end.div_ceil(sectors).min(PIECES))
                    .filter(|&piece| segment.live.get(piece * sectors));
                for piece in pieces {
                    if filled > round.room {
                        (output, filled) = (self.chunk(), 1);
                    }
                    let start_sector = filled * self.sectors;
                    if runs.last().is_none_or(|run| !Rc::ptr_eq(&run.chunk, &output)) {
                        let first_sector =
                            if runs.is_empty() { run.first_sector } else { piece * self.sectors };
                        runs.push(Run { first_sector, chunk: output.clone(), start_sector });
                    }
                    self.places.insert(piece, (output.id(), start_sector));
                    kept.set(piece * self.sectors, self.sectors);
                    filled += 1;
                }
                let (segment, first_sector) = (self.id, run.first_sector);
                relocations.push(Relocation { segment, first_sector, from: victim.clone(), kept, runs });
            }
        }
        self.table.relocate(relocations);
    }

    fn check(&self) {
        for (&piece, &place) in &self.places {
            let found = self.table.resolve(LogAddress::new(self.id, piece * self.sectors));
            assert_eq!(found.map(|(chunk, sector)| (chunk.id(), sector)), Some(place), "piece {piece}");
        }
        let segment = self.table.get(self.id).expect("nobody removes it");
        assert!(segment.runs.is_sorted_by(|run, next| run.first_sector < next.first_sector));
        let live: u32 = segment.live_by_run().map(|(_, live)| live).sum();
        assert_eq!(
            live as usize,
            self.places.len() * self.sectors as usize,
            "every piece that lives is in a run"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_lives_is_found_where_it_was_copied(sectors in 1u32..=8, rounds in prop::collection::vec(round(), 1..12)) {
        let mut model = Model::new(sectors);
        for round in &rounds {
            model.play(round);
            model.check();
        }
    }
}

#[test]
fn a_run_that_is_empty_does_not_hide_the_one_behind_it() {
    let mut model = Model::new(8);
    let (both, between) = (model.chunk(), model.chunk());
    let run = |first_sector, chunk: &Rc<Chunk>, piece: u32| {
        let start_sector = piece * 8;
        Run { first_sector, chunk: chunk.clone(), start_sector }
    };
    let first = model.table.get(model.id).and_then(Segment::written_chunk).expect("as written").clone();
    let mut kept = Bitmap::new(SEGMENT_SECTORS);
    kept.set(8, 8 * (PIECES - 1));
    // 39 pieces, 20 elsewhere, and the rest right behind the 39.
    let runs = vec![run(0, &both, 1), run(8 * 40, &between, 1), run(8 * 60, &both, 40)];
    let (segment, first_sector) = (model.id, 0);
    model.table.relocate(vec![Relocation { segment, first_sector, from: first, kept, runs }]);
    for piece in 1..PIECES {
        let place = match piece {
            ..40 => (both.id(), piece),
            40..60 => (between.id(), piece - 39),
            _ => (both.id(), piece - 20),
        };
        model.places.insert(piece, (place.0, place.1 * 8));
    }
    model.check();
    // The 20 die, and one round takes both chunks, theirs first.
    let victims = model.table.get(segment).expect("it is there").chunks().cloned().collect::<Vec<_>>();
    assert!(Rc::ptr_eq(&victims[1], &between));
    let dead: Vec<u32> = (40..60).collect();
    model.play(&Round { dead, victims: vec![1, 0], room: PIECES });
    model.check();
}
