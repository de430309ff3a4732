//! Runs of training on a small model.

mod control;
mod faults;
mod model;
mod pairs;
mod pictures;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use tempfile::TempDir;
use toml::Table;
use x2i_core::{Error, Result};
use x2i_engine::{AdapterSpec, LoraSpec, Model, NamedFile};
use x2i_train::align::Align;
use x2i_train::lora::Lora;
use x2i_train::run::{Alone, Event, Settings, Subject, Trainer, What};

const CAPTIONS: [&str; 5] = [
    "a red apple on a table",
    "a blue house, two windows",
    "the sea",
    "a cat that sleeps on a green chair",
    "a red apple on a plate",
];

/// A model, captions, and space for runs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        model::make(&folder.path().join("model"));
        model::captions(&folder.path().join("captions.jsonl"), &CAPTIONS);
        model::captions(&folder.path().join("others.jsonl"), &["a green tree"]);
        pictures::make(&folder.path().join("pictures"), &CAPTIONS[..3]);
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self, out: &str, more: &str) -> Result<Settings> {
        let text = format!(
            "model = {:?}\ndata = [{:?}]\nout = {:?}\nwidth = 32\nheight = 32\nupdates = 6\n\
             warmup = 1\nlearning-rate = 0.01\ncheckpoint-every = 2\nkeep = 2\nvalidate-every = 3\nsample-every = 3\n{more}",
            self.path("model"),
            self.path("captions.jsonl"),
            self.path(out),
        );
        Settings::read(What::Align, "run.toml", &text, Table::new())
    }

    /// Runs until `most` updates of this process are made; the losses of them.
    fn run(&self, settings: &Settings, most: usize) -> Result<(bool, Vec<f64>)> {
        let device = Device::flex();
        let files = settings.model.as_deref().unwrap_or_default();
        let model = Model::open(files)?;
        let mut warned = vec![];
        let subject = Align::open(settings, &model, &device, [1, 0], &mut |line| {
            warned.push(line)
        })?;
        drive(settings, What::Align, subject, device, most)
    }

    /// The same of a LoRA on the pictures.
    fn run_lora(&self, out: &str, more: &str, most: usize) -> Result<(bool, Vec<f64>)> {
        self.run_lora_on(&self.path("pictures"), out, more, most)
    }

    /// The same on other data, which is validated on, too.
    fn run_lora_on(
        &self,
        data: &Path,
        out: &str,
        more: &str,
        most: usize,
    ) -> Result<(bool, Vec<f64>)> {
        let settings = self.lora_settings(data, out, more)?;
        let device = Device::flex();
        let model = Model::open(settings.model.as_deref().unwrap_or_default())?;
        let subject = Lora::open(&settings, &model, &device, [1, 0], &mut |line| {
            panic!("{line}")
        })?;
        drive(&settings, What::Lora, subject, device, most)
    }

    /// The settings of a LoRA's run, where `more` replaces what all runs have.
    fn lora_settings(&self, data: &Path, out: &str, more: &str) -> Result<Settings> {
        let more: Table = more.parse().unwrap();
        let text = format!(
            "model = {:?}\ndata = [{:?}]\nvalidation-data = [{:?}]\nout = {:?}\nupdates = 6\nwarmup = 1\n\
             learning-rate = 0.02\ncheckpoint-every = 2\nvalidate-every = 6\nsample-every = 6\nrank = 4\n",
            self.path("model"),
            data,
            data,
            self.path(out),
        );
        Settings::read(What::Lora, "run.toml", &text, more)
    }

    /// The losses of a run's validations.
    fn validation(&self, run: &str) -> Vec<f64> {
        let log = String::from_utf8(read(self.path(run).join("log.jsonl"))).unwrap();
        let lines = log.lines().filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["validation"].as_f64()
        });
        lines.collect()
    }

    /// Inference reads a LoRA's file.
    fn generates_with(&self, file: &Path) {
        self.with_lora(file).unwrap();
    }

    fn with_lora(&self, file: &Path) -> Result<Model> {
        let model = Model::open(self.path("model").to_str().unwrap()).unwrap();
        let loras = vec![LoraSpec {
            file: NamedFile::new(file),
            config: None,
            scale: 1.0,
        }];
        let adapters = AdapterSpec {
            loras,
            ..AdapterSpec::default()
        };
        model.with_adapters(&adapters)
    }
}

