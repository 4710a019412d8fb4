//! MODE SENSE and MODE SELECT (SPC-5 6.12 to 6.15): the caching, control and informational exceptions pages, and that of logical
//! block provisioning.
//!
//! One bit can be changed: SWP of the control page, which forbids writes for every initiator until the unit is reset, or until no
//! initiator is left that uses it.

use std::rc::Rc;

use quarry_env::View;
use quarry_types::Durability;

use crate::attention::Attention;
use crate::cdb::{Cdb, u16_at, u32_at};
use crate::command::{Step, Work};
use crate::limits::BLOCK_BYTES;
use crate::reply::Reply;
use crate::sense::{Code, Sense};
use crate::supported::opcode;
use crate::unit::Unit;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0A;
const EXCEPTIONS: u8 = 0x1C;
/// Logical block provisioning, a subpage of the one before.
const PROVISIONING: u8 = 0x02;
/// The page has a subpage code and a longer length.
const SPF: u8 = 0x40;
const ALL_PAGES: u8 = 0x3F;
const ALL_SUBPAGES: u8 = 0xFF;

/// Device-specific parameter: write-protected, and DPO and FUA are understood (SBC-4 6.5.1).
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;
const SWP: u8 = 0x08;
const WCE: u8 = 0x04;

/// Which values of the pages (SPC-5 table 191).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Values {
    Current,
    Changeable,
    Default,
}

fn caching(unit: &Unit, values: Values) -> Vec<u8> {
    let mut page = vec![0; 20];
    (page[0], page[1]) = (CACHING, 18);
    if values != Values::Changeable && unit.durability() == Durability::Flush {
        page[2] = WCE;
    }
    page
}

fn control(unit: &Unit, values: Values) -> Vec<u8> {
    let mut page = vec![0; 12];
    (page[0], page[1]) = (CONTROL, 10);
    match values {
        Values::Changeable => page[4] = SWP,
        Values::Current | Values::Default => {
            // Commands may be reordered without restriction; RLEC and the others are 0.
            page[3] = 0x10;
            if values == Values::Current && unit.shared.is_write_protected() {
                page[4] = SWP;
            }
            // The busy timeout is unlimited.
            (page[8], page[9]) = (0xFF, 0xFF);
        }
    }
    page
}

fn exceptions() -> Vec<u8> {
    let mut page = vec![0; 12];
    (page[0], page[1]) = (EXCEPTIONS, 10);
    page
}

/// Logical block provisioning (SBC-4 6.5.8): one soft threshold of what is used of the pool, which the node sets.
fn provisioning(unit: &Unit, values: Values) -> Vec<u8> {
    const ENABLED: u8 = 0x80;
    const INCREASING: u8 = 0x01;
    const USED: u8 = 0x02;
    let mut page = vec![0; 24];
    (page[0], page[1], page[3]) = (SPF | EXCEPTIONS, PROVISIONING, 20);
    let sets = unit.shared.threshold.sets();
    if values != Values::Changeable && sets > 0 {
        (page[16], page[17]) = (ENABLED | INCREASING, USED);
        page[20..].copy_from_slice(&sets.to_be_bytes());
    }
    page
}

fn pages(unit: &Unit, code: u8, subpage: u8, values: Values) -> Option<Vec<u8>> {
    Some(match (code, subpage) {
        (CACHING, 0 | ALL_SUBPAGES) => caching(unit, values),
        (CONTROL, 0 | ALL_SUBPAGES) => control(unit, values),
        (EXCEPTIONS, 0) => exceptions(),
        (EXCEPTIONS, PROVISIONING) => provisioning(unit, values),
        (EXCEPTIONS, ALL_SUBPAGES) => [exceptions(), provisioning(unit, values)].concat(),
        (ALL_PAGES, 0 | ALL_SUBPAGES) => {
            let codes = [CACHING, CONTROL, EXCEPTIONS].into_iter();
            codes.filter_map(|code| pages(unit, code, subpage, values)).collect::<Vec<_>>().concat()
        }
        _ => return None,
    })
}

/// One page of a parameter list, as it is now and as far as it can be changed, and how many bytes it has.
fn page_of_list(unit: &Unit, list: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (code, subpage) = (list[0] & 0x3F, if list[0] & SPF != 0 { *list.get(1)? } else { 0 });
    if code == ALL_PAGES || subpage == ALL_SUBPAGES {
        return None;
    }
    Some((pages(unit, code, subpage, Values::Current)?, pages(unit, code, subpage, Values::Changeable)?))
}

fn block_descriptor(unit: &Unit, long: bool) -> Vec<u8> {
    let blocks = unit.blocks();
    let mut descriptor = Vec::with_capacity(16);
    if long {
        descriptor.extend_from_slice(&blocks.to_be_bytes());
        descriptor.extend_from_slice(&[0; 4]);
    } else {
        descriptor.extend_from_slice(&u32::try_from(blocks).unwrap_or(u32::MAX).to_be_bytes());
    }
    descriptor.extend_from_slice(&BLOCK_BYTES.to_be_bytes());
    descriptor
}

