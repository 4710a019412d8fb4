//! `write`: a volume or a snapshot becomes an image.

use std::ops::ControlFlow;

use anyhow::{Result, anyhow, bail};
use quarry_format::record::SnapshotHead;
use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{ByteSize, KeyId};

use crate::arguments::{ImageFormat, Write};
use crate::block;
use crate::extent::Damage;
use crate::layers::LayerId;
use crate::log::{self, Log};
use crate::output::Output;
use crate::pool::{self, Opened, Pool};
use crate::walk::{Found, Walk};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What is to be written.
struct Wanted<'a> {
    pool: &'a Pool,
    log: &'a Log,
    layer: LayerId,
    size_bytes: u64,
    key: KeyId,
}

/// Runs it; whether everything was had.
pub fn run(arguments: &Write) -> Result<bool> {
    let Opened { pools, unusable } = open_pools(arguments)?;
    let mut read = Vec::new();
    let mut is_whole = true;
    for pool in &pools {
        let (logs, flaws) = log::open(pool)?;
        for flaw in pool.flaws.iter().chain(&flaws) {
            eprintln!("warning: pool '{}': {flaw}", pool.label.pool_name);
        }
        // A missing device or a torn label is no damage as long as copies are there; a log that is not all there is.
        is_whole &= flaws.is_empty();
        read.push((pool, logs));
    }
    if !is_whole && !arguments.skip_damaged {
        bail!(
            "a log is damaged, so that the newest changes may be missing; write what there is with --skip-damaged"
        );
    }
    let wanted = find(&read, &arguments.volume)?;
    if wanted.key.0 != 0 {
        let name = wanted.log.state.keys.get(&wanted.key).map_or("a lost key", |key| key.name.as_str());
        bail!(
            "'{}' is encrypted under '{name}', and this program has no keys: read it through quarryd",
            arguments.volume
        );
    }
    let format = arguments.format.unwrap_or_else(|| ImageFormat::of_name(&arguments.out));
    let output = Output::create(&arguments.out, format, wanted.size_bytes, arguments.force)?;
    let damage = copy(&wanted, output, arguments.skip_damaged)?;
    for line in damage.lines() {
        eprintln!("damaged: {line}");
    }
    let (size, lost) = (ByteSize(wanted.size_bytes), damage.bytes());
    let out = arguments.out.display();
    match damage.is_empty() {
        true => println!("{out}: {}, {size}.", arguments.volume),
        false => println!("{out}: {}, {size}, of which {lost} bytes are lost.", arguments.volume),
    }
    Ok(unusable == 0 && is_whole && damage.is_empty())
}

/// The pools of the devices, or the one that is meant.
fn open_pools(arguments: &Write) -> Result<Opened> {
    let Opened { pools, unusable } = pool::open(&arguments.devices)?;
    let Some(wanted) = &arguments.pool else { return Ok(Opened { pools, unusable }) };
    let is_meant = |pool: &Pool| pool.label.pool_name == *wanted || pool.label.pool.to_string() == *wanted;
    let meant: Vec<Pool> = pools.into_iter().filter(is_meant).collect();
    if meant.is_empty() {
        Err(anyhow!("none of the devices belongs to a pool '{wanted}'"))
    } else {
        Ok(Opened { pools: meant, unusable })
    }
}

/// The volume or snapshot that `path` names; more than one is an error, because names may be taken twice.
fn find<'a>(read: &'a [(&'a Pool, Vec<Log>)], path: &str) -> Result<Wanted<'a>> {
    let (volume, snapshot) = match path.split_once('@') {
        Some((volume, snapshot)) => (volume, Some(snapshot)),
        None => (path, None),
    };
    let mut found = Vec::new();
    for (pool, log) in read.iter().flat_map(|(pool, logs)| logs.iter().map(move |log| (*pool, log))) {
        let volumes = log.state.volumes.values();
        for known in volumes.filter(|known| known.head.name == volume || known.head.id.to_string() == volume)
        {
            let Some(snapshot) = snapshot else {
                let (layer, size_bytes, key) = (known.layer, known.head.size_bytes, known.head.key);
                found.push(Wanted { pool, log, layer, size_bytes, key });
                continue;
            };
            let own = log.state.snapshots.values().filter(|taken| taken.head.volume == known.head.number);
            let own = own.filter(|taken| !taken.head.hidden);
            let is_named = |head: &SnapshotHead| !head.moment && head.name == snapshot;
            let meant = own.filter(|taken| is_named(&taken.head) || taken.head.id.to_string() == snapshot);
            found.extend(meant.map(|taken| {
                let (layer, size_bytes, key) = (taken.layer, taken.head.size_bytes, taken.head.key);
                Wanted { pool, log, layer, size_bytes, key }
            }));
        }
    }
    match found.len() {
        0 => bail!("'{path}' is not there; `quarry-extract list` shows what is"),
        1 => Ok(found.remove(0)),
        count => {
            bail!("{count} things are called '{path}': name the pool with --pool, or the volume by its id")
        }
    }
}

/// Writes every block that is mapped. Stops at the first that cannot be had, unless such ones are to be skipped.
fn copy(wanted: &Wanted<'_>, mut output: Output, skip_damaged: bool) -> Result<Damage> {
    let Wanted { pool, log, layer, size_bytes, .. } = *wanted;
    let (root, changes) = log.state.layers.flatten(layer);
    let mut damage = Damage::default();
    let walk = Walk::new(pool, log, &changes, size_bytes.div_ceil(BLOCK));
    let ended = walk.run(root, |found| {
        let result = match found {
            Found::Lost(blocks, reason) => {
                damage.push(blocks.start * BLOCK..(blocks.end * BLOCK).min(size_bytes), reason);
                Ok(())
            }
            Found::Leaf(mapped) => mapped.into_iter().try_for_each(|(number, mapped)| {
                let entry = &mapped.entry;
                let stored = log.record(pool, entry.address, entry.stored_sectors, entry.checksum);
                match stored.and_then(|stored| block::expand(entry, stored)) {
                    Ok(block) => output.block(number, &block),
                    Err(reason) => {
                        damage.push(number * BLOCK..((number + 1) * BLOCK).min(size_bytes), reason);
                        Ok(())
                    }
                }
            }),
        };
        match result {
            Err(error) => ControlFlow::Break(error),
            Ok(()) if damage.is_empty() || skip_damaged => ControlFlow::Continue(()),
            Ok(()) => {
                let first = damage.lines().next().unwrap_or_default();
                ControlFlow::Break(anyhow!("{first}; write the rest with --skip-damaged"))
            }
        }
    });
    match ended {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => output.finish().map(|()| damage),
    }
}
