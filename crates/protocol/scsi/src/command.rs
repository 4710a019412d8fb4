//! From a descriptor block to an answer: what stands in a command's way, what data it wants, and who carries it out.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use quarry_env::View;

use crate::cdb::Cdb;
use crate::course::Course;
use crate::limits::STEP_BYTES;
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::{Code, Sense};
use crate::supported::{self, Access, Supported, opcode};
use crate::unit::{Range, Unit};
use crate::{
    capacity, compare, copy, identify, medium, mode, provision, read_write, report, reserve, sanitize,
    verify, vpd,
};

/// What comes of a command.
pub enum Accepted {
    /// It is answered already.
    Answered(Reply),
    /// It has work to do, for some with data of the initiator.
    Task(Task),
}

/// A command that was found to be right, and that nothing stands in the way of.
pub struct Task {
    pub(crate) nexus: Rc<Nexus>,
    pub(crate) unit: Rc<Unit>,
    pub(crate) work: Work,
    cdb: Cdb,
    out_bytes: u32,
    in_bytes: u32,
    /// None for what is done in one step.
    course: Option<Rc<Course>>,
}

/// What a command does, for the books.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It reads so many bytes.
    Read(u64),
    /// It writes so many bytes.
    Write(u64),
    /// Something else.
    Other,
}

/// How VERIFY and its kin use the data of the initiator (SBC-4 5.37).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ByteCheck {
    /// Not at all: the blocks are read.
    None,
    /// Block by block.
    Each,
    /// One block for all.
    One,
}

/// The kinds of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Read { range: Range, fua: bool },
    Write { range: Range, fua: bool },
    WriteAtomic { range: Range, fua: bool },
    WriteAndVerify { range: Range, check: ByteCheck },
    Verify { range: Range, check: ByteCheck },
    WriteSame { range: Range, unmap: bool, zeroes: bool },
    Unmap,
    CompareAndWrite { range: Range, fua: bool },
    OrWrite { range: Range, fua: bool },
    Synchronize,
    LbaStatus { range: Range, allocation: u32 },
    ModeSelect { long: bool },
    Reserve { action: u8, kind: u8 },
    Copy,
    Sanitize(sanitize::Request),
}

impl Work {
    fn has_steps(self) -> bool {
        match self {
            Self::WriteAndVerify { .. } | Self::Verify { .. } | Self::WriteSame { .. } => true,
            Self::Unmap | Self::OrWrite { .. } | Self::Copy | Self::Sanitize(_) => true,
            Self::Read { .. } | Self::Write { .. } => false,
            Self::WriteAtomic { .. } | Self::CompareAndWrite { .. } => false,
            Self::Synchronize | Self::LbaStatus { .. } => false,
            Self::ModeSelect { .. } | Self::Reserve { .. } => false,
        }
    }
}

/// What the families of commands make of a descriptor block.
pub(crate) enum Step {
    Reply(Reply),
    /// Work that wants `out_bytes` of data first, and takes at most `in_bytes` of memory beside them, for what it brings among others.
    Work {
        work: Work,
        out_bytes: u32,
        in_bytes: u32,
    },
}

impl Step {
    pub(crate) fn work(work: Work) -> Self {
        Self::Work { work, out_bytes: 0, in_bytes: 0 }
    }

    /// Work on blocks that are read or written a part at a time.
    pub(crate) fn in_steps(work: Work, range: Range, out_bytes: u32) -> Self {
        Self::Work { work, out_bytes, in_bytes: range.bytes().min(u64::from(STEP_BYTES)) as u32 }
    }

