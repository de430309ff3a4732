//! Facts about this machine and process: memory, CPU, peak use. They come from `/proc`; where there
//! is none, they are unknown.

use std::fs;

use serde::Serialize;

/// The machine's memory in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// The memory that a new program can use without swapping.
    pub available: u64,
}

/// The machine's memory; `None` when it is unknown.
pub fn memory() -> Option<Memory> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(Memory {
        total: kilobytes(&text, "MemTotal:")?,
        available: kilobytes(&text, "MemAvailable:")?,
    })
}

/// The peak of this process's resident memory, in bytes.
pub fn peak_memory() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a `Name:   123 kB` line, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

/// CPU seconds of this process, over all threads.
pub fn cpu_seconds() -> Option<f64> {
    // Linux counts in USER_HZ, which is 100 on every architecture that Rust supports.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

/// The name of the CPU model.
pub fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The facts that a benchmark's numbers depend on: CPU, cores, instruction sets, memory, and the
/// load average of the last minute.
pub fn facts() -> serde_json::Value {
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let features = cpu_features().into_iter();
    serde_json::json!({
        "cpu": cpu_name(),
        "cores": threads(),
        "features": features.filter_map(|(name, has)| has.then_some(name)).collect::<Vec<_>>(),
        "memory": memory().map(|memory| memory.total),
        "load": load,
    })
}

/// The number of threads that the runtime will use.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Instruction sets for matrix products, and whether the CPU has them.
pub fn cpu_features() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    {
        vec![
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512_bf16", is_x86_feature_detected!("avx512bf16")),
            ("avx512_vnni", is_x86_feature_detected!("avx512vnni")),
            ("avx_vnni", is_x86_feature_detected!("avxvnni")),
        ]
    }
    #[cfg(target_arch = "aarch64")]
    {
        vec![("neon", std::arch::is_aarch64_feature_detected!("neon"))]
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Vec::new()
    }
}

/// The instruction set that burn-flex's matrix products use at run time: the best of those that it
/// was built for (`x86-v4` adds AVX-512).
pub fn matmul_kernels() -> &'static str {
    let has = |name| cpu_features().contains(&(name, true));
    if has("avx512f") {
        "avx-512"
    } else if has("avx2") && has("fma") {
        "avx2 + fma"
    } else if has("neon") {
        "neon"
    } else {
        "scalar"
    }
}

/// A number of bytes for people: `1.5 GB` (decimal units, as disks and model cards use them).
pub fn human_bytes(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (15_948_123, "15.9 MB"),
            (999_999, "1.0 MB"),
            (24_000_000_000, "24.0 GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_its_memory_and_time() {
        assert!(
            memory().is_some_and(|memory| memory.total > memory.available && memory.available > 0)
        );
        assert!(peak_memory().is_some_and(|bytes| bytes > 1_000_000));
        assert!(cpu_seconds().is_some());
    }
}
