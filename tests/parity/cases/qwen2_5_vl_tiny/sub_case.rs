//! One way through the model, and its input pictures.

use x2i_core::Image;
use x2i_core::config::{Padding, PromptFormat};
use x2i_core::image::resize::resize_bicubic;
use x2i_core::request::Prompt;

use crate::case::{Case, Fallible};

/// One way through the model.
pub struct SubCase {
    pub name: &'static str,
    pub prompt: Prompt,
    pub format: PromptFormat,
    pub padding: Option<Padding>,
    pub input_image_size: Option<[usize; 2]>,
    pub repetition_penalty: f64,
}

/// A picture as `process_vision_info` hands it over: resized once more, to the golden's size.
pub async fn fetch(case: &Case<'_>, index: usize, image: &Image) -> Fallible<Image> {
    let name = format!("out.comfy.fetched_image.{index}");
    if !case.golden.contains(&name) {
        return Ok(image.clone());
    }
    let (_, shape) = case.golden.u8(&name).await?;
    Ok(resize_bicubic(image, shape[1], shape[0])?)
}
