//! `x2i pull`: downloads a model of the Hugging Face Hub; also for `--model OWNER/REPO` of a model that is
//! not here yet.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use x2i_core::Error;
use x2i_core::model::ModelSource;
use x2i_engine::Model;
use x2i_engine::host::human_bytes;
use x2i_engine::models::EMBEDDED_NAME;
use x2i_engine::models::hub::{Cache, Hub, HubOptions, Network, Plan, Reference};

use crate::flags::{EngineArgs, PullArgs};
use crate::terminal::{Display, Interrupt, PullProgress, printable, printable_json};

/// Runs `x2i pull`.
///
/// # Errors
/// The Hub's, the network's and the disk's reasons; [`x2i_core::Error::Cancelled`] on Ctrl-C.
pub fn run(args: &PullArgs) -> Result<()> {
    let display = Display::choose(args.quiet, args.json);
    let interrupt = Interrupt::listen()?;
    let options = HubOptions {
        connections: args.connections.into(),
        ..options(args.offline)?
    };
    if options.network == Network::Offline
        && let Some(folder) = options.cache.find(&args.model)
    {
        return tell_place(display, &args.model, &folder);
    }
    let pull = Pull::plan(&args.model, options, display, interrupt)?;
    pull.tell_plan(args.dry_run)?;
    match args.dry_run {
        true => Ok(()),
        false => tell_place(display, &args.model, &pull.fetch()?),
    }
}

/// Downloads the model of `--model` if that is the name of a repository, and it is nowhere here. A model that
/// a record names is never downloaded.
///
/// # Errors
/// As [`run`].
pub fn ensure(args: &EngineArgs, display: Display, interrupt: &Interrupt) -> Result<()> {
    let Some(name) = args.model.as_deref() else {
        return Ok(());
    };
    if name == EMBEDDED_NAME || Path::new(name).exists() {
        return Ok(());
    }
    // Of any other name, `ModelFiles::find` says what is wrong with it.
    let Ok(reference) = name.parse::<Reference>() else {
        return Ok(());
    };
    if Cache::of_user().is_some_and(|cache| cache.find(&reference).is_some()) {
        return Ok(());
    }
    let context = || format!("--model: there is no folder {name}, and it is not in the cache");
    if reference.pattern().is_some() {
        bail!(
            "--model: {name}: names files of a repository; `x2i pull` gets them, --model takes OWNER/REPO"
        );
    }
    let options = options(args.offline).with_context(context)?;
    let pull = Pull::plan(&reference, options, display, interrupt.clone()).with_context(context)?;
    pull.tell_plan(false)?;
    pull.fetch().context("--model")?;
    Ok(())
}

/// Says how to get the rest of a model of the cache that lacks a file: only some were pulled.
///
/// # Errors
/// The model's own, and of the first weight file that is missing.
pub fn told(model: x2i_core::Result<Model>, args: &EngineArgs) -> Result<Model> {
    let name = args.model.as_deref().unwrap_or_default();
    if Path::new(name).exists() || name.parse::<Reference>().is_err() {
        return Ok(model?);
    }
    match model.and_then(with_weights) {
        Err(error @ Error::MissingFile { .. }) => {
            let context =
                format!("--model: the cache has a part of {name}, `x2i pull {name}` gets the rest");
            Err(error).context(context)
        }
        model => Ok(model?),
    }
}

/// The model, if its weight files are there.
fn with_weights(model: Model) -> x2i_core::Result<Model> {
    let config = model.config();
    let parts = [
        &config.encoder.weights,
        &config.align_net.weights,
        &config.flux.weights,
        &config.vae.weights,
    ];
    for file in parts.into_iter().flatten() {
        pollster::block_on(model.files().open(file))?;
    }
    Ok(model)
}

fn options(offline: bool) -> Result<HubOptions> {
    let options = HubOptions::of_environment()?;
    Ok(match offline {
        true => HubOptions {
            network: Network::Offline,
            ..options
        },
        false => options,
    })
}

