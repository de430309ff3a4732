//! Runs of LightControl's training.

use std::fs;

use burn::tensor::Device;
use toml::Table;
use x2i_core::Result;
use x2i_engine::{AdapterSpec, Model, NamedFile};
use x2i_train::control::Control;
use x2i_train::run::{Settings, What};

use super::{Place, drive, read};

const WEIGHTS: &str = "control/diffusion_pytorch_model.safetensors";

impl Place {
    /// A run of LightControl on the pictures, or on what `more` names.
    fn run_control(&self, out: &str, more: &str, most: usize) -> Result<(bool, Vec<f64>)> {
        let data = match more.contains("data = ") {
            true => String::new(),
            false => format!("data = [{:?}]\n", self.path("pictures")),
        };
        let text = format!(
            "model = {:?}\nvalidation-data = [{:?}]\nout = {:?}\nupdates = 6\nwarmup = 1\nwidth = 32\nheight = 32\n\
             learning-rate = 0.02\ncheckpoint-every = 2\nvalidate-every = 6\nsample-every = 6\n\
             control-channels = [8, 8, 8, 16, 16]\ncontrol-time = 16\n{data}{more}",
            self.path("model"),
            self.path("pictures"),
            self.path(out),
        );
        let settings = Settings::read(What::Control, "run.toml", &text, Table::new())?;
        let device = Device::flex();
        let model = Model::open(settings.model.as_deref().unwrap_or_default())?;
        let subject = Control::open(&settings, &model, &device, [1, 0], &mut |line| {
            panic!("{line}")
        })?;
        drive(&settings, What::Control, subject, device, most)
    }

    /// Whether inference takes a run's nets.
    fn steers(&self, out: &str) -> Result<Model> {
        let adapters = AdapterSpec {
            control_weights: Some(NamedFile::new(self.path(out).join(WEIGHTS))),
            ..AdapterSpec::default()
        };
        Model::open(self.path("model").to_str().unwrap())?.with_adapters(&adapters)
    }
}

/// The losses of the validations in a run's log.
fn validations(place: &Place, run: &str) -> Vec<f64> {
    let log = String::from_utf8(read(place.path(run).join("log.jsonl"))).unwrap();
    let lines = log.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["validation"].as_f64()
    });
    lines.flatten().collect()
}

#[test]
fn nets_learn_their_pictures_go_on_and_are_read_by_inference() {
    let place = Place::new();
    let sample = format!(
        "sample-prompts = ['a red apple']\nsample-steps = 1\nsample-hints = [{:?}]\n",
        place.path("pictures/1.png")
    );
    let cached = format!("cache = {:?}\n", place.path("cache"));
    for more in [
        format!("hint = 'edges'\n{sample}"),
        format!("hint = 'gray'\nbatch = 2\ncaption-dropout = 0.5\nema = 0.5\n{cached}"),
        "prompt-format = 'training'\nzero-start = false\noptimizer = 'muon'\n".to_owned(),
    ] {
        let (ended, losses) = place.run_control("whole", &more, usize::MAX).unwrap();
        assert!(ended && losses.len() == 6);
        place.run_control("parts", &more, 3).unwrap();
        place.run_control("parts", &more, usize::MAX).unwrap();
        let [whole, parts] = ["whole", "parts"].map(|run| read(place.path(run).join(WEIGHTS)));
        assert!(whole == parts, "{more}");
        let validation = validations(&place, "whole");
        assert!(validation[1] < validation[0], "{more}{validation:?}");
        place.steers("whole").unwrap();
        if more.contains("sample-prompts") {
            // Nets that start at zero paint what the model paints without them.
            place.run_lora("lora", &sample_of_lora(&sample), 1).unwrap();
            let picture = |run: &str, update: u64| {
                read(place.path(run).join(format!("samples/{update:06}-0.png")))
            };
            assert!(picture("whole", 0) == picture("lora", 0));
            assert!(picture("whole", 0) != picture("whole", 6));
        }
        // Others begin with them.
        let begin = format!(
            "control-weights = {:?}\n",
            place.path("whole").join(WEIGHTS)
        );
        place.run_control("more", &begin, 1).unwrap();
        assert!((validations(&place, "more")[0] - validation[1]).abs() < 1.0);
        for run in ["whole", "parts", "more"] {
            fs::remove_dir_all(place.path(run)).unwrap();
        }
    }
}

