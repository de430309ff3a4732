//! Prompt strings (Python's `repr`), tiny tokenizers and `smart_resize`: all exact.

use serde_json::Value;
use x2i_core::config::PreprocessorConfig;
use x2i_core::encoders::qwen2_5_vl::patches::smart_resize;
use x2i_core::prompt::{self, Pictures};
use x2i_core::tokenizer::{AddedFiles, SpecialTokens, Tokenizer};
use x2i_core::video::sampling::Sampling;

use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// Pixels of a merged patch's side, as the README says.
const FACTOR: usize = 28;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    strings(case, report).await?;
    tokenizers(case, report).await?;
    sizes(case, report).await?;
    if case.exists("video_sampling_fps1.json").await? {
        frames(case, report).await?;
    }
    Ok(())
}

/// The frames that `qwen_vl_utils` chooses at one frame a second, as X2I's scripts ask.
async fn frames(case: &Case<'_>, report: &mut Report) -> Outcome {
    let rows = case.json("video_sampling_fps1.json").await?;
    let rows = rows
        .as_array()
        .ok_or("video_sampling_fps1.json is no list")?;
    for row in rows {
        let frames = row["total_frames"].as_u64().ok_or("no total_frames")? as usize;
        let fps = row["video_fps"].as_f64().ok_or("no video_fps")?;
        let ours = Sampling::Even { fps: 1.0 }.choose(frames, fps)?;
        let golden: Vec<usize> = serde_json::from_value(row["indices"].clone())?;
        report.equal(&format!("frames of {frames} at {fps}"), &ours, &golden);
    }
    Ok(())
}

/// Builds one form of a prompt.
type Form = fn(&str) -> String;

async fn strings(case: &Case<'_>, report: &mut Report) -> Outcome {
    let forms: [(&str, Form); 6] = [
        ("repr", prompt::python_repr),
        ("comfy_no_image", |text| prompt::comfy(text, Pictures::None)),
        ("comfy_image", |text| prompt::comfy(text, Pictures::Some)),
        ("internvl", |text| prompt::internvl(Some(text))),
        ("train", prompt::training),
        ("lightcontrol", prompt::light_control),
    ];
    let rows = case.json("python_repr.json").await?;
    for row in rows.as_array().ok_or("python_repr.json is no list")? {
        let Some(text) = row["text"].as_str() else {
            let golden = row["internvl"]
                .as_str()
                .ok_or("a row without text has no internvl form")?;
            report.equal("internvl(None)", prompt::internvl(None).as_str(), golden);
            continue;
        };
        for (name, form) in forms {
            if let Some(golden) = row[name].as_str() {
                report.equal(&format!("{name}({text:?})"), form(text).as_str(), golden);
            }
        }
    }
    Ok(())
}

async fn tokenizers(case: &Case<'_>, report: &mut Report) -> Outcome {
    let folders = case.json("tiny_tokenizers.json").await?;
    for (folder, rows) in folders
        .as_object()
        .ok_or("tiny_tokenizers.json is no object")?
    {
        let beside = format!("../{folder}");
        if !case.exists(&format!("{beside}/tokenizer.json")).await? {
            report.note(format!(
                "{folder}: no such golden folder here, its tokenizer is not compared"
            ));
            continue;
        }
        for (form, tokenizer) in open_both(case, &beside).await? {
            compare_rows(&format!("{folder} {form}"), &tokenizer, rows, report)?;
        }
    }
    Ok(())
}

/// A folder's tokenizer from `tokenizer.json`, and from `vocab.json` where Qwen's split rule applies.
async fn open_both(case: &Case<'_>, folder: &str) -> Fallible<Vec<(&'static str, Tokenizer)>> {
    let read = async |name: &str| case.read(&format!("{folder}/{name}")).await;
    let json = read("tokenizer.json").await?;
    let mut tokenizers = vec![(
        "tokenizer.json",
        Tokenizer::from_json("tokenizer.json", &json)?,
    )];
    if case.exists(&format!("{folder}/merges.txt")).await? {
        let (vocab, merges) = (read("vocab.json").await?, read("merges.txt").await?);
        let config = read("tokenizer_config.json").await.ok();
        let added = AddedFiles {
            tokenizer_config: config.as_deref(),
            ..AddedFiles::default()
        };
        let built = Tokenizer::from_vocab_and_merges("", &vocab, &merges, added)?;
        tokenizers.push(("vocab.json", built));
    }
    Ok(tokenizers)
}

fn compare_rows(name: &str, tokenizer: &Tokenizer, rows: &Value, report: &mut Report) -> Outcome {
    for row in rows.as_array().ok_or(format!("{name} is no list"))? {
        let text = row["text"]
            .as_str()
            .ok_or(format!("{name}: a row has no text"))?;
        let ids = tokenizer.encode(text)?;
        report.equal(
            &format!("{name} ids({text:?})"),
            &serde_json::json!(ids),
            &row["ids"],
        );
        if let Some(golden) = row["decoded"].as_str() {
            let decoded = tokenizer.decode(&ids, SpecialTokens::Keep)?;
            report.equal(
                &format!("{name} decoded({text:?})"),
                decoded.as_str(),
                golden,
            );
        }
    }
    Ok(())
}

async fn sizes(case: &Case<'_>, report: &mut Report) -> Outcome {
    let (inputs, _) = case.golden.i64("in.smart_resize_h_w_min_max").await?;
    let (golden, _) = case.golden.i64("out.smart_resize").await?;
    for (input, golden) in inputs.chunks_exact(4).zip(golden.chunks_exact(2)) {
        let [height, width, min_pixels, max_pixels] =
            [0, 1, 2, 3].map(|index| input[index] as usize);
        let limits = PreprocessorConfig {
            min_pixels,
            max_pixels,
            ..PreprocessorConfig::default()
        };
        let name = format!("smart_resize{input:?}");
        match smart_resize(&name, [height, width], FACTOR, &limits) {
            Ok(ours) => report.equal(&name, &ours.map(|side| side as i64)[..], golden),
            Err(error) => report.fail(error.to_string()),
        }
    }
    Ok(())
}
