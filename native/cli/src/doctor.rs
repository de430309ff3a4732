//! `x2i doctor`: lists this machine's devices and their features, checks a model folder, and tells
//! which devices can run it.

mod kernels;
mod need;
mod processor;
mod shares;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use x2i_core::png::Versions;
use x2i_core::{CpuCheck, check_cpu};

use self::kernels::Tried;
use self::need::Need;
use self::shares::Shares;
use crate::flags::{DoctorArgs, verify};
use crate::terminal::table::{columns, row};
use crate::terminal::{Checking, Display, Interrupt};
use crate::terminal::{printable_json, printable_lines};
use x2i_engine::device::{self, DeviceEntry, DeviceKind, GpuFacts};
use x2i_engine::host::{self, human_bytes};
use x2i_engine::models::{EmbeddedSource, ModelFiles};

/// Bytes needed in addition to the weights: activations of a small image, the program, the driver.
const WORKING_MEMORY: u64 = 256 << 20;

/// Whether a device can run a model.
#[derive(Debug, Serialize)]
struct Verdict {
    can_run: bool,
    why: String,
}

/// Runs `x2i doctor`.
///
/// # Errors
/// When the model that `--model` names can't be read, or a kernel that `--kernels` tries is wrong;
/// [`x2i_core::Error::Cancelled`] on Ctrl-C.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let entries = device::list();
    let chosen = device::choose(&entries).id.clone();
    let (need, shares) = match (&args.model, EmbeddedSource::new()) {
        (None, None) => (None, None),
        (model, _) => {
            let files = ModelFiles::find(model.as_deref())?;
            Display::Lines.warn(files.warning());
            let checking = Checking::new(Display::choose(false, args.json), interrupt);
            let need = Need::of(&files, verify(args.verify), &checking)?;
            let shares = match need.problems.is_empty() {
                true => Shares::of(&files, args)?,
                false => None,
            };
            (Some(need), shares)
        }
    };
    let verdicts: Vec<Option<Verdict>> = entries
        .iter()
        .map(|entry| need.as_ref().map(|need| verdict(entry, need)))
        .collect();
    let tried: Vec<Vec<Tried>> = match args.kernels {
        true => entries.iter().map(kernels::on).collect(),
        false => entries.iter().map(|_| Vec::new()).collect(),
    };
    let tried_cpu = match args.kernels {
        true => check_cpu(),
        false => Vec::new(),
    };
    let text = match args.json {
        true => {
            let devices = devices(&entries, &verdicts, args.kernels.then_some(&tried));
            let mut facts = facts(&chosen, need.as_ref(), devices, shares);
            if args.kernels {
                facts["cpu_kernels"] = processor::json(&tried_cpu);
            }
            printable_json(&format!("{facts:#}\n"))
        }
        false => {
            let shares = shares.map_or_else(String::new, |shares| shares.report());
            let report = report(
                &entries,
                &chosen,
                need.as_ref(),
                &verdicts,
                (&tried, &tried_cpu),
            );
            printable_lines(&(report + &shares))
        }
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let wrong: usize = tried.iter().flatten().map(Tried::problems).sum();
    let wrong = wrong + processor::problems(&tried_cpu);
    if wrong > 0 {
        bail!("--kernels: {wrong} of the kernels are wrong on this machine, see above");
    }
    match need.as_ref().map_or(0, |need| need.problems.len()) {
        0 => Ok(()),
        1 => bail!("--model: 1 file or component is missing or broken, see above"),
        n => bail!("--model: {n} files or components are missing or broken, see above"),
    }
}

/// Every device as JSON, with its kernels where they were tried.
fn devices(
    entries: &[DeviceEntry],
    verdicts: &[Option<Verdict>],
    tried: Option<&Vec<Vec<Tried>>>,
) -> Vec<Value> {
    let devices = entries.iter().zip(verdicts).enumerate();
    let devices = devices.map(|(index, (entry, verdict))| {
        let mut facts = json!({"device": entry, "verdict": verdict});
        if let Some(tried) = tried {
            facts["kernels"] = tried[index].iter().map(Tried::json).collect();
        }
        facts
    });
    devices.collect()
}

/// All that `--json` prints.
fn facts(chosen: &str, need: Option<&Need>, devices: Vec<Value>, shares: Option<Shares>) -> Value {
    json!({
        "versions": Versions::current(),
        "cpu": host::cpu_name(),
        "cpu_features": host::cpu_features().into_iter().collect::<BTreeMap<_, _>>(),
        "matmul": host::matmul_kernels(),
        "cpu_variants": processor::table(),
        "threads": host::threads(),
        "memory": host::memory(),
        "cuda_built": device::CUDA_BUILT,
        "no_cuda": device::no_cuda(),
        "auto": chosen,
        "model": need,
        "devices": devices,
        "shares": shares,
    })
}

