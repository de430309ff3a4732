//! What a driver says about its adapter.

use serde::Serialize;

/// What a driver says about its adapter.
#[derive(Debug, Clone, Serialize)]
pub struct GpuFacts {
    /// The graphics API: `vulkan`, `metal`, `dx12`.
    pub api: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub class: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// Half precision in shaders.
    pub f16: bool,
    /// Subgroup operations in shaders.
    pub subgroups: bool,
    /// Invocations that a subgroup may have, from and to.
    pub subgroup_size: [u32; 2],
    /// The largest buffer in bytes.
    pub max_buffer: u64,
    /// The largest storage binding in bytes: no tensor may be larger.
    pub max_binding: u64,
    /// Shared memory of a workgroup in bytes.
    pub max_workgroup_memory: u32,
    /// Invocations of a workgroup.
    pub max_workgroup_invocations: u32,
    /// Storage buffers of a kernel.
    pub max_storage_buffers: u32,
}
