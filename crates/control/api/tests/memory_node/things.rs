//! The things that the node in memory shows, with figures made up.

use quarry_api_types::*;

const DEVICE_BYTES: u64 = 100 << 30;

pub fn devices(pools: &[Pool]) -> Vec<Device> {
    let device = |path: &str, state| Device {
        path: path.to_owned(),
        kind: DeviceKind::Block,
        size_bytes: DEVICE_BYTES,
        class: DeviceClass::Nvme,
        sector_bytes: 4096,
        state,
        found: None,
        pool: None,
        pool_id: None,
        device_id: None,
        health: Health::ok(),
        latency: Default::default(),
        drive: None,
    };
    let mut devices = vec![
        device(super::FREE_DEVICE, DeviceState::Free),
        Device {
            found: Some("ext4 file system".into()),
            ..device(super::FOREIGN_DEVICE, DeviceState::Foreign)
        },
    ];
    for (pool, member) in pools.iter().flat_map(|pool| pool.devices.iter().map(move |member| (pool, member)))
    {
        devices.retain(|device| device.path != member.path);
        devices.push(Device {
            pool: Some(pool.name.clone()),
            pool_id: Some(pool.id),
            device_id: Some(member.id),
            ..device(&member.path, DeviceState::InPool)
        });
    }
    devices.sort_by(|a, b| a.path.cmp(&b.path));
    devices
}

pub fn member(id: u128, path: &str) -> PoolDevice {
    PoolDevice {
        id: DeviceId::from_random(id),
        path: path.to_owned(),
        kind: DeviceKind::Block,
        class: DeviceClass::Nvme,
        state: PoolDeviceState::Online,
        size_bytes: DEVICE_BYTES,
        used_bytes: 0,
        removing: false,
        health: Default::default(),
        latency: Default::default(),
        in_flight: 0,
        late_writes: 0,
        drive: None,
    }
}

pub fn pool(id: u128, request: &CreatePool) -> Pool {
    let member = |(index, path): (usize, &String)| member(id << 8 | index as u128, path);
    let protection = request.wanted_protection().expect("it was checked").0;
    let total_bytes = DEVICE_BYTES * request.devices.len() as u64;
    let free_bytes = total_bytes - total_bytes / 100;
    Pool {
        id: PoolId::from_random(id),
        name: request.name.clone(),
        copies: protection.copies() as u8,
        protection: Protection(protection),
        groups: PoolGroups::default(),
        state: PoolState::Online,
        reasons: Vec::new(),
        created: Timestamp::from_unix_ms(super::NOW_MS),
        devices: request.devices.iter().enumerate().map(member).collect(),
        capacity: Capacity {
            total_bytes,
            used_bytes: 0,
            free_bytes,
            reserved_bytes: total_bytes / 100,
            kept_bytes: 0,
            available_bytes: protection.data_bytes(free_bytes),
        },
        fill_percent: 0,
        levels: request.levels(),
        full: false,
        commitment: Commitment {
            limit_percent: Some(request.overcommit_limit_percent).filter(|&percent| percent > 0),
            ..Commitment::default()
        },
        data: PoolData::default(),
        freeing: Freeing::default(),
        rebuild: Rebuild::default(),
        rebuild_rate_bytes_per_s: None,
        segment_bytes: 32 << 20,
        logs: 2,
        volumes: 0,
        scrub: None,
    }
}

pub fn event(id: u64, severity: EventSeverity, pool: &str) -> Event {
    Event {
        id,
        time: Timestamp::from_unix_ms(super::NOW_MS),
        severity,
        kind: EventKind::PoolSpaceWarning,
        object_kind: ObjectKind::Pool,
        object: pool.to_owned(),
        message: format!("pool '{pool}' is 83 % full"),
        cause: Some("its warning level is 80 %".to_owned()),
        next_step: Some("Delete or discard something.".to_owned()),
    }
}

pub fn scrub() -> Scrub {
    Scrub {
        state: ScrubState::Running,
        began: Timestamp::from_unix_ms(1_795_167_000_000),
        ended: None,
        chunks_done: 30,
        chunks: 120,
        read_bytes: 2 << 30,
        repaired: 1,
        unrepaired: 0,
        lost: 1,
        lost_blocks: vec![LostBlock { volume: Some("vm-17@daily".to_owned()), offset: 4096 }],
    }
}