fn verdict(entry: &DeviceEntry, need: &Need) -> Verdict {
    let loaded = match entry.kind {
        DeviceKind::Cpu => need.loaded_on_cpu,
        _ => need.loaded_on_gpu,
    };
    let wanted = loaded + WORKING_MEMORY;
    if !need.problems.is_empty() {
        return Verdict {
            can_run: false,
            why: "the model is incomplete or broken".into(),
        };
    }
    let no = |why: String| Verdict {
        can_run: false,
        why,
    };
    let yes = |why: &str| Verdict {
        can_run: true,
        why: why.to_owned(),
    };
    if let Some(gpu) = &entry.gpu {
        let limit = gpu.max_binding.min(gpu.max_buffer);
        if need.largest_tensor > limit {
            let (largest, limit) = (human_bytes(need.largest_tensor), human_bytes(limit));
            return no(format!(
                "its largest tensor needs {largest}, the device binds {limit}"
            ));
        }
    }
    // A software GPU's memory is the host's.
    if let (DeviceKind::Cuda, Some(memory)) = (entry.kind, entry.memory) {
        return match wanted > memory {
            true => no(format!(
                "needs {}, it has {}",
                human_bytes(wanted),
                human_bytes(memory)
            )),
            false => yes(""),
        };
    }
    let in_host_memory = entry.is_in_host_memory();
    match (in_host_memory, host::memory()) {
        (true, Some(memory)) if wanted > memory.available => no(format!(
            "needs {}, {} are available",
            human_bytes(wanted),
            human_bytes(memory.available)
        )),
        _ if entry.software => yes("slowly: it is emulated on the CPU"),
        (true, Some(_)) => yes(""),
        (false, _) if entry.free.is_some_and(|free| wanted > free) => yes(&format!(
            "in parts: the whole needs {}, {} are free",
            human_bytes(wanted),
            human_bytes(entry.free.unwrap_or(0))
        )),
        (false, _) if entry.free.is_some() => yes(""),
        _ => yes("if it has the memory, which its driver does not report"),
    }
}

fn report(
    entries: &[DeviceEntry],
    chosen: &str,
    need: Option<&Need>,
    verdicts: &[Option<Verdict>],
    (tried, tried_cpu): (&[Vec<Tried>], &[CpuCheck]),
) -> String {
    let versions = Versions::current();
    let mut text = format!("x2i {}, burn {}\n", versions.x2i, versions.burn);
    text.push_str(&columns(&machine_rows()));
    match need {
        Some(need) => text.push_str(&need.report()),
        None => text.push_str("\nmodel: none (give one with --model DIR)\n"),
    }
    for ((entry, verdict), tried) in entries.iter().zip(verdicts).zip(tried) {
        let auto = if entry.id == chosen {
            "  <- auto takes this"
        } else {
            ""
        };
        let software = if entry.software { " (software)" } else { "" };
        let _ = writeln!(text, "\n{}: {}{software}{auto}", entry.id, entry.name);
        let mut rows = Vec::new();
        if let Some(gpu) = &entry.gpu {
            rows.extend(gpu_rows(gpu));
        }
        if let (Some(verdict), Some(need)) = (verdict, need) {
            let answer = if verdict.can_run { "yes" } else { "no" };
            let comma = if verdict.why.is_empty() { "" } else { ", " };
            rows.push(row([
                &format!("runs {}", need.name),
                &format!("{answer}{comma}{}", verdict.why),
            ]));
        }
        if entry.kind == DeviceKind::Cpu {
            rows.extend(processor::rows(tried_cpu));
        }
        text.push_str(&columns(&rows));
        for tried in tried {
            text.push_str(&columns(&tried.rows()));
        }
    }
    if let Some(why) = device::no_cuda() {
        let _ = writeln!(text, "\ncuda: {why}");
    }
    text
}

fn machine_rows() -> [Vec<String>; 6] {
    let features = host::cpu_features().into_iter();
    let features: Vec<&str> = features
        .filter_map(|(name, has)| has.then_some(name))
        .collect();
    let memory = host::memory().map_or("unknown".into(), |memory| {
        let (total, available) = (human_bytes(memory.total), human_bytes(memory.available));
        format!("{total}, {available} available")
    });
    let cpu = host::cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into());
    [
        row(["cpu", &cpu]),
        row(["threads", &host::threads().to_string()]),
        row(["features", &features.join(" ")]),
        row(["matmul", host::matmul_kernels()]),
        row(["kernels", &processor::chosen()]),
        row(["memory", &memory]),
    ]
}

fn gpu_rows(gpu: &GpuFacts) -> [Vec<String>; 3] {
    let has = |has: bool| if has { "yes" } else { "no" };
    let [least, most] = gpu.subgroup_size;
    [
        row([
            "driver",
            &format!("{}, {}, {} GPU", gpu.driver, gpu.api, gpu.class),
        ]),
        row([
            "features",
            &format!(
                "f16 {}, matrix units {}, subgroups {} ({least} to {most})",
                has(gpu.f16),
                match gpu.matrix_side {
                    Some(side) => format!("{side}x{side} f16"),
                    None => "no".to_owned(),
                },
                has(gpu.subgroups)
            ),
        ]),
        row([
            "limits",
            &format!(
                "buffer {}, binding {}, {} storage buffers, workgroup of {} with {}",
                human_bytes(gpu.max_buffer),
                human_bytes(gpu.max_binding),
                gpu.max_storage_buffers,
                gpu.max_workgroup_invocations,
                human_bytes(gpu.max_workgroup_memory.into())
            ),
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_too_large_is_refused_with_both_numbers() {
        let entries = device::list();
        let need = Need {
            name: "huge".into(),
            file_bytes: 0,
            loaded_on_cpu: u64::MAX / 4,
            loaded_on_gpu: u64::MAX / 4,
            largest_tensor: u64::MAX / 4,
            parts: vec![],
            kind: "missing",
            problems: vec![],
            warnings: vec![],
            precisions: vec![],
        };
        for entry in &entries {
            let verdict = verdict(entry, &need);
            assert!(!verdict.can_run || host::memory().is_none(), "{verdict:?}");
        }
    }
}
