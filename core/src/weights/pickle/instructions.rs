//! The instructions of a pickle: those that `torch.save` emits for state dicts, and no others.
//!
//! The table in [`Instruction::read`] says which bytes an instruction has; `machine` says what it
//! does. The comments are Python's names. Source: `pickletools`.

use crate::weights::cursor::{Cursor, Stop};

use super::values::Value;

/// The longest text or byte string, in bytes; names and configs are far shorter.
const MAX_TEXT: u64 = 16 << 20;

/// An instruction with its operands.
pub(super) enum Instruction<'a> {
    /// Changes nothing.
    Nothing,
    /// Ends the pickle; its result is on top of the stack.
    End,
    /// Remembers the stack's height.
    Mark,
    /// Drops the top.
    Pop,
    /// Pushes a value.
    Push(Value),
    /// Pushes a text.
    Text(&'a str),
    /// Pushes an empty tuple, list or set.
    EmptySequence,
    /// Pushes an empty dictionary.
    EmptyDict,
    /// Joins so many values from the top.
    Join(usize),
    /// Joins the values above the mark.
    JoinMarked,
    /// Appends the top to the list under it.
    Append,
    /// Appends the values above the mark to the list or set under it.
    AppendMarked,
    /// Puts the two values on top, a key and its value, into the dictionary under them.
    SetItem,
    /// Puts the keys and values above the mark into the dictionary under it.
    SetMarked,
    /// Remembers the top under a number.
    Put(u64),
    /// Remembers the top under the next number.
    Memoize,
    /// Pushes what is remembered under a number.
    Get(u64),
    /// Pushes what a module has under a name.
    Global { module: &'a str, name: &'a str },
    /// The same; the module and the name are the two texts on top.
    StackGlobal,
    /// Calls the function under the top with the arguments on top.
    Reduce,
    /// Sets the state of the object under the top to the top.
    Build,
    /// Pushes the storage that the top describes.
    PersistentId,
}

impl<'a> Instruction<'a> {
    /// Reads the instruction at the cursor.
    ///
    /// # Errors
    /// For an instruction that no state dict needs, and for operands beyond their limits.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, Stop> {
        let at = cursor.position();
        Ok(match cursor.u8()? {
            0x80 => protocol(cursor)?,  // PROTO
            0x95 => frame(cursor, at)?, // FRAME
            b'.' => Self::End,          // STOP
            b'(' => Self::Mark,
            b'0' => Self::Pop,
            b'N' => Self::Push(Value::None),
            0x88 => Self::Push(Value::Bool(true)),  // NEWTRUE
            0x89 => Self::Push(Value::Bool(false)), // NEWFALSE
            b'K' => int(cursor.u8()?),              // BININT1
            b'M' => int(cursor.u16()?),             // BININT2
            b'J' => int(i32::from_le_bytes(cursor.array()?)), // BININT
            0x8a => long(cursor)?,                  // LONG1
            b'G' => Self::Push(Value::Float(f64::from_be_bytes(cursor.array()?))), // BINFLOAT
            // Python 2 writes the second of each pair.
            b'X' | b'T' => text(cursor.u32()?.into(), cursor, at)?, // BINUNICODE, BINSTRING
            0x8c | b'U' => text(cursor.u8()?.into(), cursor, at)?, // SHORT_BINUNICODE, SHORT_BINSTRING
            0x8d => text(cursor.u64()?, cursor, at)?,              // BINUNICODE8
            b'B' => bytes(cursor.u32()?.into(), cursor, at)?,      // BINBYTES
            b'C' => bytes(cursor.u8()?.into(), cursor, at)?,       // SHORT_BINBYTES
            0x8e => bytes(cursor.u64()?, cursor, at)?,             // BINBYTES8
            b')' | b']' | 0x8f => Self::EmptySequence, // EMPTY_TUPLE, EMPTY_LIST, EMPTY_SET
            b'}' => Self::EmptyDict,
            code @ 0x85..=0x87 => Self::Join(usize::from(code - 0x84)), // TUPLE1, TUPLE2, TUPLE3
            b't' | b'l' | 0x91 => Self::JoinMarked,                     // TUPLE, LIST, FROZENSET
            b'a' => Self::Append,
            b'e' | 0x90 => Self::AppendMarked, // APPENDS, ADDITEMS
            b's' => Self::SetItem,
            b'u' => Self::SetMarked,                 // SETITEMS
            b'q' => Self::Put(cursor.u8()?.into()),  // BINPUT
            b'r' => Self::Put(cursor.u32()?.into()), // LONG_BINPUT
            0x94 => Self::Memoize,
            b'h' => Self::Get(cursor.u8()?.into()),  // BINGET
            b'j' => Self::Get(cursor.u32()?.into()), // LONG_BINGET
            b'c' => global(cursor)?,
            0x93 => Self::StackGlobal,
            b'R' => Self::Reduce,
            b'b' => Self::Build,
            b'Q' => Self::PersistentId, // BINPERSID
            code => {
                return Err(Stop::bad(format!(
                    "the pickle's instruction {code:#04x} at byte {at} is none of a state dict's"
                )));
            }
        })
    }
}

