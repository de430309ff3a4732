//! A prompt as MiniCPM-o reads it: token ids, images as views, sounds as spectrograms.
//!
//! X2I's script marks the place of an image or a sound in the text. After the chat template the
//! mark becomes one `<unk>` for each token of the towers, between tags of its kind. Sources: X2I's
//! `infer/inference_minicpm.py` and `minicpm/processing_minicpmo.py`. Not supported: numbers of
//! images (`use_image_id`, which the script turns off), and a voice to answer with.

use serde::Serialize;

use super::slices::Sliced;
use crate::audio::log_mel::Mel;
use crate::config::PromptFormat;
use crate::encoders::sequence::Sequence;
use crate::error::{Error, Field, Result};
use crate::prompt::{self, Pictures};
use crate::request::{Part, Prompt, joined_text};
use crate::video::Video;

/// An image's place in the text.
const IMAGE: &str = "(<image>./</image>)";
/// A sound's place in the text.
const AUDIO: &str = "(<audio>./</audio>)";
/// All places, which a user's words can't be.
pub(super) const PLACES: &[&str] = &[IMAGE, AUDIO];
/// Stands for one token of an image or a sound.
pub(super) const PLACEHOLDER: &str = "<unk>";
/// The most frames of a video that are looked at.
const MAX_FRAMES: usize = 64;

/// The template of the published tokenizer: Qwen2.5's turns without tools.
pub(super) const CHAT_TEMPLATE: &str = "\
{%- for message in messages -%}
    {%- if loop.first and message.role != 'system' -%}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' -}}
    {%- endif -%}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

/// The input of the decoder and of the towers.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Ids, padding and positions.
    pub sequence: Sequence,
    /// Images, frames and sounds in reading order.
    pub shown: Vec<Shown>,
}

/// An image (or a frame of a video) or a sound.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// An image's views.
    Image(Sliced),
    /// A sound's clips, all as long but the last.
    Audio(Vec<Mel>),
}

/// One turn of a conversation, as the chat template takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    role: &'static str,
    content: String,
}

/// The conversation, with places for what is shown; `quote` marks words that look like control tokens.
pub(super) fn messages(
    prompt: &Prompt,
    format: PromptFormat,
    mut quote: impl FnMut(&str) -> String,
) -> Vec<Message> {
    let user = |parts: &[Part], quote: &mut _| Message {
        role: "user",
        content: content(parts, format, quote),
    };
    let mut messages = Vec::with_capacity(2 * prompt.earlier.len() + 1);
    for turn in &prompt.earlier {
        messages.push(user(&turn.parts, &mut quote));
        messages.push(Message {
            role: "assistant",
            content: quote(&turn.answer),
        });
    }
    messages.push(user(&prompt.parts, &mut quote));
    messages
}

/// One turn's text: every part on lines of its own; the dict forms put their string last.
fn content(parts: &[Part], format: PromptFormat, quote: &mut impl FnMut(&str) -> String) -> String {
    let mut content = String::new();
    for (index, part) in parts.iter().enumerate() {
        match (part, format) {
            (Part::Text(text), PromptFormat::Plain) => {
                content += &quote(text);
                if index + 1 < parts.len() {
                    content.push('\n');
                }
            }
            (Part::Text(_), _) => {}
            (Part::Image(_), _) => push_line(&mut content, IMAGE, 1),
            (Part::Video(video), _) => push_line(&mut content, IMAGE, frames(video).len()),
            (Part::Audio(_), _) => push_line(&mut content, AUDIO, 1),
        }
    }
    let text = || joined_text(parts);
    match format {
        PromptFormat::Plain => {}
        PromptFormat::Comfy => {
            let pictures = match content.is_empty() {
                true => Pictures::None,
                false => Pictures::Some,
            };
            content += &quote(&prompt::comfy(&text(), pictures));
        }
        PromptFormat::InternVl => content += &quote(&prompt::internvl(Some(&text()))),
    }
    content
}

fn push_line(content: &mut String, place: &str, count: usize) {
    for _ in 0..count {
        content.push_str(place);
        content.push('\n');
    }
}

