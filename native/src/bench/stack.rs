//! `x2i bench stack`: FLUX's blocks at their real width, ours and diffusers' in turn.
//!
//! Alternating runs share whatever else the machine does in those minutes, so that their ratio
//! holds on a loaded machine too; CPU seconds are printed beside wall seconds for the same reason.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Flux, FluxInput, latents};
use x2i_core::weights::{Component, Weights};

use super::synthetic::{SyntheticSource, flux_shapes};
use super::{median, seconds};
use crate::cli::BenchStackArgs;
use crate::device;
use crate::host;
use crate::table::{columns, row};

/// Sizes of the stack; `bench_stack.py` has the same.
const HEADS: usize = 24;
const HEAD_DIM: usize = 128;
const DOUBLE_BLOCKS: usize = 2;
const SINGLE_BLOCKS: usize = 4;
/// Tokens of a side of a 256x256 picture.
const SIDE: usize = 16;
const TEXT_TOKENS: usize = 256;

/// Wall and CPU seconds of one forward pass.
#[derive(Debug, Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

/// Runs `x2i bench stack`.
///
/// # Errors
/// When the device, or with `--compare` Python, fails.
pub(super) fn run(args: &BenchStackArgs) -> Result<()> {
    let opened = device::acquire(args.device)?;
    let mut reference = match args.compare {
        true => Some(Reference::start(&args.python, &args.script)?),
        false => None,
    };
    let stack = Stack::new(&opened.device)?;
    opened.guard(|| stack.forward())?; // the first pass compiles kernels and touches memory
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let (began, cpu) = (Instant::now(), host::cpu_seconds().unwrap_or(0.0));
        opened.guard(|| stack.forward())?;
        ours.push(Time {
            wall: began.elapsed().as_secs_f64(),
            cpu: host::cpu_seconds().unwrap_or(0.0) - cpu,
        });
        if let Some(reference) = &mut reference {
            theirs.push(reference.forward()?);
        }
    }
    report(
        args,
        &opened.entry.to_string(),
        &ours,
        &theirs,
        reference
            .as_ref()
            .map(|reference| reference.versions.as_str()),
    )
}

fn report(
    args: &BenchStackArgs,
    device: &str,
    ours: &[Time],
    theirs: &[Time],
    versions: Option<&str>,
) -> Result<()> {
    let medians = |times: &[Time]| Time {
        wall: median(times.iter().map(|time| time.wall)),
        cpu: median(times.iter().map(|time| time.cpu)),
    };
    let our = medians(ours);
    let mut facts = json!({"device": device, "runs": args.runs, "wall": our.wall, "cpu": our.cpu});
    let mut rows = vec![
        row(["", "wall", "cpu"]),
        row(["x2i", &seconds(our.wall), &seconds(our.cpu)]),
    ];
    if let Some(versions) = versions {
        let their = medians(theirs);
        // Of each pair, since the two of a pair ran in the same moments.
        let ratio = |of: fn(&Time) -> f64| {
            median(
                theirs
                    .iter()
                    .zip(ours)
                    .map(|(their, our)| of(their) / of(our)),
            )
        };
        let (wall, cpu) = (ratio(|time| time.wall), ratio(|time| time.cpu));
        rows.push(row([versions, &seconds(their.wall), &seconds(their.cpu)]));
        rows.push(row([
            "x2i is faster by",
            &format!("{wall:.2}"),
            &format!("{cpu:.2}"),
        ]));
        facts["reference"] = json!({"versions": versions, "wall": their.wall, "cpu": their.cpu});
        facts["ratio"] = json!({"wall": wall, "cpu": cpu});
    }
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{facts}")?;
        return Ok(());
    }
    writeln!(
        out,
        "FLUX stack on {device}: width {}, {DOUBLE_BLOCKS} double + {SINGLE_BLOCKS} single blocks, {} image + \
         {TEXT_TOKENS} text tokens, f32, median of {}",
        HEADS * HEAD_DIM,
        SIDE * SIDE,
        args.runs
    )?;
    out.write_all(columns(&rows).as_bytes())?;
    Ok(())
}

