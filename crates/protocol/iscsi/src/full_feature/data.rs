//! Data-Out, and the requests for it.

use quarry_scsi::{Code, Key, Reply, Sense};

use crate::collect::DataError;
use crate::request::{Request, Work};
use quarry_iscsi_wire::pdu::{Header, NO_TAG};

use super::parse::Shape;
use super::{Ended, FullFeature, Halt};

impl FullFeature<'_> {
    pub(super) fn data_out(
        &mut self,
        header: &Header,
        shape: Shape,
        is_here: bool,
    ) -> Result<Option<Halt>, Ended> {
        // Data of a command that was refused or aborted is still on its way when the initiator hears of that.
        let Some(place) = self.collecting.iter().position(|one| one.is_for(header)) else {
            self.drop_unit(&shape);
            return Ok(None);
        };
        let collecting = &mut self.collecting[place];
        if !is_here && !collecting.has_room(shape.data) {
            return Ok(Some(Halt::Needs(shape.total())));
        }
        let segment = match collecting.check(header) {
            Ok(segment) => segment,
            Err(error) => {
                self.fail_data(place, error);
                self.drop_unit(&shape);
                return Ok(None);
            }
        };
        if segment.bytes > 0 {
            self.share.arrived();
        }
        if is_here {
            collecting.take(&self.receiver.bytes()[shape.data_at..shape.data_at + shape.data]);
            self.receiver.advance(shape.total());
            self.segment_ended(place, segment.is_final);
            return Ok(None);
        }
        let (buffer, filled) = collecting.lend(segment.bytes);
        self.receive_segment(&shape, segment, buffer, filled);
        Ok(None)
    }

    /// A data segment of a command is complete: asks for the next burst, or begins the command.
    pub(super) fn segment_ended(&mut self, place: usize, is_final: bool) {
        let collecting = &mut self.collecting[place];
        if !is_final && collecting.is_in_burst() {
            return;
        }
        if let Err(error) = collecting.end_burst() {
            return self.fail_data(place, error);
        }
        let tag = self.next_transfer_tag;
        if let Some(mut r2t) = collecting.next_burst(tag, &self.parameters) {
            self.new_transfer_tag();
            self.numbers.stamp_next(&mut r2t);
            return self.outbox.header(&r2t);
        }
        let (request, task, data) = self.collecting.swap_remove(place).finish();
        // The data may have been on its way for long.
        match task.objection() {
            None => self.start(request, Work::Command(task.perform(data))),
            Some(reply) => self.reply(request, reply),
        }
    }

    /// A transfer tag that nothing else has.
    pub(super) fn new_transfer_tag(&mut self) -> u32 {
        let tag = self.next_transfer_tag;
        // The largest tag means none.
        self.next_transfer_tag = if tag >= NO_TAG - 1 { 0 } else { tag + 1 };
        tag
    }

    /// Ends what waits for data for units that the initiator sees no more: it would hold its memory for nothing. What works on
    /// them in steps ends before its next one.
    pub(super) fn end_withdrawn(&mut self) {
        let mut place = 0;
        while let Some(collecting) = self.collecting.get(place) {
            match collecting.task().withdrawal() {
                None => place += 1,
                Some(reply) => {
                    let request = self.collecting.swap_remove(place).into_request();
                    self.reply(request, reply);
                }
            }
        }
        for request in self.in_flight.requests_mut() {
            if let (Some(unit), Some(course)) = (&request.unit, &request.course)
                && !self.nexus.has(unit)
            {
                course.stop();
            }
        }
    }

    /// Ends a command whose data breaks the rules. What else comes of it is dropped (RFC 7143 section 7.9).
    fn fail_data(&mut self, place: usize, error: DataError) {
        let request = self.collecting.swap_remove(place).into_request();
        tracing::warn!(session = %self.session.id(), %error, "a command ends without its data");
        let sense = Sense::new(Key::AbortedCommand, Code::DATA_PHASE_ERROR);
        self.reply(request, Reply::check(sense));
    }

    /// Gives up commands whose data has not all come.
    pub(super) fn drop_collecting(&mut self, which: impl Fn(&Request) -> bool) -> usize {
        let before = self.collecting.len();
        let mut kept = Vec::new();
        for collecting in self.collecting.drain(..) {
            let request = collecting.request();
            if !which(request) {
                kept.push(collecting);
                continue;
            }
            self.share.give_back(request.held_bytes);
            if !request.immediate {
                self.numbers.close();
            }
        }
        self.collecting = kept;
        before - self.collecting.len()
    }
}