/// A download that is about to begin.
struct Pull {
    hub: Hub,
    plan: Plan,
    cache: Cache,
    display: Display,
    progress: PullProgress,
}

impl Pull {
    fn plan(
        reference: &Reference,
        options: HubOptions,
        display: Display,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let progress = PullProgress::new(display, interrupt);
        let cache = options.cache.clone();
        let hub = Hub::new(options)?;
        let plan = hub.plan(reference, &|pulled| progress.hear(pulled))?;
        Ok(Self {
            hub,
            plan,
            cache,
            display,
            progress,
        })
    }

    /// Says what is downloaded, and how large it is.
    fn tell_plan(&self, with_files: bool) -> Result<()> {
        let plan = &self.plan;
        let unverified = plan.files().iter().filter(|file| !file.is_verified).count();
        if unverified > 0 {
            self.display.warn([format!(
                "the server gives no hash of {unverified} of the files; only their lengths are compared"
            )]);
        }
        match self.display {
            Display::Quiet if !with_files => Ok(()),
            Display::Json => self.tell_plan_as_json(),
            _ => {
                let mut text = String::new();
                for file in plan.files().iter().filter(|_| with_files) {
                    let here = if file.is_here { ", is here" } else { "" };
                    text += &format!(
                        "  {}, {}{here}\n",
                        printable(&file.path),
                        human_bytes(file.bytes)
                    );
                }
                text += &self.sentence();
                match with_files {
                    true => Ok(writeln!(std::io::stdout(), "{text}")?),
                    // A closed stderr must not stop the work.
                    false => {
                        let _ = writeln!(std::io::stderr(), "{text}");
                        Ok(())
                    }
                }
            }
        }
    }

    fn sentence(&self) -> String {
        let plan = &self.plan;
        let mut sentence = format!(
            "{} (commit {}): {} files, {}",
            plan.reference(),
            &plan.commit()[..12],
            plan.files().len(),
            human_bytes(plan.bytes())
        );
        match plan.missing() {
            0 => sentence += ", all here",
            missing => {
                let root = self.cache.root().display();
                sentence += &format!("; {} to download to {root}", human_bytes(missing));
                if plan.begun() > 0 {
                    sentence +=
                        &format!(", after {} of an earlier time", human_bytes(plan.begun()));
                }
            }
        }
        if plan.left_out() > 0 {
            sentence += &format!("; {} other files are left out", plan.left_out());
        }
        printable(&sentence)
    }

    fn tell_plan_as_json(&self) -> Result<()> {
        let plan = &self.plan;
        let files = plan
            .files()
            .iter()
            .map(|file| json!({"path": file.path, "bytes": file.bytes, "is_here": file.is_here}));
        let event = json!({
            "type": "plan",
            "repository": plan.reference().repository(),
            "commit": plan.commit(),
            "bytes": plan.bytes(),
            "missing": plan.missing(),
            "left_out": plan.left_out(),
            "cache": self.cache.root(),
            "files": files.collect::<Vec<_>>(),
        });
        writeln!(std::io::stdout(), "{}", printable_json(&event.to_string()))?;
        Ok(())
    }

    fn fetch(&self) -> Result<std::path::PathBuf> {
        let fetched = self
            .hub
            .pull(&self.plan, &|pulled| self.progress.hear(pulled));
        self.progress.end();
        Ok(fetched?)
    }
}

/// Says where the model is, and how it is used.
fn tell_place(display: Display, reference: &Reference, folder: &Path) -> Result<()> {
    let repository = reference.repository();
    let mut out = std::io::stdout();
    match display {
        Display::Quiet => {}
        Display::Json => {
            let event = json!({"type": "pulled", "repository": repository, "path": folder});
            writeln!(out, "{}", printable_json(&event.to_string()))?;
        }
        Display::Bar | Display::Lines => {
            writeln!(
                out,
                "{repository}: {}",
                printable(&folder.display().to_string())
            )?;
        }
    }
    Ok(())
}
