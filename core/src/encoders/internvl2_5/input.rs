//! A prompt as InternVL2.5 reads it: the conversation's text and its tiles.
//!
//! An image stands in the text as one context token for each of its tokens. Labels are the model
//! card's: several images are `Image-1: ` and so on, frames of a video `Frame1: `. Source: X2I's
//! `infer/inference_internvl.py`, the template `internvl2_5` of its `conversation.py`, and the
//! model card for video.

use std::ops::Range;

use super::tiles::{Tiler, Tiles};
use crate::config::PromptFormat;
use crate::encoders::options::resized;
use crate::encoders::sequence::Sequence;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::prompt::{self, Pictures};
use crate::request::{Part, Prompt, joined_text};
use crate::tokenizer::Rendered;
use crate::video::Video;

/// The system prompt of training: "You are InternVL (书生·万象), a multimodal
/// large language model by Shanghai AI Laboratory, Tsinghua University and partners."
const SYSTEM: &str = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。";
/// The most frames of a video; the model card's `num_segments`.
const FRAMES: usize = 8;
/// Stands for one token of the vision tower.
pub(super) const CONTEXT: &str = "<IMG_CONTEXT>";

/// The input of the decoder and of the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Ids, padding and positions.
    pub sequence: Sequence,
    /// Images and frames in reading order.
    pub tiles: Vec<Tiles>,
}

/// How images are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// Cuts them.
    pub tiler: Tiler,
    /// Tokens of one tile.
    pub tile_tokens: usize,
    /// Images are first resized to this (width, height); frames of a video are not.
    pub input_image_size: Option<[usize; 2]>,
}

/// The text of a conversation, which ends with the header of the answer, and its images.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The text, context tokens included.
    pub text: String,
    /// The bytes of it that are the user's words and the model's answers.
    words: Vec<Range<usize>>,
    /// Images and frames in reading order.
    pub tiles: Vec<Tiles>,
    viewer: Viewer,
}

impl Conversation {
    /// Renders all turns of a prompt.
    ///
    /// # Errors
    /// [`Error::Modality`] for sounds, [`Error::Image`] for an image that can't be resized.
    pub fn new(prompt: &Prompt, format: PromptFormat, viewer: Viewer) -> Result<Self> {
        let mut conversation = Self {
            text: format!("<|im_start|>system\n{SYSTEM}<|im_end|>\n"),
            words: vec![],
            tiles: vec![],
            viewer,
        };
        for turn in &prompt.earlier {
            conversation.ask(&turn.parts, format)?;
            conversation.say(&turn.answer);
            conversation.text += "<|im_end|>\n";
        }
        conversation.ask(&prompt.parts, format)?;
        Ok(conversation)
    }

    /// Appends a user's turn and the header of its answer.
    fn ask(&mut self, parts: &[Part], format: PromptFormat) -> Result<()> {
        self.text += "<|im_start|>user\n";
        let pictures = parts.iter().filter(|part| matches!(part, Part::Image(_)));
        let several = pictures.count() > 1;
        let mut number = 0;
        for part in parts {
            match part {
                Part::Text(text) if format == PromptFormat::Plain => self.say(text),
                Part::Text(_) => {}
                Part::Image(image) => {
                    number += 1;
                    if several {
                        self.text += &format!("Image-{number}: ");
                    }
                    self.show_image(image)?;
                }
                Part::Video(video) => self.show_video(video)?,
                Part::Audio(_) => {
                    return Err(Error::Modality {
                        model: "InternVL2.5".into(),
                        modality: "audio",
                        alternatives: "MiniCPM-o 2.6",
                    });
                }
            }
        }
        self.say(&words(parts, format));
        self.text += "<|im_end|>\n<|im_start|>assistant\n";
        Ok(())
    }

    /// The text as the tokenizer takes it: control tokens in words are words.
    pub fn rendered(&self) -> Rendered {
        Rendered::new(self.text.clone(), self.words.clone())
    }

    /// Appends words.
    fn say(&mut self, words: &str) {
        let start = self.text.len();
        self.text += words;
        self.words.push(start..self.text.len());
    }

    fn show_image(&mut self, image: &Image) -> Result<()> {
        let image = resized(image, self.viewer.input_image_size)?;
        let tiles = self.viewer.tiler.cut(&image)?;
        self.show(tiles);
        Ok(())
    }

    fn show_video(&mut self, video: &Video) -> Result<()> {
        for (number, index) in (1..).zip(chosen_frames(video.frames().len())) {
            self.text += &format!("Frame{number}: ");
            self.show(self.viewer.tiler.single(&video.frames()[index])?);
        }
        Ok(())
    }

    /// Appends an image's line.
    fn show(&mut self, tiles: Tiles) {
        self.text += "<img>";
        self.text += &CONTEXT.repeat(self.viewer.tile_tokens * tiles.count);
        self.text += "</img>\n";
        self.tiles.push(tiles);
    }
}

/// The string after all images; empty for plain words, which stand between the images.
fn words(parts: &[Part], format: PromptFormat) -> String {
    let is_text = |part: &Part| matches!(part, Part::Text(_));
    let text = parts.iter().any(is_text).then(|| joined_text(parts));
    let pictures = match parts.iter().all(is_text) {
        true => Pictures::None,
        false => Pictures::Some,
    };
    match format {
        PromptFormat::Plain => String::new(),
        PromptFormat::Comfy => prompt::comfy(&text.unwrap_or_default(), pictures),
        PromptFormat::InternVl => prompt::internvl(text.as_deref()),
    }
}