/// The frames of a video that are looked at: one a second, or 64 evenly over all of these.
pub(super) fn frames(video: &Video) -> Vec<usize> {
    let step = (video.fps().round_ties_even() as usize).max(1);
    let seconds: Vec<usize> = (0..video.frames().len()).step_by(step).collect();
    if seconds.len() <= MAX_FRAMES {
        return seconds;
    }
    let gap = seconds.len() as f64 / MAX_FRAMES as f64;
    let middle = |index: usize| (index as f64 * gap + gap / 2.0) as usize;
    (0..MAX_FRAMES)
        .map(|index| seconds[middle(index)])
        .collect()
}

/// Numbers of the towers' tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    /// Tokens of one view.
    pub view: usize,
    /// Mel frames that become one token.
    pub pool_step: usize,
}

impl Counts {
    /// Tokens of a sound.
    pub fn audio(&self, clips: &[Mel]) -> usize {
        let tokens = clips.iter();
        tokens.map(|mel| self.clip(mel.frames)).sum()
    }

    /// Tokens of a clip of so many mel frames.
    pub fn clip(&self, frames: usize) -> usize {
        super::audio::tokens(frames, self.pool_step)
    }

    /// Tokens of an image or a sound.
    pub fn of(&self, shown: &Shown) -> usize {
        match shown {
            Shown::Image(image) => image.views.len() * self.view,
            Shown::Audio(clips) => self.audio(clips),
        }
    }

    /// The text that replaces the mark of an image or a sound.
    fn placeholders(&self, shown: &Shown) -> String {
        match shown {
            Shown::Image(image) => self.image_placeholders(image),
            Shown::Audio(clips) => self.audio_placeholders(self.audio(clips)),
        }
    }

    /// The whole, then rows of slices, a line each.
    fn image_placeholders(&self, image: &Sliced) -> String {
        let view = PLACEHOLDER.repeat(self.view);
        let mut text = format!("<image>{view}</image>");
        if let Some(slices) = image.slices {
            let row = format!("<slice>{view}</slice>").repeat(slices.columns);
            text += &vec![row; slices.rows].join("\n");
        }
        text
    }

    /// A pair of marks around the tokens of each second.
    fn audio_placeholders(&self, tokens: usize) -> String {
        let second = self.clip(100).max(1);
        let mut text = String::new();
        for start in (0..tokens).step_by(second) {
            text += "<|audio_start|>";
            text += &PLACEHOLDER.repeat(second.min(tokens - start));
            text += "<|audio_end|>";
        }
        text
    }

    /// Puts placeholders where `text` has places for what is shown.
    ///
    /// # Errors
    /// [`Error::Request`] when there are other places than what is shown.
    pub fn expand(&self, text: &str, shown: &[Shown]) -> Result<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        let mut missing = shown.iter();
        // Without anything to show a place is text like any other.
        while let Some((start, place)) = next_place(rest).filter(|_| !shown.is_empty()) {
            let fits = missing.next().filter(|shown| place_of(shown) == place);
            let shown = fits.ok_or_else(|| misplaced(place))?;
            expanded += &rest[..start];
            expanded += &self.placeholders(shown);
            rest = &rest[start + place.len()..];
        }
        if let Some(left) = missing.next() {
            return Err(misplaced(place_of(left)));
        }
        expanded += rest;
        Ok(expanded)
    }
}

/// The place of the next mark, and the mark.
fn next_place(text: &str) -> Option<(usize, &'static str)> {
    let places = [IMAGE, AUDIO].into_iter();
    let found = places.filter_map(|place| Some((text.find(place)?, place)));
    found.min()
}

fn place_of(shown: &Shown) -> &'static str {
    match shown {
        Shown::Image(_) => IMAGE,
        Shown::Audio(_) => AUDIO,
    }
}

fn misplaced(place: &str) -> Error {
    let reason = format!("has another number of `{place}` than is shown or heard");
    Error::request(Field::Prompt, reason)
}

#[cfg(test)]
mod tests {
    use super::super::slices::{Grid, View};
    use super::*;
    use crate::Image;

    const COUNTS: Counts = Counts {
        view: 2,
        pool_step: 2,
    };

