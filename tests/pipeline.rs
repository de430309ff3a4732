//! One request from end to end with the embedded model's files: what its caller hears.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::Device;
use x2i_core::model::ModelSource;
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{LocalBoxFuture, MemorySource, StoredType, WeightFile, WeightSource};
use x2i_core::{
    Cache, Conditioning, Error, Image, Init, InputBits, LoadOptions, Lora, Memory, Phase, Pipeline,
    Preview, Progress, Prompt, Request, Steps,
};
use x2i_engine::models::FolderSource;

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

/// Large enough that the activations of its tokens leave no place for all blocks in [`TIGHT`].
fn large_request(pipeline: &Pipeline, preview: Preview) -> Request {
    Request {
        width: 192,
        height: 192,
        ..request(pipeline, preview)
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

/// The embedded model on the CPU, held like this.
fn load_with(options: LoadOptions) -> x2i_core::Result<(Pipeline, Vec<Progress>)> {
    let mut heard = vec![];
    let mut on_progress = async |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    };
    let (source, device) = (source(), Device::flex());
    let loading = Pipeline::load_with(&options, &source, &device, &mut on_progress);
    let pipeline = pollster::block_on(loading)?;
    Ok((pipeline, heard))
}

/// The embedded model's LLM fits into this; its transformer of 5.9 MB with the activations of a
/// [`large_request`] does not.
const TIGHT: LoadOptions = LoadOptions {
    memory: Memory::Low,
    max_device_memory: Some(8 << 20),
    input_bits: InputBits::AsWeights,
    loras: Vec::new(),
    control: None,
    others: Vec::new(),
};

#[test]
fn a_streamed_and_a_low_model_paint_the_same_picture_bit_for_bit() {
    let (high, _) = load();
    let request = large_request(&high, Preview::Off);
    let (image, painting) = paint(&high, &request);
    let low = LoadOptions {
        memory: Memory::Low,
        ..LoadOptions::default()
    };
    for options in [low, TIGHT] {
        let (pipeline, loading) = load_with(options.clone()).expect("it loads");
        assert!(loading.is_empty(), "nothing is read before it is needed");
        let (same, heard) = paint(&pipeline, &request);
        assert_eq!(image, same, "{options:?}");
        let steps = |heard: &[Progress]| {
            let painted = heard.iter().filter(|event| event.phase == Phase::Denoise);
            painted.cloned().collect::<Vec<_>>()
        };
        assert_eq!(steps(&heard), steps(&painting));
        assert_eq!(paint(&pipeline, &request).0, image, "a second time");
    }
}

#[test]
fn an_llm_of_7_mib_reads_its_layers_on_the_way_within_6_and_says_the_same() {
    let limit = LoadOptions {
        max_device_memory: Some(6 << 20),
        ..TIGHT
    };
    let (high, tight) = (load().0, load_with(limit).expect("it loads").0);
    for conditioning in [Conditioning::Prompt, Conditioning::Answer] {
        let request = Request {
            steps: 1,
            conditioning,
            ..request(&high, Preview::Off)
        };
        let [whole, read] = [&high, &tight].map(|pipeline| paint(pipeline, &request).0);
        assert_eq!(whole, read, "{conditioning:?}");
    }
}

/// A LoRA of rank 1 on the first and the last block of the embedded model.
fn lora(pipeline: &Pipeline) -> Arc<Lora> {
    let config = &pipeline.config().flux.config;
    let hidden = config.hidden_size();
    let last = format!("single_blocks.{}.linear2", config.num_single_layers - 1);
    let layers = [
        ("double_blocks.0.img_attn.proj", [hidden, hidden]),
        (&last, [hidden, hidden + config.mlp_size()]),
    ];
    let tensors: Vec<_> = layers
        .into_iter()
        .flat_map(|(layer, [out, input])| {
            [
                (
                    format!("{layer}.lora_A.weight"),
                    StoredType::F32,
                    vec![1, input],
                ),
                (
                    format!("{layer}.lora_B.weight"),
                    StoredType::F32,
                    vec![out, 1],
                ),
            ]
        })
        .collect();
    let writer = GgufWriter::new(vec![], tensors.clone()).expect("a plan");
    let mut file = writer.start("lora", Vec::new()).expect("a header");
    for (_, _, shape) in &tensors {
        let values = (0..shape.iter().product()).map(|at: usize| (at % 5) as f32 * 0.1 - 0.2);
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        file.write_tensor(&bytes).expect("a tensor");
    }
    let source = MemorySource::new("lora", file.finish().expect("a whole file"));
    Arc::new(pollster::block_on(Lora::open(Arc::new(source), 0.5)).expect("it opens"))
}

#[test]
fn a_lora_paints_the_same_picture_bit_for_bit_however_the_model_is_held() {
    let (plain, _) = load();
    let request = large_request(&plain, Preview::Off);
    let with_lora = |options: LoadOptions| {
        let options = LoadOptions {
            loras: vec![lora(&plain)],
            ..options
        };
        let (pipeline, _) = load_with(options).expect("it loads");
        paint(&pipeline, &request).0
    };
    let high = with_lora(LoadOptions::default());
    assert_ne!(high, paint(&plain, &request).0);
    let low = LoadOptions {
        memory: Memory::Low,
        ..LoadOptions::default()
    };
    for options in [low, TIGHT] {
        assert_eq!(high, with_lora(options));
    }
}

/// A picture of stripes, of another size than the request's.
fn stripes(colour: [u8; 3]) -> Image {
    let pixels = (0..40 * 24).flat_map(|at| if at % 8 < 4 { colour } else { [250; 3] });
    Image::new(40, 24, pixels.collect()).expect("a picture")
}

/// The mean difference of two pictures in grey levels.
fn difference(a: &Image, b: &Image) -> f64 {
    let pairs = a.pixels().iter().zip(b.pixels());
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.pixels().len() as f64
}

#[test]
fn strength_says_how_much_of_the_first_picture_is_left() {
    let (pipeline, _) = load();
    let from = |colour, strength| {
        let init = Some(Init {
            image: stripes(colour),
            strength,
        });
        let request = Request {
            steps: 20,
            init,
            ..request(&pipeline, Preview::Off)
        };
        paint(&pipeline, &request).0
    };
    let (red, blue) = ([220, 20, 20], [20, 20, 220]);
    assert!(from(red, 1.0) == from(blue, 1.0), "at 1 nothing is left");
    let apart =
        [0.05, 0.5, 0.9].map(|strength| difference(&from(red, strength), &from(blue, strength)));
    assert!(apart.is_sorted_by(|a, b| a > b), "{apart:?}");
    let resized = x2i_core::image::resize::resize_lanczos(&stripes(red), 64, 64).expect("it fits");
    let [near, far] = [0.05, 0.9].map(|strength| difference(&from(red, strength), &resized));
    assert!(near < far / 2.0, "{near} {far}");
}

#[test]
fn a_picture_that_begins_with_another_is_the_same_however_the_model_is_held() {
    let (high, _) = load();
    let request = Request {
        steps: 4,
        init: Some(Init {
            image: stripes([20, 180, 20]),
            strength: 0.5,
        }),
        ..large_request(&high, Preview::Off)
    };
    let (image, heard) = paint(&high, &request);
    let steps = heard.iter().filter_map(|event| event.steps).next_back();
    assert_eq!(steps, Some(Steps { done: 2, total: 2 }));
    let (low, _) = load_with(TIGHT).expect("it loads");
    let (same, heard) = paint(&low, &request);
    assert!(image == same);
    let mut phases: Vec<Phase> = heard.iter().map(|event| event.phase).collect();
    phases.dedup();
    let expected = [
        Phase::Load,
        Phase::Encode,
        Phase::Load,
        Phase::Encode,
        Phase::Load,
        Phase::Denoise,
        Phase::Load,
        Phase::Decode,
    ];
    assert_eq!(phases, expected);
    assert!(heard.iter().all(|event| event.done <= event.total));
}

#[test]
fn a_limit_streams_a_part_of_the_blocks() {
    let read = |options| {
        let (pipeline, _) = load_with(options).expect("it loads");
        let (_, heard) = paint(&pipeline, &large_request(&pipeline, Preview::Off));
        let before = heard
            .iter()
            .take_while(|event| event.phase != Phase::Denoise);
        let last = before.filter(|event| event.phase == Phase::Load).last();
        last.expect("the transformer is loaded").total
    };
    let low = LoadOptions {
        memory: Memory::Low,
        ..LoadOptions::default()
    };
    let (tight, all) = (read(TIGHT), read(low));
    assert!(tight < all, "{tight} of {all}");
}

#[test]
fn parts_that_are_loaded_one_by_one_are_told_of_in_their_order() {
    let (pipeline, _) = load_with(TIGHT).expect("it loads");
    let (_, heard) = paint(&pipeline, &large_request(&pipeline, Preview::On));
    let mut phases: Vec<Phase> = heard.iter().map(|event| event.phase).collect();
    phases.dedup();
    let expected = [
        Phase::Load,
        Phase::Encode,
        Phase::Load,
        Phase::Denoise,
        Phase::Load,
        Phase::Decode,
    ];
    assert_eq!(phases, expected);
    assert!(heard.iter().all(|event| event.done <= event.total));
}

#[test]
fn memory_decides_whether_all_parts_stay() {
    let loads_at_once = |bytes| {
        let options = LoadOptions {
            memory: Memory::Fit(bytes),
            ..LoadOptions::default()
        };
        !load_with(options).expect("it loads").1.is_empty()
    };
    assert!(loads_at_once(1 << 30));
    assert!(!loads_at_once(10 << 20));
    assert!(!loads_at_once(0));
}

#[test]
fn a_limit_that_can_not_be_kept_is_refused_with_the_need() {
    let refused = |memory| {
        let options = LoadOptions {
            memory,
            max_device_memory: Some(1 << 20),
            ..LoadOptions::default()
        };
        let error = load_with(options).err().expect("1 MiB is too little");
        error.to_string()
    };
    for memory in [Memory::Low, Memory::High, Memory::Fit(1 << 30)] {
        let message = refused(memory);
        assert!(
            message.starts_with("device memory: 1 MiB are too few: "),
            "{message}"
        );
        assert!(message.ends_with(" MiB"), "{message}");
    }
    let (pipeline, _) = load_with(TIGHT).expect("it loads");
    let large = Request {
        width: 2048,
        height: 2048,
        ..large_request(&pipeline, Preview::Off)
    };
    let painted = pollster::block_on(pipeline.generate(&large, &mut stop_after(0)));
    assert!(matches!(painted, Err(Error::Request { .. })));
}

#[test]
fn a_pipeline_that_streams_paints_after_it_was_stopped() {
    let (pipeline, _) = load_with(TIGHT).expect("it loads");
    let request = Request {
        steps: 1,
        ..large_request(&pipeline, Preview::Off)
    };
    let (image, heard) = paint(&pipeline, &request);
    for allowed in (0..heard.len()).step_by(7) {
        let painted = pollster::block_on(pipeline.generate(&request, &mut stop_after(allowed)));
        assert!(matches!(painted, Err(Error::Cancelled)), "{allowed}");
    }
    assert_eq!(paint(&pipeline, &request).0, image);
}

/// Paints; gives the image, what was heard of the steps, and how many of them were skipped.
fn paint_cached(pipeline: &Pipeline, request: &Request) -> (Image, Vec<Progress>, usize) {
    let mut heard = vec![];
    let mut on_progress = async |progress: Progress| {
        if progress.phase == Phase::Denoise {
            heard.push(progress);
        }
        ControlFlow::Continue(())
    };
    let painted = pollster::block_on(pipeline.generate(request, &mut on_progress));
    let painted = painted.expect("it paints");
    (painted.image, heard, painted.skipped_steps)
}

#[test]
fn a_cache_skips_steps_and_every_block_is_still_counted() {
    let (pipeline, _) = load();
    let with = |cache, preview| {
        let request = Request {
            steps: 12,
            cache,
            ..request(&pipeline, preview)
        };
        paint_cached(&pipeline, &request)
    };
    let (plain, every, none) = with(Cache::Off, Preview::Off);
    assert_eq!(none, 0);
    let (image, heard, skipped) = with(Cache::FirstBlock(0.2), Preview::Off);
    assert!((1..11).contains(&skipped), "{skipped} of 12 steps");
    assert_ne!(image, plain);
    let ends = |heard: &[Progress]| {
        heard
            .last()
            .map(|event| (event.done, event.total, event.steps))
    };
    assert_eq!(ends(&heard), ends(&every));
    assert!(heard.is_sorted_by_key(|event| event.done));
    // A skipped step tells of its first block, of all others at once, and of its end.
    let blocks = every.len() / 12 - 1;
    assert_eq!(every.len() - heard.len(), skipped * (blocks - 2));
    let (again, _, same) = with(Cache::FirstBlock(0.2), Preview::On);
    assert!(
        again == image && same == skipped,
        "another picture of one pipeline begins anew"
    );
    assert_eq!(with(Cache::FirstBlock(0.0), Preview::Off).0, plain);
}

#[test]
fn a_cached_picture_is_cancelled_at_any_event() {
    let (pipeline, _) = load();
    let request = Request {
        cache: Cache::FirstBlock(1e9),
        ..request(&pipeline, Preview::Off)
    };
    let (image, heard) = paint(&pipeline, &request);
    for (allowed, at) in heard.iter().enumerate() {
        let painted = pollster::block_on(pipeline.generate(&request, &mut stop_after(allowed)));
        assert!(matches!(painted, Err(Error::Cancelled)), "{at:?}");
    }
    assert_eq!(paint(&pipeline, &request).0, image);
}

#[test]
fn a_picture_that_begins_with_another_is_cached_from_its_own_first_step() {
    let (pipeline, _) = load();
    let request = Request {
        steps: 8,
        cache: Cache::FirstBlock(1e9),
        init: Some(Init {
            image: stripes([20, 180, 20]),
            strength: 0.5,
        }),
        ..request(&pipeline, Preview::Off)
    };
    let (_, heard, skipped) = paint_cached(&pipeline, &request);
    assert_eq!(skipped, 3, "of 4 steps");
    let last = heard.last().expect("steps");
    assert_eq!(last.done, last.total);
}

/// A model whose reads are counted; nothing of it is lent.
struct Counted {
    model: FolderSource,
    bytes: Arc<AtomicU64>,
}

struct CountedFile {
    file: Arc<dyn WeightSource>,
    bytes: Arc<AtomicU64>,
}

impl ModelSource for Counted {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn open<'a>(
        &'a self,
        path: &'a str,
    ) -> LocalBoxFuture<'a, x2i_core::Result<Arc<dyn WeightSource>>> {
        Box::pin(async move {
            let (file, bytes) = (self.model.open(path).await?, self.bytes.clone());
            Ok(Arc::new(CountedFile { file, bytes }) as Arc<dyn WeightSource>)
        })
    }
}

