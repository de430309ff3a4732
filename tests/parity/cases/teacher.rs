//! The teacher: T5's encoder, CLIP's text model, and the tokenizers of both.

use x2i_core::config::{ClipTextConfig, T5Config};
use x2i_core::model::TeacherPlaces;
use x2i_core::teacher::{ClipText, ClipTokenizer, T5Encoder, T5Tokenizer, read_tokenizers};
use x2i_core::weights::Component;

use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// The weights in both cases' folders.
const MODEL: &str = "model.safetensors";

pub async fn run_t5(case: &Case<'_>, report: &mut Report) -> Outcome {
    let json = case.json("config.json").await?;
    let weights = case.weights(Component::T5, &[MODEL]).await?;
    let config = T5Config::from_shapes(MODEL, Some(("config.json", &json)), |name| {
        weights.shape(name)
    })?;
    let t5 = T5Encoder::load(&config, &weights.scope(&case.device)).await?;
    let ids = rows(case, "in.input_ids").await?;
    let mut states = vec![];
    let last = t5.forward_with(&ids, |state| states.push(state.clone()));
    // The golden's last hidden state is after the final norm.
    states.pop();
    for (index, state) in states.into_iter().enumerate() {
        let name = format!("out.hidden.{index}");
        report.close(
            &name,
            &case.values(state).await?,
            &case.golden.f32(&name).await?.0,
        );
    }
    let last = case.values(last).await?;
    for name in [
        "out.last_hidden_state",
        &format!("out.hidden.{}", config.stack.num_layers),
    ] {
        report.close(name, &last, &case.golden.f32(name).await?.0);
    }
    Ok(())
}

pub async fn run_clip(case: &Case<'_>, report: &mut Report) -> Outcome {
    let json = case.json("config.json").await?;
    let config = ClipTextConfig::read("config.json", json, &mut vec![])?;
    let weights = case.weights(Component::ClipText, &[MODEL]).await?;
    let clip = ClipText::load(&config, &weights.scope(&case.device)).await?;
    let ids = rows(case, "in.input_ids").await?;
    let mut states = vec![];
    let output = clip.forward_with(&ids, |state| states.push(state.clone()));
    for (index, state) in states.into_iter().enumerate() {
        let name = format!("out.hidden.{index}");
        report.close(
            &name,
            &case.values(state).await?,
            &case.golden.f32(&name).await?.0,
        );
    }
    let name = "out.last_hidden_state";
    let last = case.values(output.last_hidden_state).await?;
    report.close(name, &last, &case.golden.f32(name).await?.0);
    let name = "out.pooler_output";
    let pooled = case.values(output.pooler_output).await?;
    report.close(name, &pooled, &case.golden.f32(name).await?.0);
    Ok(())
}

pub async fn run_tokenizers(case: &Case<'_>, report: &mut Report) -> Outcome {
    let strings: Vec<String> = serde_json::from_value(case.json("strings.json").await?)?;
    let config = case.read("t5/tokenizer_config.json").await?;
    let json = T5Tokenizer::from_json("tokenizer.json", &case.read("t5/tokenizer.json").await?)?;
    let spiece = case.read("t5/spiece.model").await?;
    let spiece = T5Tokenizer::from_sentencepiece("spiece.model", &spiece, Some(&config))?;
    let golden = rows(case, "out.t5_ids").await?;
    for (name, tokenizer) in [("tokenizer.json", json), ("spiece.model", spiece)] {
        for (text, golden) in strings.iter().zip(&golden) {
            let ids = tokenizer.encode(text, golden.len())?;
            report.equal(&format!("t5 {name} {}", label(text)), &ids, golden);
        }
    }
    let (vocab, merges) = (
        case.read("clip/vocab.json").await?,
        case.read("clip/merges.txt").await?,
    );
    let clip = ClipTokenizer::new("clip", &vocab, &merges)?;
    for (text, golden) in strings.iter().zip(&rows(case, "out.clip_ids").await?) {
        let ids = clip.encode(text, golden.len())?;
        report.equal(&format!("clip {}", label(text)), &ids, golden);
    }
    as_folders(case, report, &strings, &golden).await
}

/// The same through the files' usual places, which the teacher is loaded from.
async fn as_folders(
    case: &Case<'_>,
    report: &mut Report,
    strings: &[String],
    golden: &[Vec<u32>],
) -> Outcome {
    let places = TeacherPlaces {
        t5: "../t5_tiny".into(),
        clip: "../clip_tiny".into(),
        t5_tokenizer: "t5".into(),
        clip_tokenizer: "clip".into(),
    };
    if !case.exists("../t5_tiny/config.json").await? {
        report.note("t5_tiny is not here; the teacher's folders are not looked at");
        return Ok(());
    }
    let source = case.folder("");
    let parts = x2i_core::model::read_teacher(&source, &places).await?;
    let (t5, clip) = read_tokenizers(&source, &parts).await?;
    for (text, golden) in strings.iter().zip(golden) {
        let ids = t5.encode(text, golden.len())?;
        report.equal(&format!("folders t5 {}", label(text)), &ids, golden);
    }
    let ids = clip.encode("", 77)?;
    report.equal("folders clip", &ids.len(), &77);
    Ok(())
}

fn label(text: &str) -> String {
    format!("{:?}", text.chars().take(20).collect::<String>())
}

/// A golden's rows of ids.
pub(super) async fn rows(case: &Case<'_>, name: &str) -> Fallible<Vec<Vec<u32>>> {
    let (ids, shape) = case.golden.i64(name).await?;
    let tokens = *shape.last().ok_or("ids have no axis")?;
    let rows = ids.chunks_exact(tokens);
    Ok(rows
        .map(|row| row.iter().map(|&id| id as u32).collect())
        .collect())
}
