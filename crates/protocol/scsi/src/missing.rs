//! What is answered at a number where there is no unit (SPC-5 5.13 and 6.6.2): initiators ask there to find the others.

use crate::cdb::Cdb;
use crate::command::Step;
use crate::identify::{self, Qualifier};
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::{Code, Sense};
use crate::supported::opcode;

const NOT_SUPPORTED: Sense = Sense::illegal(Code::UNIT_NOT_SUPPORTED);

pub(crate) fn answer(nexus: &Nexus, cdb: &Cdb) -> Reply {
    let step = match cdb.opcode() {
        opcode::INQUIRY if cdb.has(1, 1) => Err(NOT_SUPPORTED),
        opcode::INQUIRY => identify::inquiry(nexus, cdb, Qualifier::Absent),
        opcode::REPORT_LUNS => identify::report_luns(nexus, cdb),
        opcode::REQUEST_SENSE => Ok(identify::sense_data(nexus.buffers(), &NOT_SUPPORTED, cdb)),
        _ => Err(NOT_SUPPORTED),
    };
    match step {
        Ok(Step::Reply(reply)) => reply,
        Ok(Step::Work { .. }) => unreachable!("nothing works without a unit"),
        Err(sense) => Reply::check(sense),
    }
}
