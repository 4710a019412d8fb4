//! SCSI commands: any bytes as descriptor blocks with any data. The volume holds the device server to its contract.
#![no_main]

use std::rc::Rc;

use futures::FutureExt;
use libfuzzer_sys::fuzz_target;
use quarry_env::{BufferPool, Executor};
use quarry_fuzz::unit::One;
use quarry_scsi::{Accepted, CDB_BYTES, Cdb, Identity, Lun, Nexus, Node, Port, Status, Units};
use quarry_target::{Fabric, Initiator, Reservations};

fn nexus(executor: &Executor) -> (Rc<Nexus>, BufferPool) {
    let buffers = BufferPool::default();
    let (volumes, access) = One::new(buffers.clone());
    let units = Units::new(Reservations::default());
    let node = Node {
        access,
        fabric: Fabric::Iscsi,
        volumes,
        units,
        buffers: buffers.clone(),
        spawner: executor.spawner(),
    };
    let registrant = Initiator("iqn.i,i,0x000000000001".into());
    let identity = Identity { name: "iqn.i".to_owned(), address: None, registrant, host: None };
    let port =
        Port { device_name: "iqn.t".to_owned(), name: "iqn.t,t,0x0001".to_owned(), relative_id: 1, group: 1 };
    (Nexus::new(node, identity, port), buffers)
}

fuzz_target!(|data: &[u8]| {
    let mut executor = Executor::new(|| ());
    let (nexus, buffers) = nexus(&executor);
    let mut rest = data;
    while rest.len() > CDB_BYTES {
        let cdb = Cdb(rest[..CDB_BYTES].try_into().expect("sixteen bytes"));
        // The byte behind says how much data there is, in units of 8.
        let length = (usize::from(rest[CDB_BYTES]) * 8).min(rest.len() - CDB_BYTES - 1);
        let (out, behind) = rest[CDB_BYTES + 1..].split_at(length);
        rest = behind;
        let reply = match nexus.accept(Lun::of(0), &cdb, out.len() as u32) {
            Accepted::Answered(reply) => reply,
            Accepted::Task(task) => {
                let wanted = (task.out_bytes() as usize).min(out.len());
                let in_bytes = task.in_bytes() as usize;
                let out = (wanted > 0).then(|| buffers.copy_of(&out[..wanted]));
                let mut work = task.perform(out);
                let reply = (&mut work).now_or_never().or_else(|| {
                    // A sanitize operation, which waits for the commands of the session.
                    nexus.units().iter().for_each(|unit| drop(unit.take_settles()));
                    executor.run(16);
                    work.now_or_never()
                });
                let reply = reply.expect("the volume does not wait");
                let found: usize = reply.data.iter().map(|view| view.len()).sum();
                assert!(found <= in_bytes, "a task brings no more than it says");
                reply
            }
        };
        assert_eq!(reply.sense.is_some(), reply.status == Status::CheckCondition);
    }
});