fn drive(
    settings: &Settings,
    what: What,
    subject: impl Subject,
    device: Device,
    most: usize,
) -> Result<(bool, Vec<f64>)> {
    let mut trainer = Trainer::open(settings, what, subject, &Alone, device)?;
    let mut losses = vec![];
    let ended = trainer.run(&mut |event| {
        if let Event::Updated(line) = event {
            losses.extend(line.loss);
        }
        match losses.len() >= most {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok((ended, losses))
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn a_run_writes_its_folder_and_the_loss_falls() {
    let place = Place::new();
    let more = format!(
        "validation-data = [{:?}]\nsample-prompts = ['a red apple']\nsample-steps = 1\nupdates = 12\n",
        place.path("others.jsonl")
    );
    let more = more.replace("updates = 12\n", "");
    let settings = place.settings("run", &more).unwrap();
    let (ended, losses) = place.run(&settings, usize::MAX).unwrap();
    assert!(ended);
    assert_eq!(losses.len(), 6);
    let out = place.path("run");
    for file in [
        "config.toml",
        "log.jsonl",
        "index.html",
        "checkpoints/6/model.safetensors",
        "checkpoints/6/optimizer.safetensors",
        "checkpoints/6/state.json",
        "samples/000000-0.png",
        "samples/000003-0.png",
        "samples/000006-0.png",
        "proj/config.json",
        "proj/diffusion_pytorch_model.safetensors",
    ] {
        assert!(!read(out.join(file)).is_empty(), "{file}");
    }
    // The two newest are kept.
    assert!(out.join("checkpoints/4").exists() && !out.join("checkpoints/2").exists());
    let validation = place.validation("run");
    assert_eq!(validation.len(), 3, "{validation:?}");
    assert!(validation[2] < validation[0], "{validation:?}");
    // The trained AlignNet is one that inference reads.
    let trained = place.path("trained");
    fs::rename(place.path("model"), &trained).unwrap();
    fs::remove_dir_all(trained.join("proj")).unwrap();
    fs::rename(out.join("proj"), trained.join("proj")).unwrap();
    Model::open(trained.to_str().unwrap()).unwrap();
}

#[test]
fn a_run_that_was_ended_goes_on_as_if_it_had_not_been() {
    let place = Place::new();
    for more in [
        "",
        "optimizer = 'adamw8bit'\nema = 0.9\nbatch = 2\n",
        "optimizer = 'muon'\naccumulation = 2\n",
    ] {
        let whole = place.settings("whole", more).unwrap();
        let (_, losses) = place.run(&whole, usize::MAX).unwrap();
        let parts = place.settings("parts", more).unwrap();
        let (ended, mut first) = place.run(&parts, 3).unwrap();
        assert!(!ended && first.len() == 3);
        // What a killed process leaves behind.
        fs::create_dir(place.path("parts/checkpoints/.5.part")).unwrap();
        let (ended, second) = place.run(&parts, usize::MAX).unwrap();
        assert!(ended);
        first.extend(second);
        assert_eq!(first, losses, "{more}");
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let file = format!("checkpoints/6/{file}");
            let same =
                read(place.path("whole").join(&file)) == read(place.path("parts").join(&file));
            assert!(same, "{more}{file}");
        }
        let lines = |run: &str| {
            let log = String::from_utf8(read(place.path(run).join("log.jsonl"))).unwrap();
            let lines = log.lines().map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["seconds"] = 0.into();
                line
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(lines("parts"), lines("whole"), "{more}");
        fs::remove_dir_all(place.path("whole")).unwrap();
        fs::remove_dir_all(place.path("parts")).unwrap();
    }
}

#[test]
fn a_cache_gives_what_was_computed_and_is_refused_for_another_model() {
    let place = Place::new();
    let more = format!("cache = {:?}\n", place.path("cache"));
    let (_, first) = place.run(&place.settings("a", &more).unwrap(), 3).unwrap();
    let (_, second) = place.run(&place.settings("b", &more).unwrap(), 3).unwrap();
    assert_eq!(first, second);
    let (_, plain) = place.run(&place.settings("c", "").unwrap(), 3).unwrap();
    for (cached, plain) in first.iter().zip(&plain) {
        assert!((cached / plain - 1.0).abs() < 0.05, "{first:?} {plain:?}");
    }
    fs::copy(
        place.path("model/flux/text_encoder/model.safetensors"),
        place.path("kept"),
    )
    .unwrap();
    let other = place.path("model/mllm/model.safetensors");
    if other.exists() {
        let mut bytes = read(&other);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&other, bytes).unwrap();
        let error = place
            .run(&place.settings("d", &more).unwrap(), 1)
            .unwrap_err();
        assert!(error.to_string().contains("cache"), "{error}");
    }
}

#[test]
fn what_can_not_be_is_refused_in_one_line() {
    let place = Place::new();
    let settings = place.settings("run", "").unwrap();
    place.run(&settings, 2).unwrap();
    let message = |settings: &Settings| match place.run(settings, 1) {
        Ok(_) => panic!("it ran"),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n'), "{message}");
            message
        }
    };
    // Another run's numbers.
    let other = place.settings("run", "weight-decay = 0.5\n").unwrap();
    let text = message(&other);
    assert!(
        text.contains("`weight-decay` 0.01, now it is 0.5"),
        "{text}"
    );
    // A folder of something else.
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/file"), "").unwrap();
    let text = message(&place.settings("full", "").unwrap());
    assert!(text.contains("it is no run's folder"), "{text}");
    // A checkpoint that is damaged.
    let model = place.path("run/checkpoints/2/model.safetensors");
    let bytes = read(&model);
    fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    let text = message(&settings);
    assert!(text.contains("model.safetensors"), "{text}");
    // No teacher.
    fs::remove_dir_all(place.path("model/flux/text_encoder_2")).unwrap();
    let text = message(&place.settings("new", "").unwrap());
    assert!(text.contains("name their folder as `teacher`"), "{text}");
    // No data.
    let mut none = settings.clone();
    none.data = vec!["nothing.tar".to_owned()];
    assert!(matches!(
        place.run(&none, 1),
        Err(Error::MissingFile { .. })
    ));
}

#[test]
fn a_lora_learns_its_pictures_goes_on_and_is_read_by_inference() {
    let place = Place::new();
    for (more, file) in [
        (
            "width = 32\nheight = 32\ntrigger = 'zzz'\n",
            "lora.safetensors",
        ),
        (
            "resolution = 48\nbatch = 2\ndora = true\ndensity = 'flux-shift'\n",
            "lora.safetensors",
        ),
        (
            "width = 32\nheight = 32\nformat = 'kohya'\ntitle = 'mine'\ntargets = '/.*attn.to_q/'\n",
            "mine.safetensors",
        ),
    ] {
        let (ended, losses) = place.run_lora("whole", more, usize::MAX).unwrap();
        assert!(ended && losses.len() == 6);
        place.run_lora("parts", more, 3).unwrap();
        place.run_lora("parts", more, usize::MAX).unwrap();
        let [whole, parts] = ["whole", "parts"].map(|run| place.path(run).join(file));
        assert!(read(&whole) == read(&parts), "{more}");
        let validation = place.validation("whole");
        assert!(validation[1] < validation[0], "{more}{validation:?}");
        place.generates_with(&whole);
        // Every checkpoint has the file as it was then; its parameters alone have no alpha.
        let last = place.path("whole/checkpoints/6");
        assert!(read(last.join(file)) == read(&whole), "{more}");
        let refused = place.with_lora(&last.join("model.safetensors"));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("take the LoRA beside it"), "{error}");
        fs::remove_dir_all(place.path("whole")).unwrap();
        fs::remove_dir_all(place.path("parts")).unwrap();
    }
    let error = place.run_lora("x", "title = '../x'\n", 1).unwrap_err();
    assert!(error.to_string().contains("without slashes"), "{error}");
    let error = place.run_lora("x", "width = 32\nheight = 32\ntargets = 'nothing'\n", 1);
    assert!(error.unwrap_err().to_string().contains("match no layer"));
}

#[test]
fn a_picture_that_can_not_be_read_is_told_of_once_and_the_run_goes_on() {
    let place = Place::new();
    let pictures = place.path("pictures");
    let whole = read(pictures.join("0.png"));
    fs::write(pictures.join("0.png"), &whole[..whole.len() / 2]).unwrap();
    let more = "width = 32\nheight = 32\n";
    let (ended, losses) = place.run_lora("run", more, usize::MAX).unwrap();
    assert!(ended && losses.len() == 6);
    let log = String::from_utf8(read(place.path("run/log.jsonl"))).unwrap();
    assert_eq!(
        log.matches("sample 0: its picture can't be read").count(),
        1,
        "{log}"
    );
    for number in 1..3 {
        fs::write(pictures.join(format!("{number}.png")), b"nothing").unwrap();
    }
    let error = place.run_lora("none", more, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("can't be read"), "{error}");
}
