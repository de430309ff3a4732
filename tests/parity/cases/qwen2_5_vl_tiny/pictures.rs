//! Pictures and frames: Pillow's resize, sizes, patches, and a video given as frames.

use x2i_core::Image;
use x2i_core::config::{Padding, PaddingSide, PreprocessorConfig};
use x2i_core::encoders::qwen2_5_vl::patches::Patcher;
use x2i_core::image::resize::resize_bicubic;

use super::model::Model;
use super::sub_case::fetch;
use crate::case::Outcome;
use crate::report::Report;

/// `max_pixels` of a video in X2I's `inference_qwenvl.py`.
const SCRIPT_PIXELS: usize = 128 * 128;

/// Channels one after another.
fn planes(image: &Image) -> Vec<u8> {
    let channel = |channel| image.pixels().iter().copied().skip(channel).step_by(3);
    (0..3).flat_map(channel).collect()
}

impl Model<'_> {
    /// A video whose frames are given as pictures.
    pub async fn video(&self, report: &mut Report) -> Outcome {
        if !self.case.golden.contains("out.video.generated_ids") {
            report.note("video: this golden set has no such sub-case");
            return Ok(());
        }
        let mut frames = vec![];
        let name = |frames: &[Image]| format!("frame_{}.png", frames.len());
        while self.case.exists(&name(&frames)).await? {
            frames.push(self.case.image(&name(&frames)).await?);
        }
        let (seconds, _) = self.case.golden.f32("out.video.second_per_grid_ts").await?;
        let patches = self.qwen.patcher().frames("video", &frames, seconds[0])?;
        let prompts = self.case.json("prompts.json").await?;
        let text = prompts["video"]
            .as_str()
            .ok_or("prompts.json has no video")?;
        let max_length = self.case.golden.i64("out.video.input_ids").await?.1[1];
        let padding = Padding {
            max_length,
            side: PaddingSide::Right,
        };
        let inputs = self
            .qwen
            .assemble(text, vec![], vec![patches], Some(padding))?;
        self.inputs("video", &inputs, report).await?;
        self.vision("video", &inputs.videos, report).await?;
        self.answer("video", &inputs, 1.0, report).await
    }

    /// Pillow's resize, byte for byte.
    pub async fn fetched_images(&self, report: &mut Report) -> Outcome {
        for (index, file) in ["img_a.png", "img_b.png"].into_iter().enumerate() {
            let name = format!("out.comfy.fetched_image.{index}");
            if !self.case.golden.contains(&name) {
                report.note(format!("{name}: this golden set has no such tensor"));
                continue;
            }
            let image = self.case.image(file).await?;
            let (golden, _) = self.case.golden.u8(&name).await?;
            report.equal(
                &name,
                fetch(self.case, index, &image).await?.pixels(),
                &golden,
            );
        }
        let name = "out.video_fetch.pil_same_size_uint8";
        if self.case.golden.contains(name) {
            let (golden, shape) = self.case.golden.u8(name).await?;
            let (height, width) = (shape[2], shape[3]);
            let resized = resize_bicubic(&self.case.image("img_b.png").await?, width, height)?;
            report.equal(name, &planes(&resized), &golden);
        }
        let name = "out.video_fetch.img_b_resized_uint8";
        if self.case.golden.contains(name) {
            let (golden, shape) = self.case.golden.u8(name).await?;
            let frame = self.case.image("img_b.png").await?;
            let frames = self
                .qwen
                .patcher()
                .fetch("video", &[frame], SCRIPT_PIXELS)?;
            let size = [frames[0].height(), frames[0].width()];
            report.equal("video_fetch.size", &size[..], &shape[2..]);
            report.equal(name, &planes(&frames[0]), &golden);
        }
        Ok(())
    }

    /// Pictures of awkward sizes through the image processor.
    pub async fn preprocess(&self, report: &mut Report) -> Outcome {
        let description = self.case.json("case.json").await?;
        let Some(pictures) = description["preprocess"].as_object() else {
            report.note("preprocess: this golden set has no such sub-case");
            return Ok(());
        };
        for (name, limits) in pictures {
            let patcher = self.qwen.patcher();
            let limit = |key: &str, default: usize| {
                limits[key]
                    .as_u64()
                    .map_or(default, |pixels| pixels as usize)
            };
            let preprocessor = PreprocessorConfig {
                min_pixels: limit("min_pixels", patcher.preprocessor.min_pixels),
                max_pixels: limit("max_pixels", patcher.preprocessor.max_pixels),
                ..patcher.preprocessor.clone()
            };
            let patcher = Patcher {
                preprocessor: &preprocessor,
                ..patcher
            };
            let patches = patcher.image(name, &self.case.image(&format!("{name}.png")).await?)?;
            let scope = format!("preprocess.{name}");
            let grid = [patches.grid.t, patches.grid.h, patches.grid.w].map(|side| side as i64);
            self.exact(&scope, "image_grid_thw", &grid, report).await?;
            self.pixels(&scope, "pixel_values", &patches.pixel_values, report)
                .await?;
            let row = patches.pixel_values.len() / patches.grid.patches();
            let tenth = patches
                .pixel_values
                .chunks_exact(row)
                .step_by(10)
                .flatten()
                .copied();
            self.pixels(
                &scope,
                "pixel_values_every10",
                &tenth.collect::<Vec<_>>(),
                report,
            )
            .await?;
        }
        Ok(())
    }
}
