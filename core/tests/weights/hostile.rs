//! Random and mutated files: never a panic, never more memory than the file justifies.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::prelude::*;

use crate::common::{Made, open, safetensors};

/// Bytes of memory that one byte of a file may cost: an empty tuple is one byte of a pickle, and a
/// growing list of lists holds its old and its new copy.
const MEMORY_PER_BYTE: usize = 160;
/// What opening costs for a file of any size.
const MEMORY_ANYWAY: usize = 256 * 1024;

/// Counts what each thread holds at most.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens the file and reads all of it, as far as it goes, within the limit of memory.
fn survive(bytes: &[u8]) {
    let length = bytes.len();
    let bytes = bytes.to_vec();
    let before = HELD.get();
    MOST.set(before);
    if let Ok(file) = open(bytes) {
        for name in file.tensors().keys() {
            let _ = pollster::block_on(file.read(name)).map(|tensor| tensor.bytes.len());
        }
    }
    let most = usize::try_from(MOST.get() - before).unwrap_or(0);
    let limit = length * MEMORY_PER_BYTE + MEMORY_ANYWAY;
    assert!(
        most <= limit,
        "{most} bytes of memory for a file of {length}"
    );
}

/// A sound file of each format.
fn sound(format: usize) -> Vec<u8> {
    match format {
        0 => safetensors(&[
            Made::counting("a.weight", &[2, 3], 0.0),
            Made::counting("b.weight", &[4], 0.0),
        ]),
        1 => crate::gguf::sample(),
        2 => crate::pickle::sample(),
        _ => crate::pickle::legacy_sample(),
    }
}

const FORMATS: usize = 4;

/// What mutations write: numbers at the edges of their types, and instructions of pickles.
fn splice() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9),
        prop::sample::select(vec![
            0u64,
            1,
            0x7fff_ffff,
            0xffff_ffff,
            1 << 40,
            i64::MAX as u64,
            u64::MAX
        ])
        .prop_map(|number| number.to_le_bytes().to_vec()),
        prop::sample::select(
            b"(.0NKMJXBCGc)]}etuasqrhjRbQ\x80\x81\x85\x8a\x8c\x8d\x93\x94\x95".to_vec()
        )
        .prop_map(|code| vec![code]),
    ]
}

#[test]
fn every_sound_file_survives() {
    for format in 0..FORMATS {
        let bytes = sound(format);
        assert!(open(bytes.clone()).is_ok());
        survive(&bytes);
    }
}

#[test]
fn the_most_expensive_bytes_stay_within_the_limit() {
    use crate::common::{Pickle, torch_zip};
    use x2i_core::weights::gguf::{GgufWriter, MetaType, MetaValue};
    for code in [b")", b"}", b"]", b"N"] {
        let pickle = Pickle(code.repeat(1_000_000)).stop();
        survive(&torch_zip(pickle, &[]));
    }
    let bytes = MetaValue::Array(MetaType::U8, vec![MetaValue::U8(0); 1_000_000]);
    let writer = GgufWriter::new(vec![("k".to_owned(), bytes)], Vec::new()).expect("a plan");
    let file = writer
        .start("out.gguf", Vec::new())
        .and_then(|body| body.finish());
    survive(&file.expect("a file"));
    survive(&crate::common::raw_safetensors(
        &format!("{{\"a\":{}", "[".repeat(1_000_000)),
        &[],
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_survive(
        magic in prop::sample::select(vec![
            &b""[..],
            b"GGUF\x03\0\0\0",
            b"GGUF\x02\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0",
            b"PK\x03\x04",
            b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.",
            b"\x20\0\0\0\0\0\0\0{",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        survive(&[magic, &rest].concat());
    }

    #[test]
    fn mutated_files_survive(
        format in 0..FORMATS,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), splice(), any::<bool>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sound(format);
        for (at, splice, insert) in mutations {
            let at = at.index(bytes.len());
            let end = if insert { at } else { bytes.len().min(at + splice.len()) };
            bytes.splice(at..end, splice);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survive(&bytes);
    }

    #[test]
    fn random_pickles_survive(
        instructions in prop::collection::vec(splice(), 0..200),
    ) {
        let pickle = [&b"\x80\x02}("[..], &instructions.concat(), b"u."].concat();
        survive(&crate::common::torch_zip(pickle, &[vec![0; 24]]));
    }
}