pub fn volume(id: u128, request: CreateVolume) -> Volume {
    Volume {
        id: VolumeId::from_random(id),
        name: request.name,
        pool: Some(request.pool),
        image: None,
        migration: None,
        protection: Some(Protection::default()),
        own_protection: false,
        tier: Some(Tier::Automatic),
        own_tier: false,
        size_bytes: request.size_bytes,
        durability: request.durability,
        used_bytes: 0,
        quota_bytes: Some(request.quota_bytes).filter(|&quota| quota > 0),
        reserved_bytes: request.reserved_bytes,
        compression: request.compression,
        deduplication: request.deduplication,
        read_cache: request.read_cache,
        history_s: request.history_s,
        history: None,
        encrypted: request.encrypted,
        locked: false,
        block_bytes: 4096,
        core: 1,
        exported: false,
        snapshots: 0,
        origin: None,
        group: None,
        qos: request.qos.filter(|qos| !qos.is_empty()),
        qos_status: None,
    }
}

pub fn export(id: u128, volume_id: VolumeId, request: CreateExport) -> Export {
    let (address, path) = ("127.0.0.1:10809".parse().unwrap(), request.path());
    let number = request.number.unwrap_or_default();
    let uris = match request.protocol {
        Protocol::Nbd => vec![nbd_tcp_uri(address, &path), nbd_unix_uri("/run/quarry/nbd.sock", &path)],
        Protocol::Iscsi => vec![format!("iscsi://127.0.0.1:3260/iqn.2026-11.io.quarry:node/{number}")],
        Protocol::VhostUser => vec![format!("/var/lib/quarry/vhost-user/{path}.sock")],
        Protocol::NvmeTcp => vec![format!("nvme-tcp://127.0.0.1:4420/nqn.2026-11.io.quarry:node/{number}")],
    };
    Export {
        id: ExportId::from_random(id),
        volume_id,
        protocol: request.protocol,
        number: request.number,
        read_only: request.read_only || request.snapshot.is_some(),
        host: request.host,
        host_group: request.host_group,
        uris,
        volume: request.volume,
        snapshot: request.snapshot,
        state: ExportState::Serving,
        sessions: 0,
        created: Timestamp::from_unix_ms(super::NOW_MS),
    }
}

pub fn status(pools: &[Pool], volumes: &[Volume], exports: &[Export]) -> Status {
    let listener =
        |protocol, address: &str| ListenerStatus { protocol, address: address.into(), connections: 0 };
    Status {
        node_id: NodeId::from_random(1),
        initiator: InitiatorNames { iqn: "iqn.x".to_owned(), nqn: "nqn.x".to_owned() },
        version: "0.1.0".into(),
        uptime_s: 93_784,
        cores: 2,
        memory: MemoryStatus { budget_bytes: 1 << 30, used_bytes: 100 << 20, ..Default::default() },
        cache_disk: Some(CacheDiskStatus {
            path: "/dev/nvme7n1".to_owned(),
            size_bytes: 100 << 30,
            used_bytes: 40 << 30,
            records: 10_000_000,
            hits: 900,
            misses: 100,
            ..CacheDiskStatus::default()
        }),
        listeners: vec![
            listener(ListenerProtocol::Api, "127.0.0.1:7480"),
            listener(ListenerProtocol::Nbd, "127.0.0.1:10809"),
        ],
        pools: PoolsStatus {
            online: pools.len() as u64,
            degraded: 0,
            offline: 0,
            total_bytes: pools.iter().map(|pool| pool.capacity.total_bytes).sum(),
            used_bytes: pools.iter().map(|pool| pool.capacity.used_bytes).sum(),
            freeing: pools.first().map_or_else(Freeing::default, |pool| pool.freeing),
        },
        volumes: VolumesStatus {
            count: volumes.len() as u64,
            size_bytes: volumes.iter().map(|volume| volume.size_bytes).sum(),
            used_bytes: 0,
        },
        exports: exports.len() as u64,
        health: Health::ok(),
    }
}
