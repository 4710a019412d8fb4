//! Data-Out, and the requests for it.

use crate::pdu::Header;
use crate::request::{Request, Work};

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
        let segment = collecting.check(header)?;
        if is_here {
            collecting.take(&self.receiver.bytes()[shape.data_at..shape.data_at + shape.data]);
            self.receiver.advance(shape.total());
            return self.segment_ended(place, segment.is_final).map(|()| None);
        }
        let (buffer, filled) = collecting.lend(segment.bytes);
        self.receive_segment(&shape, segment, buffer, filled);
        Ok(None)
    }

    /// A data segment of a command is complete: asks for the next burst, or begins the command.
    pub(super) fn segment_ended(&mut self, place: usize, is_final: bool) -> Result<(), Ended> {
        let collecting = &mut self.collecting[place];
        if !is_final && collecting.is_in_burst() {
            return Ok(());
        }
        collecting.end_burst()?;
        let tag = self.next_transfer_tag;
        if let Some(mut r2t) = collecting.next_burst(tag, &self.parameters) {
            // The largest tag means none.
            self.next_transfer_tag = if tag >= u32::MAX - 1 { 0 } else { tag + 1 };
            self.numbers.stamp_next(&mut r2t);
            self.outbox.header(&r2t);
            return Ok(());
        }
        let (request, task, data) = self.collecting.swap_remove(place).finish();
        self.start(request, Work::Command(task.perform(data)));
        Ok(())
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
