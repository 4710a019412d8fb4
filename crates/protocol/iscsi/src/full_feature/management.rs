//! Task management (RFC 7143 sections 11.5, 11.6; RFC 7144 section 6): commands are given up, and whoever asks for that is answered
//! when they have ended; or asked for.

use std::rc::Rc;

use futures::future::{Either, join_all, select};
use quarry_scsi::{Lun, Unit};
use quarry_target::{Drain, Drained};

use crate::limits::ABORT_TIME_MAX;
use crate::numbers::Numbers;
use crate::outbox::Outbox;
use crate::request::{Request, Work};
use quarry_iscsi_wire::pdu::{Header, flags, function, function_response as response, opcode};

use super::FullFeature;

fn answer(task_tag: u32, response: u8) -> Header {
    let mut answer = Header::new(opcode::TASK_MANAGEMENT_RESPONSE);
    answer.0[2] = response;
    answer.set_u32(16, task_tag);
    answer
}

/// Answers task management.
pub(super) fn respond(outbox: &mut Outbox, numbers: &mut Numbers, task_tag: u32, response: u8) {
    let mut answer = answer(task_tag, response);
    numbers.stamp(&mut answer);
    outbox.header(&answer);
}

impl FullFeature<'_> {
    pub(super) fn task_management(&mut self, header: &Header) {
        let lun = Lun(header.lun());
        let unit = self.nexus.unit(lun);
        let has_unit = unit.is_some();
        match header.0[1] & !flags::FINAL {
            function if function >= function::QUERY_TASK && self.parameters.protocol_level < 2 => {
                self.answer_management(header, response::NOT_SUPPORTED);
            }
            function::ABORT_TASK => {
                let tag = header.u32(20);
                match self.abort_where(|request| request.task_tag == tag) {
                    (0, _) => self.answer_management(header, response::NO_TASK),
                    (_, drained) => self.wait_for(header, vec![drained]),
                }
            }
            function::ABORT_TASK_SET if has_unit => {
                let (_, drained) = self.abort_where(|request| request.lun == lun);
                self.wait_for(header, vec![drained]);
            }
            function::LUN_RESET if has_unit => {
                let drained = self.nexus.reset_unit(lun);
                self.wait_for(header, drained.into_iter().collect());
            }
            function::ABORT_TASK_SET | function::LUN_RESET => {
                self.answer_management(header, response::NO_LUN);
            }
            // What other initiators see and this one does not is none of its business: it resets what it sees.
            function::TARGET_WARM_RESET => {
                let drained = self.nexus.reset_all();
                self.wait_for(header, drained);
            }
            function::TARGET_COLD_RESET => {
                let drained = self.nexus.reset_all();
                self.cold_reset = true;
                self.wait_for(header, drained);
            }
            function::I_T_NEXUS_RESET => {
                let (_, drained) = self.abort_where(|_| true);
                self.nexus.lose();
                self.wait_for(header, vec![drained]);
            }
            function::QUERY_TASK => {
                let tag = header.u32(20);
                self.answer_query(header, |request| request.lun == lun && request.task_tag == tag);
            }
            function::QUERY_TASK_SET if has_unit => self.answer_query(header, |request| request.lun == lun),
            function::QUERY_ASYNCHRONOUS_EVENT => match unit.map(|unit| unit.pending_attention()) {
                None => self.answer_management(header, response::NO_LUN),
                Some(None) => self.answer_management(header, response::COMPLETE),
                Some(Some(event)) => {
                    let mut answer = answer(header.task_tag(), response::SUCCEEDED);
                    answer.0[8..11].copy_from_slice(&event);
                    self.numbers.stamp(&mut answer);
                    self.outbox.header(&answer);
                }
            },
            function::QUERY_TASK_SET => self.answer_management(header, response::NO_LUN),
            function::TASK_REASSIGN => self.answer_management(header, response::NO_REASSIGNMENT),
            _ => self.answer_management(header, response::NOT_SUPPORTED),
        }
    }

    fn answer_management(&mut self, header: &Header, response: u8) {
        respond(&mut self.outbox, &mut self.numbers, header.task_tag(), response);
    }

    /// Tells whether there is such a command.
    fn answer_query(&mut self, header: &Header, which: impl Fn(&Request) -> bool) {
        let is_meant = |request: &Request| request.unit.is_some() && !request.aborted && which(request);
        let is_there = self.collecting.iter().any(|one| is_meant(one.request()))
            || self.in_flight.requests_mut().any(|request| is_meant(request));
        let response = if is_there { response::SUCCEEDED } else { response::COMPLETE };
        self.answer_management(header, response);
    }

    /// Answers when all of `drained` have ended.
    fn wait_for(&mut self, header: &Header, drained: Vec<Drained>) {
        let clock = self.env.clock.clone();
        let work = async move {
            let all = join_all(drained.iter().map(Drained::wait));
            match select(all, clock.sleep(ABORT_TIME_MAX)).await {
                Either::Left(_) => response::COMPLETE,
                Either::Right(_) => response::REJECTED,
            }
        };
        let mut request = Request::new(header);
        // Its place in the window was given back when it arrived.
        request.immediate = true;
        self.start(request, Work::Management(Box::pin(work)));
    }

    /// Gives up commands; how many there were, and when they have ended.
    fn abort_where(&mut self, which: impl Fn(&Request) -> bool) -> (usize, Drained) {
        let (drain, drained) = Drain::new();
        let mut count = self.drop_collecting(&which);
        // Those among them that were given up before and still run: who asks again waits for their end as well.
        let is_command = |request: &&mut Request| request.unit.is_some();
        for request in self.in_flight.requests_mut().filter(is_command).filter(|request| which(request)) {
            request.abort(&drain);
            count += 1;
        }
        (count, drained)
    }

    /// Gives up what other sessions, or a reset, want ended, and notes who waits for the end of what goes on.
    pub(super) fn heed_others(&mut self) {
        for unit in self.concerned() {
            for drain in unit.take_aborts() {
                self.abort_on(&unit, &drain);
            }
            for drain in unit.take_settles() {
                self.settle_on(&unit, &drain);
            }
        }
    }

    /// What has not begun, because its data or memory is missing, will find out for itself what has changed.
    fn settle_on(&mut self, unit: &Rc<Unit>, drain: &Drain) {
        let owns = |request: &Request| request.course.as_ref().is_some_and(|course| course.owns(drain));
        for request in self.in_flight.requests_mut() {
            if (request.is_for(unit) || request.concerns(unit)) && !owns(request) {
                request.drains.push(drain.clone());
            }
        }
    }

    /// The units that the initiator sees, and those which it sees no more and for which commands are still under way.
    fn concerned(&mut self) -> Vec<Rc<Unit>> {
        let mut units = self.nexus.units();
        let mut add = |request: &Request| {
            let others = request.course.iter().flat_map(|course| course.units());
            for unit in request.unit.iter().cloned().chain(others) {
                if !units.iter().any(|one| Rc::ptr_eq(one, &unit)) {
                    units.push(unit);
                }
            }
        };
        self.collecting.iter().for_each(|one| add(one.request()));
        self.held.iter().for_each(|held| add(held.request()));
        self.in_flight.requests_mut().for_each(|request| add(request));
        units
    }

    fn abort_on(&mut self, unit: &Rc<Unit>, drain: &Drain) {
        let meant = |request: &Request| request.is_for(unit);
        self.drop_collecting(meant);
        self.drop_held(meant);
        for request in self.in_flight.requests_mut() {
            if request.is_for(unit) {
                request.abort(drain);
            } else if request.concerns(unit) {
                // A copy: its initiator hears how far it came.
                request.interrupt(drain);
            }
        }
    }
}
