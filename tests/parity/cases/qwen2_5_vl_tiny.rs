//! Qwen2.5-VL: prompts, pictures, vision tower, hidden states of prompt and answer, greedy tokens.

mod model;
mod pictures;
mod sub_case;

use x2i_core::Image;
use x2i_core::config::{Padding, PaddingSide, PromptFormat};
use x2i_core::request::{Part, Prompt};

use self::model::Model;
use self::sub_case::{SubCase, fetch};
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// The README's penalty of the sub-case `text_nopad_reppen`.
const REPETITION_PENALTY: f64 = 1.5;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let model = Model::open(case).await?;
    model.published_config(report).await?;
    for sub_case in sub_cases(case).await? {
        if !case
            .golden
            .contains(&format!("out.{}.generated_ids", sub_case.name))
        {
            report.note(format!(
                "{}: this golden set has no such sub-case",
                sub_case.name
            ));
            continue;
        }
        model.compare(&sub_case, report).await?;
    }
    if case
        .golden
        .names()
        .any(|name| name.starts_with("out.text_left_cuda."))
    {
        report.note("text_left_cuda: CUDA's rows of padding; ours are the CPU's on every device (text_left)");
    }
    model.video(report).await?;
    model.fetched_images(report).await?;
    model.preprocess(report).await
}

async fn sub_cases(case: &Case<'_>) -> Fallible<Vec<SubCase>> {
    let description = case.json("case.json").await?;
    let text = |key: &str| {
        description[key]
            .as_str()
            .ok_or(format!("case.json has no {key}"))
    };
    let number = |key: &str| {
        description[key]
            .as_u64()
            .map(|number| number as usize)
            .ok_or(format!("case.json has no {key}"))
    };
    let pad = |max_length: usize, side: PaddingSide| Some(Padding { max_length, side });
    let trunc = match case.golden.contains("out.text_trunc.input_ids") {
        true => case.golden.i64("out.text_trunc.input_ids").await?.1[1],
        false => 1,
    };
    let text_case = |name, padding| -> Fallible<SubCase> {
        Ok(SubCase {
            name,
            prompt: Prompt::text(text("prompt")?),
            format: PromptFormat::Plain,
            padding,
            input_image_size: None,
            repetition_penalty: 1.0,
        })
    };
    let size = description["script_image_size"]
        .as_array()
        .ok_or("case.json has no script_image_size")?;
    let size = [0, 1].map(|index| size[index].as_u64().unwrap_or(0) as usize);
    let [a, b] = [
        case.image("img_a.png").await?,
        case.image("img_b.png").await?,
    ];
    let image_case = |name, images: &[&Image], side| -> Fallible<SubCase> {
        let parts = images.iter().map(|&image| Part::Image(image.clone()));
        let parts = parts
            .chain([Part::Text(text("image_prompt")?.to_owned())])
            .collect();
        Ok(SubCase {
            prompt: Prompt::new(parts),
            input_image_size: Some(size),
            ..text_case(name, pad(number("max_length")?, side))?
        })
    };
    let [fetched_a, fetched_b] = [fetch(case, 0, &a).await?, fetch(case, 1, &b).await?];
    let comfy_parts = vec![
        Part::Image(fetched_a),
        Part::Image(fetched_b),
        Part::Text(text("comfy_text")?.to_owned()),
    ];
    Ok(vec![
        text_case(
            "text_right",
            pad(number("text_max_length")?, PaddingSide::Right),
        )?,
        text_case(
            "text_left",
            pad(number("text_max_length")?, PaddingSide::Left),
        )?,
        text_case("text_trunc", pad(trunc, PaddingSide::Right))?,
        text_case("text_nopad", None)?,
        SubCase {
            repetition_penalty: REPETITION_PENALTY,
            ..text_case("text_nopad_reppen", None)?
        },
        image_case("image1", &[&a], PaddingSide::Right)?,
        image_case("image1_left", &[&a], PaddingSide::Left)?,
        image_case("image2", &[&a, &b], PaddingSide::Right)?,
        SubCase {
            prompt: Prompt::new(comfy_parts),
            format: PromptFormat::Comfy,
            ..text_case("comfy", None)?
        },
    ])
}
