//! Every rendering of every shader through naga, within WebGPU's default limits.

use std::collections::HashSet;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, ShaderStage, StorageAccess};
use x2i_shaders::wgsl_modules;

/// WebGPU's default limits.
const MAX_WORKGROUP_STORAGE: u32 = 16_384;
const MAX_INVOCATIONS: u32 = 256;
const MAX_STORAGE_BUFFERS: usize = 8;

/// What the kernels for cooperative matrices need, which no browser has: of every GPU that has these matrices.
const COOPERATIVE_WORKGROUP_STORAGE: u32 = 32_768;
const COOPERATIVE_INVOCATIONS: u32 = 512;
const COOPERATIVE_STORAGE_BUFFERS: usize = 9;

fn check(name: &str, source: &str) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    // No capability beyond the base, but in the variants for devices that have it.
    let mut capabilities = Capabilities::empty();
    let cooperative = name.contains("_coop");
    let subgroups = cooperative || name.contains("_narrow");
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    let halves = cooperative || name.contains("Element=f16") || name.contains("halves");
    capabilities.set(Capabilities::SHADER_FLOAT16, halves);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, cooperative);
    let (most_storage, most_invocations, most_buffers) = match cooperative {
        false => (MAX_WORKGROUP_STORAGE, MAX_INVOCATIONS, MAX_STORAGE_BUFFERS),
        true => (
            COOPERATIVE_WORKGROUP_STORAGE,
            COOPERATIVE_INVOCATIONS,
            COOPERATIVE_STORAGE_BUFFERS,
        ),
    };
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));

    let [entry] = &module.entry_points[..] else {
        panic!("{name}: one entry point")
    };
    assert_eq!(
        (entry.name.as_str(), entry.stage),
        ("main", ShaderStage::Compute)
    );
    assert!(entry.workgroup_size.iter().product::<u32>() <= most_invocations);

    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .expect("validated types have a layout");
    let mut workgroup_storage = 0;
    let mut buffers = 0;
    for (_, variable) in module.global_variables.iter() {
        match variable.space {
            AddressSpace::WorkGroup => workgroup_storage += layouter[variable.ty].to_stride(),
            AddressSpace::Storage { access } => {
                // Two tensors may be slices of one buffer, which then has one usage.
                assert_eq!(access, StorageAccess::LOAD | StorageAccess::STORE, "{name}");
                buffers += 1;
            }
            _ => {}
        }
    }
    assert!(
        workgroup_storage <= most_storage,
        "{name}: {workgroup_storage} bytes"
    );
    assert!(buffers <= most_buffers, "{name}: {buffers} buffers");
}

#[test]
fn every_rendering_is_valid_within_the_default_limits() {
    let mut names = HashSet::new();
    for (name, source) in wgsl_modules() {
        check(&name, &source);
        assert!(names.insert(name.clone()), "{name} is rendered twice");
    }
    assert!(names.len() > 200, "only {} renderings", names.len());
}

#[test]
fn the_files_are_valid_as_they_are() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/wgsl");
    let mut files = 0;
    for file in std::fs::read_dir(folder).expect("the folder of shaders") {
        let path = file.expect("a shader").path();
        check(
            &path.display().to_string(),
            &std::fs::read_to_string(&path).expect("the shader is text"),
        );
        files += 1;
    }
    assert_eq!(files, 17);
}