/// The same sample of a run without hints.
fn sample_of_lora(sample: &str) -> String {
    let lines = sample.lines().filter(|line| !line.contains("sample-hints"));
    let lines: String = lines.flat_map(|line| [line, "\n"]).collect();
    format!("width = 32\nheight = 32\n{lines}")
}

#[test]
fn hints_of_their_own_and_pairs_are_learnt_from() {
    let place = Place::new();
    let folder = place.path("pairs");
    fs::create_dir(&folder).unwrap();
    for number in 0..2 {
        let picture = place.path("pictures").join(format!("{number}.png"));
        fs::copy(&picture, folder.join(format!("{number}.png"))).unwrap();
        fs::copy(&picture, folder.join(format!("{number}.hint.png"))).unwrap();
    }
    let (_, of_folder) = place
        .run_control("folder", &format!("data = [{folder:?}]\n"), 3)
        .unwrap();
    // A picture that steers itself is the same as a copy of it that does, and needs no caption.
    let plain = place.path("plain");
    fs::create_dir(&plain).unwrap();
    for number in 0..2 {
        let picture = folder.join(format!("{number}.png"));
        fs::copy(picture, plain.join(format!("{number}.png"))).unwrap();
    }
    let (_, of_itself) = place
        .run_control("plain-run", &format!("data = [{plain:?}]\n"), 3)
        .unwrap();
    assert_eq!(of_folder, of_itself);
    // Another hint is another loss, once the nets have learnt something.
    fs::write(
        place.path("lines.jsonl"),
        "{\"image\": \"plain/0.png\", \"hint\": \"pairs/0.png\", \"caption\": \"a\"}\n\
         {\"source\": \"pairs/1.png\", \"target\": \"plain/1.png\", \"instruction\": \"paint it\"}\n\
         {\"source\": \"pairs/1.png\", \"target\": \"plain/1.png\", \"caption\": \"a\"}\n",
    )
    .unwrap();
    let lines = format!("data = [{:?}]\n", place.path("lines.jsonl"));
    assert!(place.run_control("lines", &lines, usize::MAX).unwrap().0);
}

#[test]
fn what_can_not_steer_is_refused_in_one_line() {
    let place = Place::new();
    let message = |more: &str| match place.run_control("refused", more, 1) {
        Ok(_) => panic!("it ran: {more}"),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n'), "{message}");
            message
        }
    };
    let text = message("sample-prompts = ['a', 'b']\n");
    assert!(
        text.contains("there are 2 `sample-prompts` and 0 `sample-hints`"),
        "{text}"
    );
    let text = message("sample-prompts = ['a']\nsample-hints = ['nothing.png']\n");
    assert!(text.contains("nothing.png"), "{text}");
    // Weights of something else, and of another width.
    let begin = |file: &str| format!("control-weights = {:?}\n", place.path(file));
    let text = message(&begin("model/flux/text_encoder/model.safetensors"));
    assert!(text.contains("no tensor of a LightControl"), "{text}");
    let text = message(&begin("nothing.safetensors"));
    assert!(text.contains("nothing.safetensors"), "{text}");
    let text = message(
        "hint = 'edges'\nwidth = 30\n"
            .replace("width = 30", "resolution = 30")
            .as_str(),
    );
    assert!(text.contains("must be a multiple of 16"), "{text}");
    // A hint of another size leaves its sample out; without any other that is the end.
    let folder = place.path("sizes");
    fs::create_dir(&folder).unwrap();
    fs::copy(place.path("pictures/0.png"), folder.join("0.png")).unwrap();
    fs::copy(place.path("pictures/1.png"), folder.join("0.hint.png")).unwrap();
    let text = message(&format!("data = [{folder:?}]\n"));
    assert!(
        text.contains("sample 0") && text.contains("40x40"),
        "{text}"
    );
    assert!(!place.path("refused").join(WEIGHTS).exists());
}
