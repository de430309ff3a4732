//! The memory of a GPU, which wgpu does not tell: from Vulkan, on Linux.

use burn_wgpu::wgpu::Adapter;

/// Bytes of a GPU's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// All of it.
    pub total: u64,
    /// What this program can use beside others now; the driver's estimate where it gives one.
    pub free: u64,
}

/// The largest heap of the adapter's own memory; `None` where it is not reached through Vulkan.
#[cfg(target_os = "linux")]
pub(super) fn memory(adapter: &Adapter) -> Option<Memory> {
    use ash::vk;
    use burn_wgpu::wgpu::hal::api::Vulkan;

    // SAFETY: the handle is used for questions alone, and lives as long as the guard.
    let adapter = unsafe { adapter.as_hal::<Vulkan>() }?;
    let (instance, physical) = (adapter.shared_instance(), adapter.raw_physical_device());
    if instance.instance_api_version() < vk::API_VERSION_1_1 {
        return None;
    }
    let instance = instance.raw_instance();
    // SAFETY: `physical` belongs to `instance`.
    let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }.ok()?;
    let mut names = extensions
        .iter()
        .filter_map(|one| one.extension_name_as_c_str().ok());
    let tells_budget = names.any(|name| name == ash::ext::memory_budget::NAME);
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default();
    if tells_budget {
        properties = properties.push_next(&mut budget);
    }
    // SAFETY: Vulkan 1.1 has the call, and the device the extension whose structure is linked.
    unsafe { instance.get_physical_device_memory_properties2(physical, &mut properties) };
    let heaps = properties.memory_properties;
    let own = heaps.memory_heaps_as_slice().iter().enumerate();
    let own = own.filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
    let (index, heap) = own.max_by_key(|(_, heap)| heap.size)?;
    let left = budget.heap_budget[index].saturating_sub(budget.heap_usage[index]);
    Some(Memory {
        total: heap.size,
        free: if tells_budget {
            left.min(heap.size)
        } else {
            heap.size
        },
    })
}

/// Unknown.
#[cfg(not(target_os = "linux"))]
pub(super) fn memory(_adapter: &Adapter) -> Option<Memory> {
    None
}
