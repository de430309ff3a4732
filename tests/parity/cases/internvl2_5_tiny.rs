//! InternVL2.5: prompt strings, tiles, vision tower, projector, ids and hidden states.

use burn::tensor::Tensor;
use x2i_core::config::{EncoderConfig, InternVl2_5Config, Padding, PaddingSide, PromptFormat};
use x2i_core::encoders::internvl2_5::input::{Conversation, Inputs, Viewer};
use x2i_core::encoders::internvl2_5::tiles::{Tiler, Tiles};
use x2i_core::encoders::{EncodeOptions, Encoder, Family, InternVl2_5};
use x2i_core::request::{Conditioning, Part, Prompt};
use x2i_core::{model, prompt};

use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// What `pixel_values` may differ by where the resize is bit-exact (the README's).
const PIXEL_TOLERANCE: f32 = 1e-5;
/// The size that X2I's script gives every picture first.
const SCRIPT_IMAGE_SIZE: [usize; 2] = [128, 128];
/// `max_num` of the sub-case `image_tiles` (the README's).
const TILES_MOST: usize = 6;
/// Characters of the text beside that sub-case's picture.
const TILES_TEXT: usize = 20;
/// Pixels of a tile's side in the table of grids (the README's).
const TABLE_SIZE: usize = 448;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    tiling_table(case, report).await?;
    let model = Model::open(case).await?;
    let description = case.json("case.json").await?;
    let text = description["text"]
        .as_str()
        .ok_or("case.json has no text")?;
    let words = Prompt::text(text);
    model.conversation("text", &words, None, report).await?;
    model.bare("train_text", text, report).await?;
    let picture = Prompt::new(vec![Part::Image(case.image("img_a.png").await?)]);
    let size = Some(SCRIPT_IMAGE_SIZE);
    model
        .conversation("image_script", &picture, size, report)
        .await?;
    let words = text.chars().take(TILES_TEXT).collect();
    let parts = vec![
        Part::Image(case.image("img_b.png").await?),
        Part::Text(words),
    ];
    model
        .tiles("image_tiles", &Prompt::new(parts), report)
        .await
}

/// The grids of pictures of many sizes.
async fn tiling_table(case: &Case<'_>, report: &mut Report) -> Outcome {
    let (table, _) = case.golden.i64("out.tiling_table").await?;
    for row in table.chunks_exact(6) {
        let [width, height, most] = [0, 1, 2].map(|index| row[index] as usize);
        let tiler = Tiler {
            size: TABLE_SIZE,
            most,
            thumbnail: true,
        };
        let grid = tiler.grid(width, height);
        let ours = [grid[0], grid[1], tiler.count(grid)].map(|count| count as i64);
        let name = format!("tiling_table {width}x{height}, at most {most}");
        report.equal(&name, &ours[..], &row[3..]);
    }
    Ok(())
}

/// The model of the golden folder beside its numbers.
struct Model<'a> {
    case: &'a Case<'a>,
    intern: InternVl2_5,
    config: InternVl2_5Config,
}

impl<'a> Model<'a> {
    async fn open(case: &'a Case<'a>) -> Fallible<Self> {
        let source = case.folder("");
        let part = model::read_encoder(&source, "").await?;
        let component = part.config.component();
        let weights = model::open_weights(&source, component, &part.weights).await?;
        let tokenizer = model::read_tokenizer(&source, &part).await?;
        let scope = weights.scope(&case.device);
        let encoder = Encoder::load(&part, tokenizer, &scope).await?;
        match (encoder, part.config) {
            (Encoder::InternVl2_5(intern), EncoderConfig::InternVl2_5(config)) => Ok(Self {
                case,
                intern: *intern,
                config,
            }),
            _ => Err("config.json is of another family".into()),
        }
    }

    /// A prompt as X2I's script shows it.
    async fn conversation(
        &self,
        name: &str,
        prompt: &Prompt,
        input_image_size: Option<[usize; 2]>,
        report: &mut Report,
    ) -> Outcome {
        let options = EncodeOptions {
            conditioning: Conditioning::Prompt,
            prompt_format: PromptFormat::InternVl,
            padding: Some(self.padding(name).await?),
            input_image_size,
            max_new_tokens: 1,
            seed: 0,
            certainty: None,
            unknown: None,
        };
        let tiler = Tiler::new(&self.config);
        let shown = self.viewed(prompt, tiler, input_image_size)?;
        self.text(name, &shown.text, report).await?;
        let inputs = self.intern.prepare(prompt, &options)?;
        self.compare(name, &inputs, report).await
    }