fn protocol<'a>(cursor: &mut Cursor<'a>) -> Result<Instruction<'a>, Stop> {
    match cursor.u8()? {
        2..=5 => Ok(Instruction::Nothing),
        version => Err(Stop::bad(format!(
            "pickle protocol {version} can't be read"
        ))),
    }
}

/// The length of what follows: only a hint for buffering.
fn frame<'a>(cursor: &mut Cursor<'a>, at: u64) -> Result<Instruction<'a>, Stop> {
    let length = cursor.u64()?;
    if length > cursor.remaining() {
        return Err(Stop::bad(format!(
            "the pickle's frame at byte {at} claims {length} bytes, more than the file"
        )));
    }
    Ok(Instruction::Nothing)
}

fn int<'a>(number: impl Into<i64>) -> Instruction<'a> {
    Instruction::Push(Value::Int(number.into()))
}

/// A little-endian integer in two's complement; one of more than 64 bits is opaque.
fn long<'a>(cursor: &mut Cursor<'a>) -> Result<Instruction<'a>, Stop> {
    let length = cursor.u8()?;
    let bytes = cursor.take(length.into())?;
    if bytes.len() > 8 {
        return Ok(Instruction::Push(Value::Opaque));
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Ok(int(i64::from_le_bytes(whole)))
}

fn text<'a>(length: u64, cursor: &mut Cursor<'a>, at: u64) -> Result<Instruction<'a>, Stop> {
    check_length(length, at)?;
    cursor.text(length, "pickle's text").map(Instruction::Text)
}

fn bytes<'a>(length: u64, cursor: &mut Cursor<'a>, at: u64) -> Result<Instruction<'a>, Stop> {
    check_length(length, at)?;
    cursor.take(length)?;
    Ok(Instruction::Push(Value::Opaque))
}

fn check_length(length: u64, at: u64) -> Result<(), Stop> {
    if length > MAX_TEXT {
        return Err(Stop::bad(format!(
            "the pickle's text at byte {at} claims {length} bytes, the limit is {MAX_TEXT}"
        )));
    }
    Ok(())
}

fn global<'a>(cursor: &mut Cursor<'a>) -> Result<Instruction<'a>, Stop> {
    let (module, name) = (line(cursor)?, line(cursor)?);
    Ok(Instruction::Global { module, name })
}

/// A line of text up to its newline.
fn line<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Stop> {
    /// Far over any module's or function's name.
    const MAX_LINE: usize = 256;
    let mut ahead = cursor.clone();
    for length in 0..MAX_LINE {
        if ahead.u8()? == b'\n' {
            let text = cursor.text(length as u64, "pickle's global")?;
            cursor.u8()?;
            return Ok(text);
        }
    }
    Err(damaged(cursor.position()))
}

/// The pickle contradicts itself at a byte.
pub(super) fn damaged(at: u64) -> Stop {
    Stop::bad(format!("the pickle is damaged at byte {at}"))
}
