//! Token ids on a device.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Rows of ids of one length as a tensor `[rows, tokens]`.
pub(super) fn ids_tensor(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let tokens = rows.first().map_or(0, Vec::len);
    let ids = rows.iter().flatten().map(|&id| id as i32);
    let data = TensorData::new(ids.collect::<Vec<i32>>(), [rows.len(), tokens]);
    Tensor::from_data(data, device)
}