impl WeightSource for CountedFile {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, x2i_core::Result<Cow<'_, [u8]>>> {
        self.bytes
            .fetch_add(range.end - range.start, Ordering::Relaxed);
        self.file.read(range)
    }
}

#[test]
fn skipped_blocks_are_not_read_and_the_picture_is_that_of_a_resident_model() {
    let (high, _) = load();
    let bytes = Arc::new(AtomicU64::new(0));
    let source = Counted {
        model: source(),
        bytes: bytes.clone(),
    };
    let mut ignore = async |_| ControlFlow::Continue(());
    let (options, device) = (TIGHT, Device::flex());
    let loaded = Pipeline::load_with(&options, &source, &device, &mut ignore);
    let tight = pollster::block_on(loaded).expect("it loads");
    let read = |cache, steps| {
        let request = Request {
            steps,
            cache,
            ..large_request(&tight, Preview::Off)
        };
        bytes.store(0, Ordering::Relaxed);
        let image = paint(&tight, &request).0;
        assert_eq!(image, paint(&high, &request).0);
        bytes.load(Ordering::Relaxed)
    };
    let every = Cache::FirstBlock(1e9);
    let whole_steps = read(Cache::Off, 5) - read(Cache::Off, 1);
    let skipped_steps = read(every, 5) - read(every, 1);
    assert!(whole_steps > 4 << 20, "{whole_steps} bytes in 4 steps");
    // The cache takes the place of the first block, which is then all that is read.
    let file = pollster::block_on(source.open("flux.gguf")).expect("the transformer's file");
    let file = pollster::block_on(WeightFile::open(file)).expect("a header");
    let tensors = file.tensors().iter();
    let first = tensors.filter(|(name, _)| name.starts_with("double_blocks.0."));
    let first: u64 = first.map(|(_, tensor)| tensor.byte_len()).sum();
    assert_eq!(skipped_steps, 4 * first);
}
