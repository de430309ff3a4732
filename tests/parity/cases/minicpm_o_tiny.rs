//! MiniCPM-o 2.6: prompts, views of pictures, spectrograms, both towers, hidden states, first tokens.

mod model;
mod towers;
mod wav;

use x2i_core::config::{Padding, PaddingSide};
use x2i_core::encoders::minicpm_o::input::Shown;
use x2i_core::request::{Part, Prompt};
use x2i_core::{Audio, Image, prompt};

use self::model::Model;
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// The most slices of the sub-case that slices (the README's).
const SLICES: usize = 4;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let model = Model::open(case).await?;
    model.tables(report).await?;
    for (name, prompt) in prompts(case).await? {
        let inputs = model.prepare(&prompt, None)?;
        model.compare(name, &inputs, report).await?;
    }
    sliced(&model, report).await?;
    trained(&model, report).await
}

/// The sub-cases that go the user's way, a prompt at a time.
async fn prompts(case: &Case<'_>) -> Fallible<Vec<(&'static str, Prompt)>> {
    let words = Part::Text(words(case).await?);
    let [a, b] = [
        picture(case, "img_a.png").await?,
        picture(case, "img_b.png").await?,
    ];
    let [a, b] = [a, b].map(Part::Image);
    let [long, short] = [
        sound(case, "audio_3s.wav").await?,
        sound(case, "audio_1.3s.wav").await?,
    ];
    let [long, short] = [long, short].map(Part::Audio);
    let of = |parts: &[&Part]| Prompt::new(parts.iter().copied().cloned().collect());
    Ok(vec![
        ("text", of(&[&words])),
        ("image", of(&[&a])),
        ("image2", of(&[&a, &b, &words])),
        ("audio", of(&[&long])),
        ("audio2", of(&[&long, &short])),
        ("omni", of(&[&a, &short, &words])),
    ])
}

/// A large picture in slices, which X2I's script never makes.
async fn sliced(model: &Model<'_>, report: &mut Report) -> Outcome {
    let image = picture(model.case, "img_b.png").await?;
    let shown = Shown::Image(model.minicpm.slicer(SLICES).image(&image)?);
    let prompts = model.case.json("prompts.json").await?;
    let text = prompts["image_sliced"]
        .as_str()
        .ok_or("prompts.json has no image_sliced")?;
    let inputs = model.minicpm.assemble(text, vec![shown], None)?;
    model.compare("image_sliced", &inputs, report).await
}

/// The prompt of AlignNet's training: the padding is read like any token.
async fn trained(model: &Model<'_>, report: &mut Report) -> Outcome {
    let name = "train_text";
    let (_, shape) = model.case.golden.i64("out.train_text.input_ids").await?;
    let padding = Padding {
        max_length: shape[1],
        side: PaddingSide::Right,
    };
    let text = prompt::training(&words(model.case).await?);
    let inputs = model.prepare(&Prompt::text(text), Some(padding))?;
    model.compare(name, &inputs, report).await
}

async fn words(case: &Case<'_>) -> Fallible<String> {
    let description = case.json("case.json").await?;
    let text = description["text"].as_str();
    Ok(text.ok_or("case.json has no text")?.to_owned())
}

async fn picture(case: &Case<'_>, file: &str) -> Fallible<Image> {
    case.image(file).await
}

async fn sound(case: &Case<'_>, file: &str) -> Fallible<Audio> {
    wav::read(&case.read(file).await?)
}
