//! One request from end to end with the embedded model's files: what its caller hears.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use x2i::source::FolderSource;
use x2i_core::{Error, Image, Phase, Pipeline, Preview, Progress, Prompt, Request, Steps};

/// Bytes of the last preview and the picture may differ by this much: both are rounded from one f32.
const GREY_LEVELS: u8 = 1;

fn source() -> FolderSource {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/models/emoji");
    FolderSource::open(folder).expect("the embedded model's folder")
}

/// Loads, and hears all about it.
fn load() -> (Pipeline, Vec<Progress>) {
    let mut heard = vec![];
    let mut on_progress = async |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    };
    let (source, device) = (source(), Device::flex());
    let loaded = pollster::block_on(Pipeline::load(&source, &device, &mut on_progress));
    (loaded.expect("the embedded model loads"), heard)
}

fn request(pipeline: &Pipeline, preview: Preview) -> Request {
    Request {
        steps: 3,
        seed: 7,
        preview,
        ..Request::new(Prompt::text("蓝色背景上的红苹果"), pipeline.config())
    }
}

/// Paints, and hears all about it.
fn paint(pipeline: &Pipeline, request: &Request) -> (Image, Vec<Progress>) {
    let mut heard = vec![];
    let mut on_progress = async |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    };
    let painted = pollster::block_on(pipeline.generate(request, &mut on_progress));
    (painted.expect("it paints").image, heard)
}

/// Answers `Break` to the event after `allowed` others.
fn stop_after(allowed: usize) -> impl AsyncFnMut(Progress) -> ControlFlow<()> {
    let mut heard = 0;
    async move |_| {
        heard += 1;
        match heard > allowed {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn loading_counts_all_bytes_and_never_back() {
    let (_, heard) = load();
    assert!(heard.len() > 20, "{} events", heard.len());
    assert!(heard.iter().all(|event| event.phase == Phase::Load));
    assert!(heard.is_sorted_by_key(|event| event.done));
    let (first, last) = (&heard[0], &heard[heard.len() - 1]);
    assert_eq!((first.done, last.done), (0, last.total));
    // What the parts asked for is what their headers promised, but for unread extras.
    let before_end = heard[heard.len() - 2].done as f64 / last.total as f64;
    assert!(before_end > 0.98, "{before_end}");
}

#[test]
fn the_last_preview_is_the_picture() {
    let (pipeline, _) = load();
    let (image, heard) = paint(&pipeline, &request(&pipeline, Preview::On));
    let previews: Vec<(Steps, &Image)> = heard
        .iter()
        .filter_map(|event| event.steps.zip(event.preview.as_ref()))
        .collect();
    let steps: Vec<_> = previews.iter().map(|(steps, _)| steps.done).collect();
    assert_eq!(steps, [1, 2, 3]);
    let last = previews[2].1;
    assert_eq!(
        (last.width(), last.height()),
        (image.width(), image.height())
    );
    let pairs = last.pixels().iter().zip(image.pixels());
    let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(GREY_LEVELS), "{worst:?}");
    assert_ne!(previews[0].1, previews[2].1);
}

#[test]
fn previews_change_nothing_and_are_small() {
    let (pipeline, _) = load();
    let wide = |preview| Request {
        width: 288,
        height: 32,
        steps: 1,
        ..request(&pipeline, preview)
    };
    let (plain, heard) = paint(&pipeline, &wide(Preview::Off));
    assert!(heard.iter().all(|event| event.preview.is_none()));
    let (image, heard) = paint(&pipeline, &wide(Preview::On));
    assert_eq!(plain, image);
    let preview = heard.into_iter().find_map(|event| event.preview).unwrap();
    assert_eq!((preview.width(), preview.height()), (144, 16));
}

#[test]
fn breaking_at_any_event_cancels() {
    let (pipeline, loading) = load();
    let (source, device) = (source(), Device::flex());
    for allowed in [0, 1, loading.len() / 2, loading.len() - 1] {
        let mut stop = stop_after(allowed);
        let loaded = pollster::block_on(Pipeline::load(&source, &device, &mut stop));
        assert!(matches!(loaded, Err(Error::Cancelled)), "{allowed}");
    }
    let request = Request {
        steps: 1,
        ..request(&pipeline, Preview::On)
    };
    let (_, heard) = paint(&pipeline, &request);
    for (allowed, at) in heard.iter().enumerate() {
        let painted = pollster::block_on(pipeline.generate(&request, &mut stop_after(allowed)));
        assert!(matches!(painted, Err(Error::Cancelled)), "{at:?}");
    }
}
