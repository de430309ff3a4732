//! Waiting for a device, which runs behind the host that feeds it.

use burn::tensor::Tensor;

use crate::error::Result;

/// Waits until the device has computed `x`, by reading one of its numbers.
///
/// # Errors
/// [`crate::Error::Device`] when the device failed.
pub async fn computed(x: &Tensor<3>) -> Result<()> {
    let one_number = x.clone().slice([0..1, 0..1, 0..1]);
    one_number.into_data_async().await?;
    Ok(())
}