    pub(crate) fn with_data(work: Work, out_bytes: u32) -> Self {
        Self::Work { work, out_bytes, in_bytes: 0 }
    }
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Looks at a command to a unit.
pub(crate) fn accept(nexus: &Rc<Nexus>, unit: Rc<Unit>, cdb: &Cdb, out_bytes: u32) -> Accepted {
    match hinder(nexus, &unit, cdb).and_then(|hindrance| match hindrance {
        Some(reply) => Ok(Step::Reply(reply)),
        None => dispatch(nexus, &unit, cdb, out_bytes),
    }) {
        Ok(Step::Reply(reply)) => Accepted::Answered(reply),
        Ok(Step::Work { work, out_bytes, in_bytes }) => {
            let course = work.has_steps().then(Rc::default);
            let (nexus, cdb) = (nexus.clone(), *cdb);
            Accepted::Task(Task { nexus, unit, work, cdb, out_bytes, in_bytes, course })
        }
        Err(sense) => Accepted::Answered(Reply::check(sense)),
    }
}

/// What stands in the way of a command, in the order in which SAM-6 and SPC-5 want it told.
fn hinder(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Option<Reply>, Sense> {
    let informs = matches!(cdb.opcode(), opcode::INQUIRY | opcode::REPORT_LUNS | opcode::REQUEST_SENSE);
    if !informs
        && unit.mailbox().has_attention()
        && let Some(attention) = nexus.take_attention(unit)
    {
        return Err(attention);
    }
    supported::find(cdb)?;
    // NACA: auto contingent allegiance is not there (NORMACA is 0; SAM-5 5.2).
    let control = cdb.control_at();
    if cdb.has(control, 0x04) {
        return Err(Sense::field_in_cdb(control as u16));
    }
    forbid(unit, cdb)
}

/// What others have done that forbids a command: they have reserved the unit, or it is protected, or being sanitized.
fn forbid(unit: &Unit, cdb: &Cdb) -> Result<Option<Reply>, Sense> {
    let Supported { access, .. } = *supported::find(cdb)?;
    let member = unit.member();
    let free = match access {
        Access::Always => true,
        Access::Free => !member.is_kept_out(),
        Access::Read => member.may_read(),
        Access::Change | Access::Write => member.may_write(),
    };
    // The two ways to reserve exclude each other, also for whoever holds the older one (SPC-2 5.5.1).
    let is_persistent =
        matches!(cdb.opcode(), opcode::PERSISTENT_RESERVE_IN | opcode::PERSISTENT_RESERVE_OUT);
    if !free || is_persistent && member.reservations().is_exclusive() {
        return Ok(Some(Reply::conflict()));
    }
    if access == Access::Write {
        unit.write_protection()?;
    }
    if !goes_on_meanwhile(cdb.opcode()) {
        unit.shared.sanitizing.hindrance()?;
    }
    Ok(None)
}

fn told(obstacle: Result<Option<Reply>, Sense>) -> Option<Reply> {
    obstacle.unwrap_or_else(|sense| Some(Reply::check(sense)))
}

/// Whether a command has nothing to do with the medium, and is carried out also while that is sanitized and when this has failed
/// (SBC-4 4.11.2). SANITIZE itself looks whether there is another one.
fn goes_on_meanwhile(code: u8) -> bool {
    matches!(
        code,
        opcode::INQUIRY
            | opcode::REPORT_LUNS
            | opcode::REQUEST_SENSE
            | opcode::MODE_SENSE_6
            | opcode::MODE_SENSE_10
            | opcode::MAINTENANCE_IN
            | opcode::SANITIZE
    )
}

fn dispatch(nexus: &Rc<Nexus>, unit: &Rc<Unit>, cdb: &Cdb, out_bytes: u32) -> Result<Step, Sense> {
    match cdb.opcode() {
        opcode::READ_10 | opcode::READ_16 | opcode::READ_12 | opcode::READ_6 => read_write::read(unit, cdb),
        opcode::WRITE_10 | opcode::WRITE_16 | opcode::WRITE_12 | opcode::WRITE_6 => {
            read_write::write(unit, cdb)
        }
        opcode::TEST_UNIT_READY => unit.volume().map(|_| Reply::good().into()),
        opcode::SYNCHRONIZE_CACHE_10 | opcode::SYNCHRONIZE_CACHE_16 => medium::synchronize(unit, cdb),
        opcode::UNMAP => provision::unmap(cdb),
        opcode::WRITE_SAME_10 | opcode::WRITE_SAME_16 => provision::write_same(unit, cdb, out_bytes),
        opcode::WRITE_ATOMIC_16 => read_write::write_atomic(unit, cdb),
        opcode::SANITIZE => sanitize::sanitize(nexus, unit, cdb),
        opcode::COMPARE_AND_WRITE => compare::compare_and_write(unit, cdb, out_bytes),
        opcode::ORWRITE_16 => compare::or_write(unit, cdb),
        opcode::WRITE_AND_VERIFY_10 | opcode::WRITE_AND_VERIFY_12 | opcode::WRITE_AND_VERIFY_16 => {
            verify::write_and_verify(unit, cdb)
        }
        opcode::VERIFY_10 | opcode::VERIFY_12 | opcode::VERIFY_16 => verify::verify(unit, cdb),
        opcode::PREFETCH_10 | opcode::PREFETCH_16 => medium::prefetch(unit, cdb),
        opcode::INQUIRY if cdb.has(1, 1) => vpd::inquiry(nexus, unit, cdb),
        opcode::INQUIRY => identify::inquiry(nexus, cdb, identify::Qualifier::Connected),
        opcode::REQUEST_SENSE => identify::request_sense(nexus, unit, cdb),
        opcode::REPORT_LUNS => identify::report_luns(nexus, cdb),
        opcode::READ_CAPACITY_10 => capacity::read_capacity_10(unit, cdb),
        opcode::SERVICE_ACTION_IN_16 if cdb.service_action() == 0x10 => capacity::read_capacity_16(unit, cdb),
        opcode::SERVICE_ACTION_IN_16 => capacity::lba_status(unit, cdb),
        opcode::MODE_SENSE_6 | opcode::MODE_SENSE_10 => mode::sense(unit, cdb),
        opcode::MODE_SELECT_6 | opcode::MODE_SELECT_10 => mode::select(cdb),
        opcode::START_STOP_UNIT => medium::start_stop(cdb),
        opcode::PREVENT_ALLOW => Ok(Reply::good().into()),
        opcode::READ_DEFECT_DATA_10 | opcode::READ_DEFECT_DATA_12 => medium::defects(unit, cdb),
        opcode::PERSISTENT_RESERVE_IN => reserve::persistent_in(nexus, unit, cdb),
        opcode::PERSISTENT_RESERVE_OUT => reserve::persistent_out(cdb),
        opcode::RESERVE_6 | opcode::RESERVE_10 => reserve::reserve(unit, cdb),
        opcode::RELEASE_6 | opcode::RELEASE_10 => reserve::release(unit, cdb),
        opcode::MAINTENANCE_IN => report::maintenance_in(nexus, unit, cdb),
        opcode::EXTENDED_COPY => copy::extended_copy(cdb),
        opcode::RECEIVE_COPY_RESULTS => copy::results(nexus, unit, cdb),
        _ => Err(Sense::illegal(Code::INVALID_OPCODE)),
    }
}

impl Task {
    /// The unit.
    pub fn unit(&self) -> &Rc<Unit> {
        &self.unit
    }

    /// Bytes of data that it wants from the initiator.
    pub fn out_bytes(&self) -> u32 {
        self.out_bytes
    }

    /// Most bytes of memory that it takes beside that: what it brings, whether the initiator wants all of it or not, and what it
    /// works with.
    pub fn in_bytes(&self) -> u32 {
        self.in_bytes
    }

    /// Its course, by which it is stopped on the way; none where there is no way, as with reads and writes.
    pub fn course(&self) -> Option<Rc<Course>> {
        self.course.clone()
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        match self.work {
            Work::Read { range, .. } => Kind::Read(range.bytes()),
            Work::Write { range, .. } | Work::WriteAtomic { range, .. } => Kind::Write(range.bytes()),
            Work::WriteAndVerify { range, .. } => Kind::Write(range.bytes()),
            _ => Kind::Other,
        }
    }

    /// What has come in its way since it was accepted, for a task that had to wait before it could begin.
    pub fn hindrance(&self) -> Option<Reply> {
        self.withdrawal().or_else(|| told(hinder(&self.nexus, &self.unit, &self.cdb)))
    }

    /// The same for a task that has waited for its data. It had begun: what the initiator is to be told besides, it is told by
    /// the next command (SAM-5 5.14).
    pub fn objection(&self) -> Option<Reply> {
        self.withdrawal().or_else(|| told(forbid(&self.unit, &self.cdb)))
    }

    /// The answer to a task whose unit the initiator sees no more: one after which it does not try again.
    pub fn withdrawal(&self) -> Option<Reply> {
        let is_gone = !self.nexus.has(&self.unit);
        is_gone.then(|| Reply::check(Sense::illegal(Code::UNIT_NOT_SUPPORTED)))
    }

    /// Carries it out, with the data that came: as much as it wants, or less where the initiator has sent less.
    pub fn perform(self, data: Option<View>) -> LocalBoxFuture<'static, Reply> {
        let Self { nexus, unit, work, course, .. } = self;
        match work {
            Work::Read { range, fua } => Box::pin(read_write::perform_read(unit, range, fua)),
            Work::Write { range, fua } => Box::pin(read_write::perform_write(unit, range, fua, data)),
            work => Box::pin(async move {
                let course = course.unwrap_or_default();
                let done = perform(&nexus, &unit, work, data, &course).await;
                done.unwrap_or_else(Reply::check)
            }),
        }
    }
}

async fn perform(
    nexus: &Rc<Nexus>,
    unit: &Rc<Unit>,
    work: Work,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    match work {
        Work::Read { .. } | Work::Write { .. } => unreachable!("the data path does without this detour"),
        Work::WriteAtomic { range, fua } => read_write::perform_atomic(unit, range, fua, data).await,
        Work::WriteAndVerify { range, check } => {
            verify::perform_write_and_verify(unit, range, check, data, course).await
        }
        Work::Verify { range, check } => verify::perform_verify(unit, range, check, data, course).await,
        Work::WriteSame { range, unmap, zeroes } => {
            let data = data.filter(|_| !zeroes);
            provision::perform_write_same(unit, range, unmap, data, course).await
        }
        Work::Unmap => provision::perform_unmap(unit, data, course).await,
        Work::CompareAndWrite { range, fua } => compare::perform_compare(unit, range, fua, data).await,
        Work::OrWrite { range, fua } => compare::perform_or(unit, range, fua, data, course).await,
        Work::Synchronize => medium::perform_synchronize(unit).await,
        Work::LbaStatus { range, allocation } => capacity::perform_lba_status(unit, range, allocation).await,
        Work::ModeSelect { long } => mode::perform_select(unit, long, data),
        Work::Reserve { action, kind } => reserve::perform(unit, action, kind, data).await,
        Work::Copy => copy::perform(nexus, data, course).await,
        Work::Sanitize(request) => sanitize::perform(nexus, unit, request, data, course).await,
    }
}