/// The frames of a video that are shown: all of a few, else the middles of equal stretches.
fn chosen_frames(frames: usize) -> Vec<usize> {
    if frames <= FRAMES {
        return (0..frames).collect();
    }
    let stretch = (frames - 1) as f64 / FRAMES as f64;
    (0..FRAMES)
        .map(|index| (stretch / 2.0 + (stretch * index as f64).round_ties_even()) as usize)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Audio;
    use crate::request::Turn;

    /// Tiles of 2 x 2 pixels, two tokens each.
    fn viewer() -> Viewer {
        Viewer {
            tiler: Tiler {
                size: 2,
                most: 6,
                thumbnail: true,
            },
            tile_tokens: 2,
            input_image_size: None,
        }
    }

    fn image(width: usize) -> Image {
        Image::new(width, 2, vec![9; width * 6]).unwrap()
    }

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    /// The turns after the system's, a `#` for every context token.
    fn rendered(prompt: &Prompt, format: PromptFormat) -> String {
        let conversation = Conversation::new(prompt, format, viewer()).unwrap();
        let system = format!("<|im_start|>system\n{SYSTEM}<|im_end|>\n");
        let turns = conversation.text.strip_prefix(&system).unwrap();
        let tokens: usize = conversation.tiles.iter().map(|tiles| tiles.count * 2).sum();
        assert_eq!(turns.matches(CONTEXT).count(), tokens);
        turns
            .replace(CONTEXT, "#")
            .replace("<|im_start|>", "[")
            .replace("<|im_end|>", "]")
    }

    #[test]
    fn the_scripts_form_puts_what_is_shown_before_one_string() {
        let form = |parts| rendered(&Prompt::new(parts), PromptFormat::InternVl);
        assert_eq!(
            form(vec![text("a cat")]),
            "[user\n{'Text input': 'a cat', 'Instruction editing description': 'no'}]\n[assistant\n"
        );
        assert_eq!(
            form(vec![Part::Image(image(2))]),
            "[user\n<img>##</img>\n{'Text input': None, 'Instruction editing description': 'no'}]\n\
             [assistant\n"
        );
        assert_eq!(
            form(vec![text("it's"), Part::Image(image(4)), text("this")]),
            "[user\n<img>######</img>\n{'Text input': \"it's this\", \
             'Instruction editing description': 'no'}]\n[assistant\n"
        );
    }

    #[test]
    fn plain_words_and_pictures_keep_their_order() {
        let parts = vec![
            Part::Image(image(2)),
            text("a\n"),
            Part::Image(image(2)),
            text("b"),
        ];
        assert_eq!(
            rendered(&Prompt::new(parts), PromptFormat::Plain),
            "[user\nImage-1: <img>##</img>\na\nImage-2: <img>##</img>\nb]\n[assistant\n"
        );
    }

    #[test]
    fn earlier_turns_stand_before_the_question() {
        let prompt = Prompt {
            earlier: vec![Turn {
                parts: vec![Part::Image(image(2)), text("what?")],
                answer: "a cat".into(),
            }],
            parts: vec![text("draw it")],
        };
        assert_eq!(
            rendered(&prompt, PromptFormat::Plain),
            "[user\n<img>##</img>\nwhat?]\n[assistant\na cat]\n[user\ndraw it]\n[assistant\n"
        );
    }

    #[test]
    fn frames_are_single_tiles_with_numbers() {
        let video = Video::new(vec![image(8); 2], 1.0).unwrap();
        let parts = vec![Part::Video(video), text("go")];
        assert_eq!(
            rendered(&Prompt::new(parts), PromptFormat::Plain),
            "[user\nFrame1: <img>##</img>\nFrame2: <img>##</img>\ngo]\n[assistant\n"
        );
    }

    /// The model card's `get_index` with `num_segments=8`, run in Python.
    #[test]
    fn long_videos_show_eight_frames() {
        assert_eq!(chosen_frames(8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(chosen_frames(9), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(chosen_frames(100), FRAMES_OF_100);
        assert_eq!(chosen_frames(37), FRAMES_OF_37);
    }

    const FRAMES_OF_100: [usize; 8] = [6, 18, 31, 43, 56, 68, 80, 93];
    const FRAMES_OF_37: [usize; 8] = [2, 6, 11, 16, 20, 24, 29, 34];

    #[test]
    fn pictures_are_resized_first_where_asked_and_frames_are_not() {
        let prompt = Prompt::new(vec![
            Part::Image(image(8)),
            Part::Video(Video::new(vec![image(8)], 1.0).unwrap()),
        ]);
        let counts = |input_image_size| {
            let viewer = Viewer {
                input_image_size,
                ..viewer()
            };
            let shown = Conversation::new(&prompt, PromptFormat::Plain, viewer).unwrap();
            shown
                .tiles
                .iter()
                .map(|tiles| tiles.count)
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(None), [5, 1]);
        assert_eq!(counts(Some([2, 2])), [1, 1]);
    }

    #[test]
    fn sounds_are_refused_with_the_model_that_hears() {
        let prompt = Prompt::new(vec![Part::Audio(Audio::new(vec![0.0]).unwrap())]);
        let error = Conversation::new(&prompt, PromptFormat::InternVl, viewer()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "InternVL2.5 can't read audio; models that can: MiniCPM-o 2.6"
        );
    }
}