    /// A prompt whose picture becomes other tiles than the script's.
    async fn tiles(&self, name: &str, prompt: &Prompt, report: &mut Report) -> Outcome {
        let tiler = Tiler {
            most: TILES_MOST,
            ..Tiler::new(&self.config)
        };
        let shown = self.viewed(prompt, tiler, None)?;
        self.text(name, &shown.text, report).await?;
        let padding = Some(self.padding(name).await?);
        let inputs = self.intern.assemble(&shown.text, shown.tiles, padding)?;
        self.compare(name, &inputs, report).await
    }

    /// What AlignNet's training shows: a string without a conversation around it.
    async fn bare(&self, name: &str, text: &str, report: &mut Report) -> Outcome {
        let text = prompt::training(text);
        self.text(name, &text, report).await?;
        let padding = Some(self.padding(name).await?);
        let inputs = self.intern.assemble(&text, vec![], padding)?;
        self.compare(name, &inputs, report).await
    }

    fn viewed(
        &self,
        prompt: &Prompt,
        tiler: Tiler,
        input_image_size: Option<[usize; 2]>,
    ) -> Fallible<Conversation> {
        let viewer = Viewer {
            tiler,
            tile_tokens: self.config.tile_tokens(),
            input_image_size,
        };
        Ok(Conversation::new(prompt, PromptFormat::InternVl, viewer)?)
    }

    /// To the length of the golden's ids.
    async fn padding(&self, name: &str) -> Fallible<Padding> {
        let (_, shape) = self
            .case
            .golden
            .i64(&format!("out.{name}.input_ids"))
            .await?;
        Ok(Padding {
            max_length: shape[1],
            side: PaddingSide::Right,
        })
    }

    async fn text(&self, name: &str, ours: &str, report: &mut Report) -> Outcome {
        let prompts = self.case.json("prompts.json").await?;
        let golden = prompts[name]
            .as_str()
            .ok_or_else(|| format!("prompts.json has no {name}"))?;
        report.equal(&format!("prompts.json {name}"), ours, golden);
        Ok(())
    }

    /// Every stage from the ids on.
    async fn compare(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let sequence = &inputs.sequence;
        let ids = sequence.ids.iter().map(|&id| i64::from(id));
        let keep = sequence.keep.iter().map(|&kept| i64::from(kept));
        for (tensor, ours) in [
            ("input_ids", ids.collect::<Vec<_>>()),
            ("attention_mask", keep.collect()),
        ] {
            let golden = format!("out.{name}.{tensor}");
            report.equal(&golden, &ours, &self.case.golden.i64(&golden).await?.0);
        }
        for tiles in &inputs.tiles {
            self.vision(name, tiles, report).await?;
        }
        let (_, states) = self.intern.read(inputs, &mut async || Ok(())).await?;
        self.close(name, "hidden_states", states, report).await
    }

    /// Every stage of the vision tower and the projector.
    async fn vision(&self, name: &str, tiles: &Tiles, report: &mut Report) -> Outcome {
        let pixels = format!("out.{name}.pixel_values");
        let (golden, shape) = self.case.golden.f32(&pixels).await?;
        report.equal(&format!("{pixels} tiles"), &tiles.count, &shape[0]);
        report.close_within(&pixels, &tiles.pixel_values, &golden, PIXEL_TOLERANCE);

        let tower = self.intern.vision_model();
        let mut x = tower.embed(self.intern.pixel_tensor(tiles));
        self.close(name, "vit.embeddings", x.clone(), report)
            .await?;
        for layer in 0..tower.layers() {
            x = tower.layer(layer, x);
            let tensor = format!("vit.layer.{layer}");
            self.close(name, &tensor, x.clone(), report).await?;
        }
        let projector = self.intern.projector();
        let shuffled = projector.pixel_shuffle(x);
        self.close(name, "vit.pixel_shuffled", shuffled.clone(), report)
            .await?;
        let projected = projector.project(shuffled);
        self.close(name, "vit.mlp1", projected, report).await
    }

    async fn close<const D: usize>(
        &self,
        scope: &str,
        tensor: &str,
        ours: Tensor<D>,
        report: &mut Report,
    ) -> Outcome {
        let name = format!("out.{scope}.{tensor}");
        let (golden, shape) = self.case.golden.f32(&name).await?;
        report.equal(&format!("{name} shape"), &ours.dims()[..], &shape[..]);
        report.close(&name, &self.case.values(ours).await?, &golden);
        Ok(())
    }
}
