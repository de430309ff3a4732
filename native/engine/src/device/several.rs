//! Several devices: their list (`wgpu:0,wgpu:1`), and opening all of it.

use std::fmt;
use std::str::FromStr;

use x2i_core::{Error, Result};

use super::acquire::{acquire_with, find, open_entry};
use super::choice::DeviceChoice;
use super::entry::{DeviceEntry, DeviceKind};
use super::list::list;
use super::opened::OpenDevice;
use super::precision::Precision;

/// One device or several, in the order in which they get a model's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList(Vec<DeviceChoice>);

impl Default for DeviceList {
    fn default() -> Self {
        DeviceChoice::Auto.into()
    }
}

impl From<DeviceChoice> for DeviceList {
    fn from(choice: DeviceChoice) -> Self {
        Self(vec![choice])
    }
}

impl FromStr for DeviceList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list = vec![];
        for name in text.split(',') {
            if name.is_empty() && !text.is_empty() {
                return Err("has an empty entry; separate devices with one comma".into());
            }
            let choice = name.parse()?;
            if list.contains(&choice) {
                return Err(twice(name));
            }
            list.push(choice);
        }
        Ok(Self(list))
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(","))
    }
}

fn twice(name: &str) -> String {
    format!("{name} is named twice; give each device once")
}

/// Opens all devices of a list. A CPU beside other devices multiplies in f32, whatever these do.
///
/// # Errors
/// As [`acquire_with`]; [`Error::Device`] when two names are of one device.
pub fn acquire_all(devices: &DeviceList, precision: Precision) -> Result<Vec<OpenDevice>> {
    if let [choice] = devices.0[..] {
        return Ok(vec![acquire_with(choice, precision)?]);
    }
    let entries = list();
    let mut chosen: Vec<&DeviceEntry> = vec![];
    for &choice in &devices.0 {
        let entry = find(&entries, choice)?;
        if chosen.iter().any(|known| known.id == entry.id) {
            return Err(Error::device(devices.to_string(), twice(&entry.id)));
        }
        chosen.push(entry);
    }
    let open = |entry| open_entry(entry, precision_beside(entry, precision));
    chosen.into_iter().map(open).collect()
}

fn precision_beside(entry: &DeviceEntry, precision: Precision) -> Precision {
    match entry.kind {
        DeviceKind::Cpu => Precision::F32,
        DeviceKind::Wgpu | DeviceKind::Cuda => precision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written_back() {
        for text in ["auto", "cpu", "wgpu:0,wgpu:1", "cuda:1,cuda:0,cpu"] {
            let list: DeviceList = text.parse().expect(text);
            assert_eq!(list.to_string(), text);
        }
        assert_eq!("auto".parse(), Ok(DeviceList::default()));
    }

    #[test]
    fn empty_unknown_and_repeated_entries_are_refused() {
        let refused = |text: &str| text.parse::<DeviceList>().unwrap_err();
        for text in ["cpu,", ",cpu", "wgpu:0,,cpu"] {
            assert!(refused(text).starts_with("has an empty entry"), "{text}");
        }
        for text in ["", "cpu,tpu", "wgpu:0, cpu"] {
            assert!(refused(text).contains("this machine has cpu"), "{text}");
        }
        assert_eq!(refused("wgpu:1,cpu,wgpu:1"), twice("wgpu:1"));
    }

    #[test]
    fn two_names_of_one_device_are_refused() {
        let gpu = list().into_iter().any(|entry| entry.id == "wgpu:0");
        if !gpu {
            eprintln!("skipped: this machine has no wgpu adapter");
            return;
        }
        let list = "wgpu,wgpu:0".parse().expect("two names");
        let error = acquire_all(&list, Precision::Auto)
            .err()
            .expect("one device");
        let expected = "device wgpu,wgpu:0: wgpu:0 is named twice; give each device once";
        assert_eq!(error.to_string(), expected);
    }
}
