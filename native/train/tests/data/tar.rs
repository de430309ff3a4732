//! Tar files made in a test.

use std::fs;
use std::path::Path;

/// A header with a right checksum.
pub fn header(name: &str, size: u64, kind: u8) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

/// Puts the checksum in.
pub fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A member, padded to blocks.
pub fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut member = header(name, bytes.len() as u64, b'0');
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

/// A sample of a caption alone.
pub fn caption(key: &str, caption: &str) -> Vec<u8> {
    let json = serde_json::json!({ "caption_en": caption }).to_string();
    member(&format!("{key}.json"), json.as_bytes())
}

/// Writes a tar with its end marker; gives its path.
pub fn write(folder: &Path, name: &str, members: &[Vec<u8>]) -> String {
    let mut tar = members.concat();
    tar.extend([0; 1024]);
    let path = folder.join(name);
    fs::write(&path, tar).unwrap();
    path.display().to_string()
}
