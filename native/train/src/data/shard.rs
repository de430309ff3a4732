//! The samples of one shard: neighbours with one key.

use x2i_core::Result;

use super::entry::{Entry, Place};
use super::file::DataFile;
use super::name::{Named, parse};
use super::problem::{Note, Problem};
use super::tar::{Member, Members, Stop};

/// Goes through a shard and hands over every sample as soon as it is whole; gives what is wrong with the
/// shard. `number` is its place among the data set's files.
///
/// # Errors
/// When the file can't be read, and what `on_entry` gives. A broken tar is a note.
pub(super) fn read(
    file: &DataFile,
    number: u32,
    source: u32,
    on_entry: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<Vec<Note>> {
    let mut notes = vec![];
    let mut members = Members::of(file);
    let mut group: Option<Entry> = None;
    let note = |key, byte, problem| Note {
        file: file.name().to_owned(),
        key,
        byte,
        problem,
    };
    loop {
        match members.next() {
            Ok(Some(member)) => {
                let Some((part, ext)) = named(&member.name, source) else {
                    continue;
                };
                if group.as_ref().is_none_or(|group| group.key != part.key) {
                    group.take().map_or(Ok(()), &mut *on_entry)?;
                }
                let group = group.get_or_insert(part);
                if !add(group, &ext, place(number, &member)) {
                    let key = Some(group.key.clone());
                    notes.push(note(key, None, Problem::DuplicateMember(ext)));
                }
            }
            Ok(None) => break,
            Err(Stop::Broken {
                problem,
                byte,
                name,
            }) => {
                let key = name.and_then(|name| named(&name, source));
                let key = key.map(|(part, _)| part.key);
                // The sample of a member that is cut is not whole.
                let cut = group.take_if(|group| Some(&group.key) == key.as_ref());
                let key = key.or(cut.map(|cut| cut.key));
                notes.push(note(key, Some(byte), problem));
                break;
            }
            Err(Stop::Unread(error)) => return Err(error),
        }
    }
    group.map_or(Ok(()), on_entry)?;
    Ok(notes)
}

/// The sample that a name belongs to, empty, and the name's ending.
fn named(name: &[u8], source: u32) -> Option<(Entry, String)> {
    let text = String::from_utf8_lossy(name);
    let Named::Part {
        key,
        ext,
        leads_out,
    } = parse(&text)
    else {
        return None;
    };
    let mut entry = Entry::new(key, source);
    // A key that is not UTF-8 can't be told from another one.
    entry.leads_out = leads_out || std::str::from_utf8(name).is_err();
    Some((entry, ext))
}

fn place(file: u32, member: &Member) -> Place {
    Place::Range {
        file,
        at: member.at,
        size: member.size,
    }
}

/// Puts a member into its sample; false when its place is taken. Members of unknown endings are passed
/// over: nothing of them is ever read.
fn add(group: &mut Entry, ext: &str, place: Place) -> bool {
    let slot = match ext {
        "json" => &mut group.json,
        "txt" => &mut group.txt,
        "jpg" | "jpeg" => &mut group.picture,
        "png" => &mut group.edited,
        "webp" => &mut group.other,
        "hint.png" | "hint.jpg" | "hint.jpeg" | "hint.webp" => &mut group.hint,
        _ => return true,
    };
    let free = slot.is_none();
    if free {
        *slot = Some(place);
    }
    free
}
