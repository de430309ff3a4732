//! Images as a stream: `image_generation.partial_image` and `image_generation.completed`, and the same of `image_edit`.

use std::sync::Arc;

use axum::response::sse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::answer::{format_name, size, usage};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::live::Words;
use crate::http::sse::event;
use crate::job::{Event, JobState, Output, Preview};

/// How many unfinished images are shown of each image, and which were.
pub(super) struct ImageEvents {
    /// `image_generation` or `image_edit`.
    family: &'static str,
    partials: Partials,
}

/// Which previews are shown: as many as asked for, at even distances.
struct Partials {
    each: usize,
    /// The image that is painted now, and how many were shown of it.
    image: (usize, usize),
    all: usize,
}

impl ImageEvents {
    /// Of a family of names, with so many partial images each.
    pub(super) fn new(family: &'static str, each: usize) -> Self {
        let partials = Partials {
            each,
            image: (0, 0),
            all: 0,
        };
        Self { family, partials }
    }

    fn partial(&self, preview: &Preview, index: usize) -> sse::Event {
        let name = format!("{}.partial_image", self.family);
        let data = json!({
            "type": name,
            "b64_json": STANDARD.encode(&preview.png),
            "partial_image_index": index,
            "created_at": crate::job::now() / 1000,
            "background": "opaque",
            "output_format": "png",
            "quality": "auto",
            "size": "auto",
            "x2i": { "image": preview.image, "step": preview.step, "steps": preview.steps },
        });
        event(&name, &data)
    }

    fn completed(&self, state: &JobState, output: &Output, file: &[u8]) -> sse::Event {
        let name = format!("{}.completed", self.family);
        let data = json!({
            "type": name,
            "b64_json": STANDARD.encode(file),
            "created_at": crate::job::now() / 1000,
            "background": "opaque",
            "output_format": format_name(output),
            "quality": "auto",
            "size": size(output),
            "usage": usage(state, [output]),
            "seed": output.seed,
            "x2i": {
                "image": output.index,
                "job": state.id,
                "model": state.model,
                "answer": state.answer,
                "warnings": state.warnings,
            },
        });
        event(&name, &data)
    }
}

impl Partials {
    /// The number of a preview among all that are shown, if it is one of them.
    fn take(&mut self, preview: &Preview) -> Option<usize> {
        if preview.image != self.image.0 {
            self.image = (preview.image, 0);
        }
        let due = preview.step * (self.each + 1) / preview.steps.max(1);
        let shown = &mut self.image.1;
        if preview.step >= preview.steps || *shown >= self.each || due <= *shown {
            return None;
        }
        *shown = due;
        self.all += 1;
        Some(self.all - 1)
    }
}

impl Words for ImageEvents {
    async fn heard(
        &mut self,
        app: &Arc<App>,
        state: &JobState,
        heard: Event,
    ) -> Result<Vec<sse::Event>, ApiError> {
        match heard {
            Event::Preview(preview) => {
                let index = self.partials.take(&preview);
                Ok(index
                    .map(|index| self.partial(&preview, index))
                    .into_iter()
                    .collect())
            }
            Event::Output(output) => {
                let file = app.output(state.id, output.index).await?;
                let now = app.queue.job(state.id).await?;
                let now = now.unwrap_or_else(|| state.clone());
                Ok(vec![self.completed(&now, &output, &file)])
            }
            Event::Status(_) | Event::Progress(_) | Event::Answer(_) => Ok(vec![]),
        }
    }

    fn end(&mut self, _: &JobState) -> Vec<sse::Event> {
        vec![]
    }

    fn failed(&mut self, error: &ApiError) -> sse::Event {
        event("error", &error.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(each: usize, steps: usize, images: usize) -> Vec<(usize, usize, usize)> {
        let mut events = ImageEvents::new("image_generation", each).partials;
        let mut shown = vec![];
        for (image, step) in
            (0..images).flat_map(|image| (1..=steps).map(move |step| (image, step)))
        {
            let preview = Preview {
                image,
                step,
                steps,
                png: vec![].into(),
            };
            shown.extend(events.take(&preview).map(|index| (index, image, step)));
        }
        shown
    }

    #[test]
    fn partial_images_are_as_many_as_asked_for_and_evenly_spread() {
        assert_eq!(shown(3, 4, 1), [(0, 0, 1), (1, 0, 2), (2, 0, 3)]);
        assert_eq!(shown(2, 20, 1), [(0, 0, 7), (1, 0, 14)]);
        assert_eq!(shown(1, 4, 2), [(0, 0, 2), (1, 1, 2)]);
        assert_eq!(shown(0, 4, 1), []);
        assert_eq!(shown(3, 1, 1), []);
        assert_eq!(shown(3, 2, 1), [(0, 0, 1)]);
    }
}