/// The transformer and one input.
struct Stack {
    flux: Flux,
    img: Tensor<3>,
    txt: Tensor<3>,
    vec: Tensor<2>,
}

impl Stack {
    fn new(device: &Device) -> Result<Self> {
        let config = FluxConfig {
            in_channels: 64,
            num_layers: DOUBLE_BLOCKS,
            num_single_layers: SINGLE_BLOCKS,
            attention_head_dim: HEAD_DIM,
            num_attention_heads: HEADS,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            guidance_embeds: false,
            axes_dims_rope: vec![16, 56, 56],
        };
        let source = Rc::new(SyntheticSource::new(&flux_shapes(&config)));
        let flux = pollster::block_on(async {
            let weights = Weights::open("synthetic", Component::Flux, vec![source]).await?;
            Flux::load(&config, &weights.scope(device)).await
        })?;
        Ok(Self {
            flux,
            img: input([1, SIDE * SIDE, config.in_channels], device),
            txt: input([1, TEXT_TOKENS, config.joint_attention_dim], device),
            vec: input([1, config.pooled_projection_dim], device),
        })
    }

    /// One forward pass, until its numbers are on the host.
    fn forward(&self) -> x2i_core::Result<()> {
        let ids = [
            latents::text_ids(TEXT_TOKENS),
            latents::image_ids(SIDE, SIDE),
        ]
        .concat();
        let rope = self.flux.rope(&ids);
        let input = FluxInput {
            img: self.img.clone(),
            txt: self.txt.clone(),
            vec: self.vec.clone(),
            sigma: &[0.5],
            guidance: &[0.0],
            rope: &rope,
        };
        let data = pollster::block_on(async {
            let velocity = self.flux.forward(input, &mut async |_| Ok(())).await?;
            Ok::<_, x2i_core::Error>(velocity.into_data_async().await?)
        })?;
        // The bytes of a GPU arrive when they are looked at.
        std::hint::black_box(data.as_bytes().first());
        Ok(())
    }
}

/// Numbers in -1..1 that repeat every 1999.
fn input<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count)
        .map(|index| (index % 1999) as f32 / 999.5 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A Python process that times one forward pass of diffusers' transformer for every line it reads.
struct Reference {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    versions: String,
}

impl Reference {
    fn start(python: &Path, script: &Path) -> Result<Self> {
        if !script.is_file() {
            bail!(
                "--script: {} is not there; run from the repository's root, or give its path",
                script.display()
            );
        }
        let mut command = Command::new(python);
        command
            .arg(script)
            .arg("--serve")
            .args(["--threads", &host::threads().to_string()]);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("--python: {}", python.display()))?;
        let commands = child.stdin.take().context("--python: no pipe")?;
        let answers = BufReader::new(child.stdout.take().context("--python: no pipe")?);
        let mut reference = Self {
            child,
            commands,
            answers,
            versions: String::new(),
        };
        let ready = reference.answer()?; // after its first pass
        reference.versions = ready["versions"].as_str().unwrap_or("reference").to_owned();
        Ok(reference)
    }

    fn forward(&mut self) -> Result<Time> {
        writeln!(self.commands, "forward").context("--python: the script ended")?;
        let answer = self.answer()?;
        let number = |name: &str| {
            answer[name]
                .as_f64()
                .with_context(|| format!("--python: no {name} time"))
        };
        Ok(Time {
            wall: number("wall")?,
            cpu: number("cpu")?,
        })
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("--python: the script ended; it needs `pip install torch diffusers`");
        }
        serde_json::from_str(&line)
            .with_context(|| format!("--python: the script said {}", line.trim()))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It holds gigabytes; its exit code says nothing that we want to know.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
