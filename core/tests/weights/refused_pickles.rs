//! Hostile pickles and broken archives: one refusal per fault, nothing executed.

use crate::common::{
    Pickle, Width, Zipped, assert_refused, open, opened, torch_entries, torch_zip, values, zip,
};
use crate::pickle::{numbers, sample, view, with};

#[test]
fn a_global_outside_the_list_is_named_and_not_run() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "scalar"),
    ] {
        let attack = Pickle::new()
            .global(module, name)
            .text("touch /tmp/owned")
            .raw(b"\x85R0");
        assert_refused(
            with(attack),
            &[&format!("{module}.{name}"), "nothing was executed"],
        );
        let attack = Pickle::new().text(module).text(name).raw(b"\x930");
        assert_refused(with(attack), &[&format!("{module}.{name}")]);
    }
}

#[test]
fn calls_of_anything_else_are_refused() {
    let call = |callable: Pickle| with(callable.raw(b")R0"));
    assert_refused(
        call(Pickle::new().global("torch", "FloatStorage")),
        &["no function"],
    );
    assert_refused(call(Pickle::new().text("print")), &["no function"]);
    assert_refused(call(Pickle::new().raw(b"}")), &["no function"]);
    assert_refused(
        call(Pickle::new().global("torch", "Size")),
        &["torch.Size", "unexpected"],
    );
    let rebuild = Pickle::new().global("torch._utils", "_rebuild_tensor_v2");
    assert_refused(call(rebuild), &["rebuilt from unexpected"]);
    let state = Pickle::new().global("torch", "Size").raw(b"}b0");
    assert_refused(with(state), &["state"]);
}

#[test]
fn instructions_that_build_objects_are_refused() {
    // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, NEXT_BUFFER
    for code in [b'i', b'o', 0x81, 0x92, 0x82, b'P', 0x97] {
        let attack = Pickle::new().raw(&[b'(', code, 1, b'\n', b'\n']);
        assert_refused(with(attack), &[&format!("{code:#04x}")]);
    }
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    let max = u64::MAX.to_le_bytes();
    let huge = (1u64 << 40).to_le_bytes();
    for length in [max, huge] {
        assert_refused(with(Pickle::new().raw(b"\x95").raw(&length)), &["frame"]);
        assert_refused(with(Pickle::new().raw(b"\x8d").raw(&length)), &["limit"]);
        assert_refused(with(Pickle::new().raw(b"\x8e").raw(&length)), &["limit"]);
    }
    let text = Pickle::new().raw(b"X\xff\xff\xff\x00");
    assert_refused(with(text), &["truncated"]);
    assert_refused(with(Pickle::new().raw(b"X\xff\xff\xff\xff")), &["limit"]);
    assert_refused(
        with(Pickle::new().raw(b"c").raw(&[b'a'; 4000])),
        &["damaged"],
    );
}

