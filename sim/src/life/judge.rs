//! The end of a history: everything is verified, in peace everything comes to where it should be, and whatever may be lost can be done
//! without.

use std::rc::Rc;

use quarry_env::Env;
use quarry_env_sim::Process;

use super::{Machine, Plan, Stop};
use crate::membership::Devices;
use crate::model::Crash;
use crate::node::Engines;

impl Machine {
    /// A last life without faults, at whose end everything is verified.
    pub fn judge(&mut self) -> Result<(), Stop> {
        self.world.set_faults_enabled(false);
        let mut plan = Plan { crash_at: u64::MAX, crash: Crash::Death, failures: Vec::new() };
        let (process, envs) = self.start();
        let engines = Rc::new(self.open(&mut plan, &process, &envs)?);
        self.look(&mut plan, &process, &engines)?;
        let settled =
            self.scenario.membership && self.finish_moving(&mut plan, &process, (&envs, &engines))?;
        self.verify(&mut plan, &process, &engines)?;
        self.close(&mut plan, &process, &engines)?;
        drop(engines);
        self.world.kill(&process);
        if settled { self.lose_disks(plan) } else { Ok(()) }
    }

    /// In peace everything comes to where it should be. Says whether it has.
    fn finish_moving(
        &self,
        plan: &mut Plan,
        process: &Process,
        (envs, engines): (&Rc<Vec<Env>>, &Rc<Engines>),
    ) -> Result<bool, Stop> {
        let (envs, engines) = (envs.clone(), engines.clone());
        let (fleet, chance, may_be_full) = (self.fleet.clone(), self.chance.clone(), self.scenario.tight);
        let finished = self.drive(plan, process, async move {
            let devices = Devices {
                fleet: &fleet,
                chance: &chance,
                envs: &envs,
                engines: &engines,
                may_be_full,
                is_coded: false,
                logs_differ: false,
            };
            devices.finish().await
        })?;
        Ok(finished?)
    }

    /// Whatever may be lost now can be done without.
    fn lose_disks(&mut self, mut plan: Plan) -> Result<(), Stop> {
        self.fleet.choose_lost(&self.chance).into_iter().for_each(|disk| self.fleet.pull(disk));
        let (process, envs) = self.start();
        let engines = Rc::new(self.open(&mut plan, &process, &envs)?);
        self.look(&mut plan, &process, &engines)?;
        self.look_at_snapshots(&mut plan, &process, &engines)?;
        drop(engines);
        self.world.kill(&process);
        Ok(())
    }
}
