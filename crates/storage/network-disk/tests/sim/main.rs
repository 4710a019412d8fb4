//! The client in a simulated world: connections are cut and freeze, servers die, are late and lose what was not flushed.

mod claims;
mod hostile;
mod model;
mod outages;
mod server;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Address, Disk, Env, OpenMode};
use quarry_env_sim::{Config, Process, World};
use quarry_network_disk::{Host, RemoteStats, Remotes, with_network_disks};

use server::{Manner, Medium, serve};

const URI: &str = "nbd://10.0.0.7:10809/disk";
const LIMIT: Duration = Duration::from_secs(3600);

fn address() -> Address {
    Address::Tcp("10.0.0.7:10809".parse::<SocketAddr>().expect("an address"))
}

/// A client and a server.
struct Stage {
    world: World,
    client: Process,
    server: RefCell<Process>,
    medium: Rc<RefCell<Medium>>,
    manner: Manner,
    remotes: Remotes,
}

impl Stage {
    fn new(seed: u64, size: usize, manner: Manner) -> Self {
        let world = World::new(seed, Config::default());
        let (client, server) = (world.process(2), world.process(1));
        let medium = Medium::new(size);
        let stage = Self {
            world,
            client,
            server: RefCell::new(server),
            medium,
            manner,
            remotes: Remotes::new(2, Host::of_node([7; 16], "test")),
        };
        stage.serve();
        stage.world.run_for(Duration::from_millis(10)).expect("it listens");
        stage
    }

    fn serve(&self) {
        let server = self.server.borrow();
        server.spawn(0, serve(server.env(0), address(), self.medium.clone(), self.manner)).detach();
    }

    /// The server dies; `crashes` says whether its cache does, too.
    fn kill_server(&self, crashes: bool) {
        self.world.kill(&self.server.borrow());
        if crashes {
            self.medium.borrow_mut().crash();
        }
    }

    fn restart_server(&self) {
        *self.server.borrow_mut() = self.world.process(1);
        self.serve();
    }

    fn env(&self, core: usize) -> Env {
        with_network_disks(&self.client.env(core), &self.remotes)
    }

    fn run<T: 'static>(&self, core: usize, future: impl Future<Output = T> + 'static) -> T {
        let done = self.world.block_on(&self.client, core, future, LIMIT);
        done.unwrap_or_else(|stuck| panic!("{stuck}: {}", self.world.report()))
    }

    fn open(&self, core: usize) -> Rc<dyn Disk> {
        let env = self.env(core);
        self.run(core, async move { env.disks.open(Path::new(URI), OpenMode::Exclusive).await })
            .expect("opened")
    }

    fn stats(&self) -> RemoteStats {
        self.remotes.stats().first().map(|(_, stats)| *stats).unwrap_or_default()
    }
}
