//! The page: one self-contained HTML file with every input and its result.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use x2i_core::{Audio, Image, Part, Video};

/// Frames of a video that the page shows.
const SHOWN_FRAMES: usize = 4;
/// The style sheet, for wide and narrow screens in light and dark mode.
const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{margin:2rem auto;max-width:72rem;padding:0 1rem}\
article{display:grid;grid-template-columns:1fr auto 1fr;gap:1rem;align-items:center;\
padding:1rem 0;border-top:1px solid #8884}\
h2{grid-column:1/-1;margin:0;font-size:1rem}\
img{width:160px;image-rendering:auto;border-radius:.5rem}\
.strip img{width:72px;margin-right:.25rem}\
p{margin:.25rem 0}.answer{font-style:italic}.note{opacity:.7}\
@media(max-width:40rem){article{grid-template-columns:1fr}}";

/// One task on the page.
pub struct Card {
    /// X2I's name of the task.
    pub task: &'static str,
    /// The parts of the prompt.
    pub shown: Vec<Part>,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome of a task.
pub enum Outcome {
    /// An image.
    Painted {
        /// The PNG file.
        png: Vec<u8>,
        /// The LLM's answer, if there is one.
        answer: Option<String>,
        /// The time of all phases.
        seconds: f64,
    },
    /// The model can't read the input; the message names models that can.
    Refused(String),
    /// An error message.
    Failed(String),
}

impl Outcome {
    /// True when the task failed.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Painted { seconds, .. } => write!(f, "painted in {seconds:.1} s"),
            Self::Refused(reason) => write!(f, "not with this model: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// Renders the page of a model's cards as HTML.
pub fn render(model: &str, cards: &[Card]) -> String {
    let title = format!("x2i gallery: {}", escape(model));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
    );
    for card in cards {
        let shown: String = card.shown.iter().map(input).collect();
        let _ = writeln!(
            page,
            "<article><h2>{}</h2><div>{shown}</div><div aria-hidden=\"true\">→</div><div>{}</div></article>",
            card.task,
            outcome(&card.outcome)
        );
    }
    page.push_str("</body></html>\n");
    page
}

fn input(part: &Part) -> String {
    match part {
        Part::Text(text) => format!("<p>{}</p>", escape(text)),
        Part::Image(image) => picture(image, "the input image"),
        Part::Video(video) => strip(video),
        Part::Audio(audio) => sound(audio),
    }
}

fn outcome(outcome: &Outcome) -> String {
    let Outcome::Painted {
        png,
        answer,
        seconds,
    } = outcome
    else {
        return format!("<p class=\"note\">{}</p>", escape(&outcome.to_string()));
    };
    let said = answer.as_ref().map(|answer| {
        let answer = escape(answer);
        format!("<p class=\"answer\">“{answer}”</p>")
    });
    format!(
        "<img alt=\"the result\" src=\"data:image/png;base64,{}\">{}<p class=\"note\">{seconds:.1} s</p>",
        BASE64_STANDARD.encode(png),
        said.unwrap_or_default()
    )
}

fn picture(image: &Image, alt: &str) -> String {
    let bytes = plain_png(image);
    let data = BASE64_STANDARD.encode(bytes);
    format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{data}\">")
}

/// A PNG without metadata, for an input.
fn plain_png(image: &Image) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    let (width, height) = (image.width() as u32, image.height() as u32);
    let view = image::RgbImage::from_raw(width, height, image.pixels().to_vec());
    // An `Image` always has the bytes for its size, and writing to memory can't fail.
    if let Some(view) = view {
        let _ = view.write_to(&mut bytes, image::ImageFormat::Png);
    }
    bytes.into_inner()
}

fn strip(video: &Video) -> String {
    let frames = video.frames();
    let count = frames.len().min(SHOWN_FRAMES);
    let chosen = (0..count).map(|index| &frames[index * frames.len() / count]);
    let pictures: String = chosen.map(|frame| picture(frame, "a frame")).collect();
    format!(
        "<p class=\"strip\">{pictures}</p><p class=\"note\">{} frames, {:.1} s</p>",
        frames.len(),
        video.seconds()
    )
}

fn sound(audio: &Audio) -> String {
    let data = BASE64_STANDARD.encode(wav(audio));
    format!("<audio controls src=\"data:audio/wav;base64,{data}\"></audio>")
}

/// A WAV file of 16 bits a sample.
fn wav(audio: &Audio) -> Vec<u8> {
    let rate = Audio::SAMPLE_RATE as u32;
    let bytes = 2 * audio.samples().len() as u32;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1u16, 1].map(u16::to_le_bytes).concat()); // PCM, one channel
    file.extend([rate, 2 * rate].map(u32::to_le_bytes).concat());
    file.extend([2u16, 16].map(u16::to_le_bytes).concat());
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    let sample = |sample: &f32| ((sample.clamp(-1.0, 1.0) * 32_767.0) as i16).to_le_bytes();
    file.extend(audio.samples().iter().flat_map(sample));
    file
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_not_break_the_page() {
        let card = Card {
            task: "text2image",
            shown: vec![Part::Text("<script>alert(\"1\")</script> & more".into())],
            outcome: Outcome::Refused("<b>".into()),
        };
        let page = render("<i>", &[card]);
        for tag in ["<script", "<b>", "<i>"] {
            assert!(!page.contains(tag), "{tag}: {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; more"));
    }

    #[test]
    fn sounds_are_whole_wav_files() {
        let file = wav(&Audio::new(vec![0.0, 1.0, -1.0]).unwrap());
        assert_eq!(file.len(), 44 + 6);
        assert_eq!(file[4..8], 42u32.to_le_bytes());
        assert_eq!(file[44..], [0, 0, 0xff, 0x7f, 0x01, 0x80]);
    }
}
