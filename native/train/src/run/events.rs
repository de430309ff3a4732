//! TensorBoard's event files: records of protocol buffers, of which two kinds of messages are written.
//!
//! Source: tensorflow's `event.proto`, `summary.proto` and `record_writer.cc`. A record is its length, the masked CRC-32C
//! of that, the message, and the masked CRC-32C of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use x2i_core::Result;
use x2i_engine::files::io_error;
use x2i_engine::output::create_folder;

/// A file of events, which TensorBoard reads while it grows.
#[derive(Debug)]
pub(super) struct Events {
    name: String,
    file: File,
}

impl Events {
    /// Begins a file in `folder`: each start of a run has its own.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        let now = seconds();
        let path = folder.join(format!(
            "events.out.tfevents.{:010}.x2i.{}",
            now as u64,
            std::process::id()
        ));
        let name = path.display().to_string();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut events = Self {
            file: file.map_err(|error| io_error(&name, error))?,
            name,
        };
        let mut event = vec![];
        double(&mut event, 1, now);
        bytes(&mut event, 3, b"brain.Event:2");
        events.write(&event)?;
        Ok(events)
    }

    /// Adds a number to the curve of a name.
    pub(super) fn scalar(&mut self, step: u64, name: &str, number: f64) -> Result<()> {
        let mut value = vec![];
        bytes(&mut value, 1, name.as_bytes());
        key(&mut value, 2, 5);
        value.extend((number as f32).to_le_bytes());
        self.summary(step, &value)
    }

    /// Adds a picture, a PNG file, under a name.
    pub(super) fn picture(
        &mut self,
        step: u64,
        name: &str,
        [width, height]: [usize; 2],
        png: &[u8],
    ) -> Result<()> {
        let mut image = vec![];
        for (field, number) in [(1, height as u64), (2, width as u64), (3, 3)] {
            key(&mut image, field, 0);
            varint(&mut image, number);
        }
        bytes(&mut image, 4, png);
        let mut value = vec![];
        bytes(&mut value, 1, name.as_bytes());
        bytes(&mut value, 4, &image);
        self.summary(step, &value)
    }

    fn summary(&mut self, step: u64, value: &[u8]) -> Result<()> {
        let mut summary = vec![];
        bytes(&mut summary, 1, value);
        let mut event = vec![];
        double(&mut event, 1, seconds());
        key(&mut event, 2, 0);
        varint(&mut event, step);
        bytes(&mut event, 5, &summary);
        self.write(&event)
    }

    fn write(&mut self, message: &[u8]) -> Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(message);
        record.extend(masked(message).to_le_bytes());
        let written = self.file.write_all(&record);
        written.map_err(|error| io_error(&self.name, error))
    }
}

fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs_f64())
}

/// A field's number and its wire type: 0 a number, 1 eight bytes, 2 bytes with a length, 5 four bytes.
fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn double(out: &mut Vec<u8>, field: u64, number: f64) {
    key(out, field, 1);
    out.extend(number.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// CRC-32C, turned and shifted, so that a record may hold records.
fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    /// Castagnoli's polynomial, reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (POLYNOMIAL * low);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnolis() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }

    #[test]
    fn a_scalar_is_the_message_that_protocol_buffers_make() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path()).unwrap();
        events.scalar(300, "loss", 0.5).unwrap();
        let file = std::fs::read(&events.name).unwrap();
        // The second record: its length follows the first one.
        let first = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize + 16;
        let message = &file[first + 12..file.len() - 4];
        // Past the time: step 300, then the summary with tag and value.
        let expected = [
            &[0x10, 0xac, 0x02, 0x2a, 0x0d, 0x0a, 0x0b, 0x0a, 0x04][..],
            b"loss",
            &[0x15, 0, 0, 0, 0x3f],
        ]
        .concat();
        assert_eq!(message[9..], expected);
    }
}
