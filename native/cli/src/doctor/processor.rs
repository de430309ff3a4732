//! Which of the processor's kernels run, and whether each variant that it has is right: lines of `x2i doctor`.

use serde_json::{Value, json};
use x2i_core::{CPU_VARIANTS, CpuCheck, CpuVariant, KernelCheck};
use x2i_engine::device;

use crate::terminal::table::row;

/// The variant that runs, the others that this machine has, and those that it lacks.
pub(super) fn chosen() -> String {
    let names = |here: bool| {
        let variants = CPU_VARIANTS
            .iter()
            .filter(|variant| variant.is_here() == here);
        let names: Vec<&str> = variants.map(|variant| variant.name).collect();
        names.join(" ")
    };
    let chosen = match device::cpu_variant() {
        Ok(variant) => variant.name.to_owned(),
        Err(error) => error.to_string(),
    };
    match names(false) {
        missing if missing.is_empty() => format!("{chosen}, of {}", names(true)),
        missing => format!("{chosen}, of {}; not here: {missing}", names(true)),
    }
}

/// The table as JSON.
pub(super) fn table() -> Value {
    let chosen = device::cpu_variant().ok();
    let variant = |variant: &'static CpuVariant| {
        json!({
            "name": variant.name,
            "integers": variant.integers,
            "halves": variant.halves,
            "here": variant.is_here(),
            "chosen": Some(variant) == chosen,
        })
    };
    CPU_VARIANTS.iter().map(variant).collect()
}

/// Operations that differ from plain Rust; 1 more where the environment asks for a variant that can't run.
pub(super) fn problems(tried: &[CpuCheck]) -> usize {
    let wrong = tried.iter().flat_map(|tried| tried.checks.iter().flatten());
    let wrong = wrong.filter(|check| !check.agrees()).count();
    wrong + usize::from(!tried.is_empty() && device::cpu_variant().is_err())
}

/// A line for each variant, and one for each operation that is wrong.
pub(super) fn rows(tried: &[CpuCheck]) -> Vec<Vec<String>> {
    let head = (!tried.is_empty()).then(|| row(["kernels, compared with plain"]));
    let variants = tried.iter().flat_map(|tried| {
        let name = format!("  {}", tried.variant.name);
        let units = format!("{}; bf16 {}", tried.variant.integers, tried.variant.halves);
        let Some(checks) = &tried.checks else {
            return vec![row([&name, &units, "NOT RUN: this machine can't"])];
        };
        let off = checks.iter().map(|check| check.error).fold(0.0, f32::max);
        let sum = format!("{} operations, off by at most {off:.0e}", checks.len());
        let wrong = checks.iter().filter(|check| !check.agrees());
        let wrong = wrong.map(|check| {
            row([
                &format!("    {}", check.operation),
                "",
                &format!("WRONG, off by {:.0e}", check.error),
            ])
        });
        std::iter::once(row([&name, &units, &sum]))
            .chain(wrong)
            .collect()
    });
    head.into_iter().chain(variants).collect()
}

pub(super) fn json(tried: &[CpuCheck]) -> Value {
    let check = |check: &KernelCheck| {
        json!({
            "operation": check.operation,
            "error": check.error.is_finite().then_some(check.error),
            "agrees": check.agrees(),
        })
    };
    let variants = tried.iter().map(|tried| {
        let checks = tried.checks.as_ref();
        let checks: Option<Vec<Value>> = checks.map(|checks| checks.iter().map(check).collect());
        json!({"variant": tried.variant.name, "checks": checks})
    });
    variants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shouted_and_what_did_not_run_is_said() {
        let check = |operation, error| KernelCheck {
            operation,
            shaders: vec![],
            error,
            tolerance: 1e-3,
        };
        let tried = [
            CpuCheck {
                variant: &CPU_VARIANTS[0],
                checks: Some(vec![check("product", 1e-7), check("attention", 0.5)]),
            },
            CpuCheck {
                variant: &CPU_VARIANTS[0],
                checks: None,
            },
        ];
        assert_eq!(problems(&tried), 1);
        let rows = rows(&tried);
        assert_eq!(rows[1][2], "2 operations, off by at most 5e-1");
        assert_eq!(rows[2], ["    attention", "", "WRONG, off by 5e-1"]);
        assert_eq!(rows[3][2], "NOT RUN: this machine can't");
        assert_eq!(json(&tried)[1]["checks"], Value::Null);
    }
}