#[test]
fn a_huge_memo_index_costs_nothing() {
    let start = Pickle::new().raw(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff00");
    assert_eq!(values(&opened(with(start)), "a").len(), 6);
    assert_refused(with(Pickle::new().raw(b"j\xfe\xff\xff\xff")), &["damaged"]);
}

#[test]
fn the_stack_can_not_be_underrun() {
    for code in [
        b'0', b't', b'e', b'u', b's', b'a', b'R', b'Q', b'b', 0x85, 0x93, b'q', 0x94, b'.',
    ] {
        assert_refused(torch_zip(vec![0x80, 2, code, 0], &[]), &["damaged"]);
        // A mark protects what lies below it.
        if !matches!(code, b't' | b'e' | b'u' | b'q' | 0x94) {
            assert_refused(
                torch_zip(vec![0x80, 2, b'N', b'(', code], &[]),
                &["damaged"],
            );
        }
    }
}

#[test]
fn recursion_has_an_end() {
    // A million tuples in each other, then a dictionary that holds itself.
    let mut deep = Pickle::new().raw(b")");
    deep.0.resize(1_000_000, 0x85);
    assert_eq!(values(&opened(with(deep.raw(b"0"))), "a").len(), 6);
    let own = Pickle::new()
        .raw(b"}q\x00(")
        .text("a")
        .raw(b"h\x00u")
        .stop();
    assert_refused(torch_zip(own, &[]), &["deep"]);
    let config = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("0", 6, 0, &[6], &[1]);
    let config = config
        .text("config")
        .raw(b"}q\x00(")
        .text("x")
        .raw(b"h\x00uu")
        .stop();
    assert_refused(torch_zip(config, &[numbers(6)]), &["deep"]);
    let list = Pickle::new().raw(b"]q\x00h\x00a.").0;
    assert_refused(torch_zip(list, &[]), &["no dictionary"]);
}

#[test]
fn a_dictionary_that_doubles_itself_is_refused() {
    let mut laughs = Pickle::new()
        .raw(b"}q\x00(")
        .text("a")
        .tensor("0", 6, 0, &[6], &[1])
        .raw(b"u");
    for level in 1..14u8 {
        laughs = laughs.raw(b"}q").raw(&[level]).raw(b"(");
        for key in 0..10 {
            laughs = laughs.text(&format!("k{key}")).raw(&[b'h', level - 1]);
        }
        laughs = laughs.raw(b"u");
    }
    assert_refused(torch_zip(laughs.stop(), &[numbers(6)]), &["too often"]);
}

#[test]
fn views_outside_their_storage_are_refused() {
    assert_refused(view(6, 1, &[6], &[1]), &["leaves its storage 0"]);
    assert_refused(view(6, 0, &[2, 2], &[5, 1]), &["leaves its storage 0"]);
    assert_refused(
        view(6, 0, &[1 << 30, 1 << 30], &[0, 0]),
        &["leaves its storage 0"],
    );
    assert_refused(view(6, 0, &[i32::MAX; 4], &[1, 1, 1, 1]), &["overflows"]);
    assert_refused(
        view(6, 0, &[2, 2, 2], &[i32::MAX; 3]),
        &["leaves its storage 0"],
    );
    assert_refused(view(6, -1, &[1], &[1]), &["storage 0", "no number from 0"]);
    assert_refused(view(6, 0, &[-1], &[1]), &["storage 0", "no number from 0"]);
    assert_refused(view(6, 0, &[3], &[-1]), &["storage 0", "no number from 0"]);
    assert_refused(view(6, 0, &[6], &[1, 1]), &["1 sizes and 2 strides"]);
    assert_refused(view(6, 0, &[1; 9], &[1; 9]), &["9 sizes"]);
    assert_refused(view(7, 0, &[7], &[1]), &["archive/data/0", "7 elements"]);
    assert_refused(view(i32::MAX, 0, &[6], &[1]), &["archive/data/0"]);
}

#[test]
fn other_storages_and_names_are_refused() {
    let strange = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("9", 6, 0, &[6], &[1])
        .raw(b"u");
    assert_refused(
        torch_zip(strange.stop(), &[numbers(6)]),
        &["no `archive/data/9`"],
    );
    let twice = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("0", 6, 0, &[6], &[1]);
    let twice = twice
        .text("a")
        .tensor("0", 6, 0, &[6], &[1])
        .raw(b"u")
        .stop();
    assert_refused(torch_zip(twice, &[numbers(6)]), &["`a`", "twice"]);
    let unsure = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("0", 6, 0, &[6], &[1]);
    let unsure = unsure
        .text("b")
        .tensor("0", 5, 0, &[5], &[1])
        .raw(b"u")
        .stop();
    assert_refused(torch_zip(unsure, &[numbers(6)]), &["storage 0", "two ways"]);
    let complex = Pickle::new()
        .global("torch", "ComplexFloatStorage")
        .raw(b"0");
    assert_refused(with(complex), &["torch.ComplexFloatStorage"]);
    let empty = Pickle::new().raw(b"}").stop();
    assert_refused(torch_zip(empty, &[]), &["no tensors"]);
    assert_refused(
        torch_zip(Pickle::new().int(1).stop(), &[]),
        &["no dictionary"],
    );
    assert_refused(torch_zip(vec![0x80, 1, b'.'], &[]), &["protocol 1"]);
}

#[test]
fn broken_archives_are_refused() {
    let whole = sample();
    for length in 0..whole.len() {
        assert!(open(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert_refused(whole[..whole.len() - 1].to_vec(), &["damaged"]);
    let end = whole.len() - 22;
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    assert_refused(
        changed(end + 16, &u32::MAX.to_le_bytes()),
        &["outside the file"],
    );
    assert_refused(
        changed(end + 12, &0x7fff_ffffu32.to_le_bytes()),
        &["outside the file"],
    );
    assert_refused(changed(end + 16, &[0; 4]), &["directory is damaged"]);
    assert_refused(changed(end + 8, &[9, 0, 9, 0]), &["truncated"]);
    assert_refused(changed(end + 4, &[1]), &["disks"]);
    let directory = whole
        .windows(4)
        .position(|w| w == b"PK\x01\x02")
        .expect("a directory");
    let path = "archive/data.pkl";
    assert_refused(
        changed(directory + 42, &[255, 255, 255, 0]),
        &[path, "outside"],
    );
    assert_refused(changed(directory + 42, &[3]), &[path, "outside"]);
    let long = [255, 255, 255, 0, 255, 255, 255, 0];
    assert_refused(changed(directory + 20, &long), &[path, "outside"]);
    assert_refused(changed(directory + 24, &[1]), &[path, "two lengths"]);
}

#[test]
fn entries_that_torch_never_writes_are_refused() {
    let entries = || torch_entries(Pickle::new().raw(b"}").stop(), &[]);
    let refused = |change: &dyn Fn(&mut Vec<Zipped>), parts: &[&str]| {
        let mut entries = entries();
        change(&mut entries);
        assert_refused(zip(&entries, Width::Bits32), parts);
    };
    // A zip bomb is a compressed entry.
    refused(
        &|entries| entries[0].method = 8,
        &["archive/data.pkl", "compressed"],
    );
    refused(
        &|entries| entries[1].flags = 1,
        &["archive/byteorder", "encrypted"],
    );
    refused(
        &|entries| entries[1].bytes = b"big".to_vec(),
        &["little-endian"],
    );
    refused(
        &|entries| entries[1] = entries[0].clone(),
        &["archive/data.pkl", "twice"],
    );
    refused(
        &|entries| entries[1].path = "b/data.pkl".to_owned(),
        &["several data.pkl"],
    );
    refused(&|entries| drop(entries.remove(0)), &["no data.pkl"]);
}
