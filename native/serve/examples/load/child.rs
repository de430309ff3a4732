//! The server in a process of its own, and what the system tells of it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::outcome::Outcome;

/// The program of this repository.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/release/x2i")
}

/// A server that ends with its value.
pub struct Serving {
    child: Child,
    pub address: SocketAddr,
}

impl Serving {
    /// Starts it with these flags beside a free port and the CPU.
    pub fn start(flags: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(program());
        command
            .args(["serve", "--port", "0", "--device", "cpu", "--log", "error"])
            .args(flags);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().unwrap_or_default().parse();
        let address = address.map_err(|_| format!("it said: {line}"))?;
        Ok(Self { child, address })
    }

    /// Bytes of memory that it has now, and had at most.
    pub fn memory(&self) -> Outcome<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes =
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kilobytes
                .map(|kilobytes| kilobytes * 1024)
                .ok_or("no such field")
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Open files.
    pub fn files(&self) -> Outcome<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Seconds of processors that it used.
    pub fn cpu(&self) -> Outcome<f64> {
        cpu(
            &std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?,
            13,
        )
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processors that this process' ended children used.
pub fn cpu_of_children() -> Outcome<f64> {
    cpu(&std::fs::read_to_string("/proc/self/stat")?, 15)
}

/// Two fields of `/proc/PID/stat` from this number, in ticks of a hundredth of a second.
fn cpu(stat: &str, first: usize) -> Outcome<f64> {
    // The second field, a name, may have spaces; the third is the first after it.
    let rest = stat.rsplit(") ").next().ok_or("no stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |field: usize| {
        fields
            .get(field - 2)
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .ok_or("no ticks")
    };
    Ok((ticks(first)? + ticks(first + 1)?) / 100.0)
}
