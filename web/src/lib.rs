//! x2i in a browser.
use wasm_bindgen::prelude::*;
/// probe
#[wasm_bindgen]
pub async fn probe(cpu: bool) -> String {
    let d = if cpu { burn::tensor::Device::flex() } else { burn::tensor::Device::wgpu_options().init_async().await.unwrap() };
    let x = burn::tensor::Tensor::<2>::ones([128, 512], &d);
    let y = x.clone().matmul(x.transpose());
    format!("{:?}", y.into_data_async().await.unwrap().to_vec::<f32>().unwrap()[0])
}
