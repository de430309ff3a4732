//! Facts about a GPU adapter, from its driver.

use serde::Serialize;

/// Facts about a GPU adapter, from its driver.
#[derive(Debug, Clone, Serialize)]
pub struct GpuFacts {
    /// The graphics API: `vulkan`, `metal`, `dx12`.
    pub api: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub class: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// True when shaders can compute in f16.
    pub f16: bool,
    /// True when shaders have subgroup operations.
    pub subgroups: bool,
    /// The smallest and the largest number of invocations in a subgroup.
    pub subgroup_size: [u32; 2],
    /// Rows of the square matrices of f16 that it multiplies at once with sums in f32, where our kernels can use
    /// them: tensor cores.
    pub matrix_side: Option<u32>,
    /// The largest buffer in bytes.
    pub max_buffer: u64,
    /// The largest storage binding in bytes: no tensor may be larger.
    pub max_binding: u64,
    /// The most shared memory of a workgroup, in bytes.
    pub max_workgroup_memory: u32,
    /// The most invocations in a workgroup.
    pub max_workgroup_invocations: u32,
    /// The most storage buffers of a kernel.
    pub max_storage_buffers: u32,
}