    fn picture(slices: Option<Grid>) -> Shown {
        let view = View {
            pixel_values: vec![],
            grid: Grid {
                rows: 1,
                columns: 1,
            },
        };
        let views = 1 + slices.map_or(0, |slices| slices.places());
        Shown::Image(Sliced {
            views: vec![view; views],
            slices,
        })
    }

    fn sound(frames: &[usize]) -> Shown {
        let clip = |&frames| Mel {
            values: vec![],
            frames,
        };
        Shown::Audio(frames.iter().map(clip).collect())
    }

    #[test]
    fn every_part_has_lines_of_its_own() {
        let image = || Part::Image(Image::new(1, 1, vec![0; 3]).unwrap());
        let frame = Image::new(1, 1, vec![0; 3]).unwrap();
        let video = Part::Video(Video::new(vec![frame; 4], 2.0).unwrap());
        let text = |text: &str| Part::Text(text.into());
        let content = |parts: &[Part], format| content(parts, format, &mut str::to_owned);
        let plain = |parts: &[Part]| content(parts, PromptFormat::Plain);
        assert_eq!(plain(&[image()]), "(<image>./</image>)\n");
        assert_eq!(
            plain(&[video]),
            "(<image>./</image>)\n(<image>./</image>)\n"
        );
        assert_eq!(
            plain(&[text("A"), image(), text("B")]),
            "A\n(<image>./</image>)\nB"
        );
        assert_eq!(
            content(&[text("A"), image(), text("B")], PromptFormat::Comfy),
            "(<image>./</image>)\n{'Text input': 'A B', 'Instruction editing description': '', 'image input': 'yes'}"
        );
        assert_eq!(
            content(&[text("A"), image()], PromptFormat::InternVl),
            "(<image>./</image>)\n{'Text input': 'A', 'Instruction editing description': 'no'}"
        );
    }

    #[test]
    fn a_video_is_seen_once_a_second_and_64_times_at_most() {
        let frame = Image::new(1, 1, vec![0; 3]).unwrap();
        let chosen = |count, fps| frames(&Video::new(vec![frame.clone(); count], fps).unwrap());
        assert_eq!(chosen(7, 2.5), [0, 2, 4, 6]);
        assert_eq!(chosen(3, 0.2), [0, 1, 2]);
        let long = chosen(200, 1.0);
        assert_eq!((long.len(), long[0], long[1], long[63]), (64, 1, 4, 198));
    }

    #[test]
    fn slices_stand_in_rows_and_seconds_between_marks() {
        let sliced = COUNTS.placeholders(&picture(Some(Grid {
            rows: 2,
            columns: 2,
        })));
        let slice = "<slice><unk><unk></slice>";
        assert_eq!(
            sliced,
            format!("<image><unk><unk></image>{slice}{slice}\n{slice}{slice}")
        );
        let heard = COUNTS.placeholders(&sound(&[110]));
        let unks = |count| "<unk>".repeat(count);
        assert_eq!(
            heard,
            format!(
                "<|audio_start|>{}<|audio_end|><|audio_start|>{}<|audio_end|>",
                unks(25),
                unks(2)
            )
        );
    }

    #[test]
    fn tokens_of_clips_add_up_to_those_of_the_whole() {
        assert_eq!(COUNTS.of(&sound(&[3000, 3000, 130])), 1532);
        assert_eq!(COUNTS.of(&sound(&[2])), 0);
        assert_eq!(COUNTS.of(&sound(&[3])), 1);
    }

    #[test]
    fn places_take_what_is_shown_in_order_or_are_refused() {
        let expand = |text: &str, shown: &[Shown]| COUNTS.expand(text, shown);
        let text = format!("{IMAGE}\n{AUDIO}\nB");
        assert_eq!(
            expand(&text, &[picture(None), sound(&[3])]).unwrap(),
            "<image><unk><unk></image>\n<|audio_start|><unk><|audio_end|>\nB"
        );
        assert_eq!(expand(&text, &[]).unwrap(), text);
        for shown in [
            vec![picture(None)],
            vec![sound(&[3]), picture(None)],
            vec![picture(None), sound(&[3]), sound(&[3])],
        ] {
            let error = expand(&text, &shown).unwrap_err().to_string();
            assert!(
                error.starts_with("prompt: has another number of `(<"),
                "{error}"
            );
        }
    }
}
