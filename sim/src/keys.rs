//! The key store of the simulated node: a key-encryption key for each name, and what an administrator does with keys.

use quarry_engine::{DataKey, Engine, NewKey};
use quarry_types::{Compression, VolumeSettings};

use crate::model::Finding;
use crate::node::text;
use crate::scenario::DEDUPLICATIONS;
use crate::workload::{Door, Shared, report};

/// The key-encryption key of a name.
fn outer(name: &str) -> DataKey {
    let mut bytes = [0x5a; 32];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to ^= byte);
    DataKey::new(bytes)
}

/// A new data key. `number` must not come twice in a scenario.
pub fn new_key(number: u128) -> NewKey {
    let mut bytes = [0x33; 32];
    bytes[..16].copy_from_slice(&number.to_le_bytes());
    let (name, key) = (format!("first-{number:x}"), DataKey::new(bytes));
    let wrapped = outer(&name).wrap(&key, &name, number).to_vec();
    NewKey { name, key, wrapped }
}

/// Opens every key of an engine, as a node does when its key store is open.
pub fn open_all(engine: &Engine) -> Result<(), String> {
    for (record, _) in engine.keys() {
        let wrapped = record.wrapped.as_slice().try_into().map_err(text)?;
        let key = outer(&record.name).unwrap(&wrapped, &record.name).map_err(text)?;
        engine.open_key(record.key, key);
    }
    Ok(())
}

/// Changes how a volume stores its data, wraps keys anew, or forgets keys that nothing uses.
pub async fn step(shared: &Shared, door: &Door) {
    let chance = &shared.chance;
    let volume = chance.below(shared.scenario.volumes.len() as u64) as usize;
    let plan = &shared.scenario.volumes[volume];
    let engine = &door.engines[plan.core];
    match chance.below(4) {
        0 | 1 => {
            let compression = *chance.pick(&[Compression::Off, Compression::Lz4, Compression::Zstd]);
            let deduplication = *chance.pick(&DEDUPLICATIONS);
            let history_s = if chance.percent(25) { 1 + chance.below(4) as u32 } else { 0 };
            let settings = VolumeSettings { compression, deduplication, history_s, ..plan.settings };
            if let Err(error) = engine.change_volume(shared.scenario.volume_id(volume), settings).await {
                report(shared, "change", text(error));
            }
        }
        2 => {
            for (mut record, _) in engine.keys() {
                let Some(key) = engine.data_key(record.key) else { continue };
                record.name = format!("other-{:x}", chance.next());
                record.wrapped =
                    outer(&record.name).wrap(&key, &record.name, u128::from(chance.next())).to_vec();
                match engine.rewrap_key(record).await {
                    // A passing volume may have gone meanwhile.
                    Ok(()) | Err(quarry_engine::EngineError::NoKey { .. }) => {}
                    Err(error) => report(shared, "wrap", text(error)),
                }
            }
        }
        _ => {
            let unused = match engine.unused_keys().await {
                Ok(unused) => unused,
                Err(error) => return report(shared, "look for unused keys", text(error)),
            };
            for record in unused {
                if let Err(error) = engine.forget_key(record.key).await {
                    report(shared, "forget", text(error));
                }
            }
            let on_core = |plan: &&crate::scenario::VolumePlan| {
                plan.encrypted && plan.core == usize::from(engine.log_id().0)
            };
            let wanted = shared.scenario.volumes.iter().filter(on_core).count();
            if engine.keys().len() < wanted {
                shared.find(Finding("a key was forgotten that a volume uses".to_owned()));
            }
        }
    }
}