pub(crate) fn sense(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    const DBD: u8 = 0x08;
    const LLBAA: u8 = 0x10;
    let ten = cdb.opcode() == opcode::MODE_SENSE_10;
    let values = match cdb.u8(2) >> 6 {
        0 => Values::Current,
        1 => Values::Changeable,
        2 => Values::Default,
        // Saved values: none are saved.
        _ => return Err(Sense::illegal(Code(0x39, 0x00))),
    };
    let (code, subpage) = (cdb.u8(2) & 0x3F, cdb.u8(3));
    let body =
        pages(unit, code, subpage, values).ok_or(Sense::field_in_cdb(if subpage == 0 { 2 } else { 3 }))?;
    let long = ten && cdb.has(1, LLBAA);
    let descriptor = if cdb.has(1, DBD) { Vec::new() } else { block_descriptor(unit, long) };
    let specific = DPOFUA | if unit.is_write_protected() { WP } else { 0 };
    let length = descriptor.len() + body.len();
    let header = match ten {
        true => {
            let total = ((length + 6) as u16).to_be_bytes();
            let descriptors = (descriptor.len() as u16).to_be_bytes();
            vec![total[0], total[1], 0, specific, u8::from(long), 0, descriptors[0], descriptors[1]]
        }
        false => vec![(length + 3) as u8, 0, specific, descriptor.len() as u8],
    };
    let allocation = if ten { u32::from(cdb.u16(7)) } else { u32::from(cdb.u8(4)) };
    let data = [header, descriptor, body].concat();
    Ok(Reply::bytes(&unit.buffers, &data, allocation).into())
}

pub(crate) fn select(cdb: &Cdb) -> Result<Step, Sense> {
    const PF: u8 = 0x10;
    const SP: u8 = 0x01;
    if !cdb.has(1, PF) || cdb.has(1, SP) {
        return Err(Sense::field_in_cdb(1));
    }
    let long = cdb.opcode() == opcode::MODE_SELECT_10;
    let length = if long { u32::from(cdb.u16(7)) } else { u32::from(cdb.u8(4)) };
    if length == 0 {
        return Ok(Reply::good().into());
    }
    Ok(Step::with_data(Work::ModeSelect { long }, length))
}

/// Where the pages of a parameter list begin.
fn pages_at(list: &[u8], long: bool) -> Result<usize, Sense> {
    let error = Sense::illegal(Code::PARAMETER_LIST_LENGTH);
    let header = if long { 8 } else { 4 };
    if list.len() < header {
        return Err(error);
    }
    let descriptors = if long { usize::from(u16_at(list, 6)) } else { usize::from(list[3]) };
    let at = header + descriptors;
    if at > list.len() {
        return Err(error);
    }
    check_block_length(&list[header..at], header)?;
    Ok(at)
}

/// A block descriptor, short or long (SBC-4 6.5.2), must have the blocks that there are: they have one length.
fn check_block_length(descriptor: &[u8], at: usize) -> Result<(), Sense> {
    let (length, field) = match descriptor.len() {
        0 => return Ok(()),
        8 => (u32_at(descriptor, 4) & 0x00FF_FFFF, 5),
        16 => (u32_at(descriptor, 12), 12),
        _ => return Err(Sense::field_in_parameters(at as u16)),
    };
    match length == BLOCK_BYTES {
        true => Ok(()),
        false => Err(Sense::field_in_parameters((at + field) as u16)),
    }
}

pub(crate) fn perform_select(unit: &Rc<Unit>, long: bool, data: Option<View>) -> Result<Reply, Sense> {
    let list = data.as_deref().unwrap_or_default();
    let mut at = pages_at(list, long)?;
    let mut protect = None;
    while at < list.len() {
        let page = &list[at..];
        let Some((current, changeable)) = page_of_list(unit, page) else {
            return Err(Sense::field_in_parameters(at as u16));
        };
        // What says how long the page is.
        let head = if page[0] & SPF != 0 { 4 } else { 2 };
        let bytes = match (head, page.get(..head)) {
            (2, Some(head)) => usize::from(head[1]) + 2,
            (_, Some(head)) => usize::from(u16_at(head, 2)) + 4,
            (_, None) => usize::MAX,
        };
        if page.len() < bytes {
            return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
        }
        let (page, code) = (&page[..bytes], page[0] & 0x3F);
        if current.len() != bytes {
            return Err(Sense::field_in_parameters(at as u16 + 1));
        }
        // Behind the code and length; PS of the code is reserved here.
        for index in head..bytes {
            if (page[index] ^ current[index]) & !changeable[index] != 0 {
                return Err(Sense::field_in_parameters((at + index) as u16));
            }
        }
        if code == CONTROL {
            protect = Some(page[4] & SWP != 0);
        }
        at += bytes;
    }
    if let Some(protect) = protect
        && unit.shared.protect(protect)
    {
        unit.shared.tell_others(unit.mailbox(), Attention::ModeParametersChanged);
    }
    Ok(Reply::good())
}
