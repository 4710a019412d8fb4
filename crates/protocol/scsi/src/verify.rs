//! VERIFY and WRITE AND VERIFY (SBC-4 5.37 to 5.39, 5.44 to 5.46): is what is there readable, and is it what it should be?

use std::rc::Rc;

use quarry_env::View;
use quarry_volume::{Volume, WriteFlags};

use crate::cdb::Cdb;
use crate::command::{ByteCheck, Step, Work};
use crate::course::Course;
use crate::limits::{BLOCK_BYTES, STEP_BYTES};
use crate::read_write::{check_protection, failed, transfer, whole_blocks};
use crate::reply::Reply;
use crate::sense::{Code, Key, Sense};
use crate::unit::{Range, Unit};

fn byte_check(cdb: &Cdb) -> Result<ByteCheck, Sense> {
    match cdb.u8(1) >> 1 & 3 {
        0 => Ok(ByteCheck::None),
        1 => Ok(ByteCheck::Each),
        3 => Ok(ByteCheck::One),
        _ => Err(Sense::field_in_cdb(1)),
    }
}

pub(crate) fn verify(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    check_protection(cdb)?;
    let check = byte_check(cdb)?;
    // MAXIMUM TRANSFER LENGTH bounds it also where no data is sent (SBC-4 6.6.4).
    let range = transfer(unit, cdb)?;
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    let out_bytes = match check {
        ByteCheck::None => 0,
        ByteCheck::Each => range.bytes() as u32,
        ByteCheck::One => BLOCK_BYTES,
    };
    Ok(Step::in_steps(Work::Verify { range, check }, range, out_bytes))
}

pub(crate) fn write_and_verify(unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    check_protection(cdb)?;
    let check = byte_check(cdb)?;
    if check == ByteCheck::One {
        return Err(Sense::field_in_cdb(1));
    }
    let range = transfer(unit, cdb)?;
    if range.blocks == 0 {
        return unit.volume().map(|_| Reply::good().into());
    }
    Ok(Step::in_steps(Work::WriteAndVerify { range, check }, range, range.bytes() as u32))
}

fn miscompare(at: u64) -> Sense {
    Sense::new(Key::Miscompare, Code::MISCOMPARE).at(at)
}

/// Reads `bytes` from `offset` on, and compares them with `expected`, which is repeated where it is shorter.
async fn look(
    unit: &Unit,
    volume: &dyn Volume,
    offset: u64,
    bytes: u64,
    expected: Option<&[u8]>,
    course: &Course,
) -> Result<(), Sense> {
    let mut done = 0;
    while done < bytes {
        course.go_on()?;
        let now = (bytes - done).min(u64::from(STEP_BYTES));
        let at = offset + done;
        let read = volume.read(at, now as u32).await;
        let views = read.map_err(|error| failed(unit, &error, at / u64::from(BLOCK_BYTES)))?;
        if let Some(expected) = expected {
            let mut position = done as usize;
            for view in &views {
                compare(view, expected, position)?;
                position += view.len();
            }
        }
        done += now;
    }
    Ok(())
}

/// Compares `found`, which begins `position` bytes behind the start of the range.
fn compare(found: &[u8], expected: &[u8], position: usize) -> Result<(), Sense> {
    let mut at = 0;
    while at < found.len() {
        let start = (position + at) % expected.len();
        let count = (found.len() - at).min(expected.len() - start);
        let (ours, theirs) = (&found[at..at + count], &expected[start..start + count]);
        if ours != theirs {
            let differs = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
            return Err(miscompare((position + at + differs.unwrap_or(0)) as u64));
        }
        at += count;
    }
    Ok(())
}

pub(crate) async fn perform_verify(
    unit: &Rc<Unit>,
    range: Range,
    check: ByteCheck,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    let volume = unit.volume()?;
    let (bytes, expected) = match (check, &data) {
        (ByteCheck::None, _) => (range.bytes(), None),
        (ByteCheck::Each, Some(data)) => (data.len() as u64 / u64::from(BLOCK_BYTES), Some(&data[..])),
        (ByteCheck::One, Some(data)) if data.len() == BLOCK_BYTES as usize => {
            (range.bytes(), Some(&data[..]))
        }
        _ => return Err(Sense::illegal(Code::INVALID_FIELD_IN_COMMAND_UNIT)),
    };
    let bytes = if check == ByteCheck::Each { bytes * u64::from(BLOCK_BYTES) } else { bytes };
    look(unit, volume.as_ref(), range.offset(), bytes, expected, course).await?;
    Ok(Reply::good())
}

pub(crate) async fn perform_write_and_verify(
    unit: &Rc<Unit>,
    range: Range,
    check: ByteCheck,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    let Some(data) = whole_blocks(data) else { return Ok(Reply::good()) };
    let volume = unit.volume()?;
    let fua = WriteFlags { fua: true };
    let written = volume.write(range.offset(), data.clone(), fua).await;
    written.map_err(|error| failed(unit, &error, range.lba))?;
    let expected = (check == ByteCheck::Each).then_some(&data[..]);
    look(unit, volume.as_ref(), range.offset(), data.len() as u64, expected, course).await?;
    Ok(Reply::good())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_also_where_the_pattern_is_repeated() {
        let at = |found: &[u8], expected: &[u8], position| {
            compare(found, expected, position).err().map(|sense| sense.information)
        };
        assert_eq!(at(b"abcdef", b"abcdef", 0), None);
        assert_eq!(at(b"def", b"abcdef", 3), None);
        assert_eq!(at(b"dxf", b"abcdef", 3), Some(Some(4)));
        assert_eq!(at(b"bababa", b"ab", 1), None);
        assert_eq!(at(b"babbba", b"ab", 1), Some(Some(4)));
    }
}
