//! Job specifications from flags, merged with the metadata of a replayed image.

use anyhow::{Context, Result, bail};
use x2i_core::image::Hint;
use x2i_engine::{
    AdapterSpec, ControlSpec, InitSpec, JobSpec, LoraSpec, NamedFile, PartSpec, Settings,
    trained_hint,
};

use super::prompt::{prompt_text, read_prompt_file};
use crate::flags::{AdapterArgs, GenerateArgs, Given, Scaled, Seed, SettingsArgs, Size};
use crate::words::word;

/// The specification from the flags of `x2i generate`; the recorded one has the other values.
///
/// # Errors
/// For a prompt that can't be read, and for flags that need another flag.
pub fn of_flags(args: &GenerateArgs, recorded: JobSpec) -> Result<JobSpec> {
    let spec = JobSpec {
        parts: parts(&args.parts.given, &recorded.parts)?,
        settings: of_generate(args).or(recorded.settings.clone()),
        ..recorded
    };
    with_images(&args.adapters, spec)
}

/// The specification from the flags, for every line of a batch.
///
/// # Errors
/// For flags that need another flag.
pub fn of_batch(args: &GenerateArgs) -> Result<JobSpec> {
    let spec = JobSpec {
        settings: of_generate(args),
        ..JobSpec::default()
    };
    with_images(&args.adapters, spec)
}

fn of_generate(args: &GenerateArgs) -> Settings {
    Settings {
        conditioning: args.conditioning(),
        video_fps: args.video_fps,
        background: args.background(),
        ..settings(&args.settings)
    }
}

/// The settings from the flags that `generate`, `chat` and `gallery` share.
pub fn settings(args: &SettingsArgs) -> Settings {
    Settings {
        size: args.size.map(Size::sides),
        width: args.width,
        height: args.height,
        steps: args.steps,
        guidance: args.guidance,
        cache: args.cache,
        seed: args.seed.map(Seed::number),
        ..Settings::default()
    }
}

/// What the flags say, else what the weights say that they were trained on.
fn hint(args: &AdapterArgs) -> Hint {
    let given = args.control_hint.map(Hint::from);
    let trained = || args.control_weights.as_deref().and_then(trained_hint);
    given.or_else(trained).unwrap_or_default()
}

/// `spec` with the initial image and the control image of the flags.
///
/// # Errors
/// For flags that need another flag.
pub fn with_images(args: &AdapterArgs, spec: JobSpec) -> Result<JobSpec> {
    let init = match (&args.init, spec.init) {
        (Some(file), _) => Some(InitSpec {
            image: NamedFile::given(file).context("--init")?,
            strength: args.strength,
        }),
        (None, Some(recorded)) => Some(InitSpec {
            strength: args.strength.or(recorded.strength),
            ..recorded
        }),
        (None, None) if args.strength.is_some() => {
            bail!("--strength: needs an initial image; give it with --init")
        }
        (None, None) => None,
    };
    let control = match (&args.control, spec.control) {
        (Some(Scaled { file, scale }), _) => Some(ControlSpec {
            image: NamedFile::given(file).context("--control")?,
            scale: *scale,
            hint: hint(args),
        }),
        (None, Some(recorded)) => Some(ControlSpec {
            hint: args.control_hint.map_or(recorded.hint, Hint::from),
            ..recorded
        }),
        (None, None) if args.control_hint.is_some() => {
            bail!("--control-hint: needs a control image; give it with --control")
        }
        (None, None) if args.control_weights.is_some() => {
            bail!("--control-weights: needs a control image; give it with --control")
        }
        (None, None) => None,
    };
    Ok(JobSpec {
        init,
        control,
        ..spec
    })
}

/// The adapters from the flags, else the recorded ones.
pub fn adapters(args: &AdapterArgs, recorded: AdapterSpec) -> AdapterSpec {
    let given = args.loras.iter().map(|Scaled { file, scale }| LoraSpec {
        file: NamedFile::new(file),
        config: None,
        scale: *scale,
    });
    let weights = args.control_weights.as_ref().map(NamedFile::new);
    AdapterSpec {
        loras: match args.loras.is_empty() {
            true => recorded.loras,
            false => given.collect(),
        },
        control_weights: weights.or(recorded.control_weights),
    }
}

/// The given parts, merged with the recorded ones: a kind that is given replaces the recorded kind.
/// Given files come before recorded text; given text comes last.
fn parts(given: &[Given], recorded: &[PartSpec]) -> Result<Vec<PartSpec>> {
    let given: Vec<PartSpec> = given.iter().map(part).collect::<Result<_>>()?;
    let kinds: Vec<_> = given.iter().map(PartSpec::kind).collect();
    let kept = recorded.iter().filter(|part| !kinds.contains(&part.kind()));
    let kept: Vec<PartSpec> = kept.cloned().collect();
    let parts = match kinds.contains(&None) {
        true => [kept, given].concat(),
        false => [given, kept].concat(),
    };
    if parts.is_empty() {
        bail!("prompt: is missing; say what to paint, as in: x2i generate \"a red apple\"");
    }
    Ok(parts)
}

fn part(given: &Given) -> Result<PartSpec> {
    Ok(match given {
        Given::Prompt(prompt) => PartSpec::Text(prompt_text(prompt)?),
        Given::PromptFile(file) => PartSpec::Text(read_prompt_file(file)?),
        Given::Text(text) => PartSpec::Text(text.clone()),
        Given::File(kind, path) => PartSpec::File {
            kind: *kind,
            file: NamedFile::given(path).context(word(kind.field()))?,
            fps: None,
        },
    })
}
