//! The parts of the prompt, in the order of the command line.
//!
//! clap's derive loses the order between values of several flags, so this module reads their indices.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use x2i_engine::Kind;

use super::paths::PathParser;
use crate::words::word;

/// One part, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The prompt argument: text, `-` or `@FILE`.
    Prompt(String),
    /// `--prompt-file`.
    PromptFile(PathBuf),
    /// `--text`: always text.
    Text(String),
    /// `--image`, `--video` or `--audio`.
    File(Kind, PathBuf),
}

/// All parts, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartArgs {
    /// In the order of the command line.
    pub given: Vec<Given>,
}

/// The ids of these arguments, for arguments that conflict with them.
pub const IDS: [&str; 7] = [
    "prompt",
    "prompt_flag",
    "prompt_file",
    "text",
    "image",
    "video",
    "audio",
];

impl Args for PartArgs {
    fn augment_args(command: Command) -> Command {
        let file = |kind: Kind, help: &'static str| {
            let name = id(kind);
            let arg = Arg::new(name).long(name).value_name("FILE").help(help);
            arg.action(ArgAction::Append).value_parser(PathParser)
        };
        command
            .arg(Arg::new("prompt").value_name("PROMPT").help(
                "What to paint, in any language; `-` reads it from standard input, `@FILE` (or the \
                 name of an existing .txt file) from a file. The LLM reads it in its place between \
                 --text, --image, --video and --audio",
            ))
            .arg(
                Arg::new("prompt_flag")
                    .long("prompt")
                    .short('p')
                    .value_name("PROMPT")
                    .allow_hyphen_values(true)
                    .conflicts_with("prompt")
                    .help("The same as the argument PROMPT"),
            )
            .arg(
                Arg::new("prompt_file")
                    .long("prompt-file")
                    .value_name("FILE")
                    .value_parser(PathParser)
                    .conflicts_with_all(["prompt", "prompt_flag"])
                    .help("Read the prompt from a file"),
            )
            .arg(
                Arg::new("text")
                    .long("text")
                    .value_name("TEXT")
                    .action(ArgAction::Append)
                    .allow_hyphen_values(true)
                    .help("Text between other parts; may be given several times"),
            )
            .arg(file(
                Kind::Image,
                "Input images: PNG, JPEG, WebP, GIF or BMP; file:// and data: URLs too",
            ))
            .arg(file(
                Kind::Video,
                "Input videos: animated GIFs, folders of frames, or what the program ffmpeg reads",
            ))
            .arg(file(
                Kind::Audio,
                "Input audio: WAV, MP3, Ogg Vorbis, FLAC, or a video's",
            ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PartArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut parts = Self::default();
        parts.update_from_arg_matches(matches)?;
        Ok(parts)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut given = values(matches, "prompt", Given::Prompt);
        given.extend(values(matches, "prompt_flag", Given::Prompt));
        given.extend(values(matches, "prompt_file", Given::PromptFile));
        given.extend(values(matches, "text", Given::Text));
        for kind in Kind::ALL {
            let id = id(kind);
            given.extend(values(matches, id, |path| Given::File(kind, path)));
        }
        given.sort_by_key(|(index, _)| *index);
        self.given = given.into_iter().map(|(_, part)| part).collect();
        Ok(())
    }
}

/// The id of the argument for a kind of file: its flag without the dashes.
fn id(kind: Kind) -> &'static str {
    word(kind.field()).trim_start_matches('-')
}

/// The values of one argument, each with its index on the command line.
fn values<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    id: &str,
    part: impl Fn(T) -> Given,
) -> Vec<(usize, Given)> {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<T>(id).into_iter().flatten();
    indices
        .zip(values.map(|value| part(value.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::{Cli, Command};

    fn given(arguments: &[&str]) -> Vec<Given> {
        let arguments = [&["x2i", "generate"], arguments].concat();
        match Cli::parse_from(arguments).command {
            Command::Generate(args) => args.parts.given,
            _ => unreachable!("it is `generate`"),
        }
    }

    #[test]
    fn parts_keep_the_order_of_the_command_line() {
        let file = |kind, path: &str| Given::File(kind, path.into());
        let parts = given(&[
            "--image",
            "a.png",
            "--text",
            "-1 or",
            "--audio=b.wav",
            "a cat",
            "--seed",
            "7",
            "--image",
            "c.png",
            "--video",
            "d.mp4",
            "--text",
            "x",
        ]);
        let expected = [
            file(Kind::Image, "a.png"),
            Given::Text("-1 or".into()),
            file(Kind::Audio, "b.wav"),
            Given::Prompt("a cat".into()),
            file(Kind::Image, "c.png"),
            file(Kind::Video, "d.mp4"),
            Given::Text("x".into()),
        ];
        assert_eq!(parts, expected);
        assert_eq!(given(&[]), []);
        let flag = given(&["--image", "a.png", "-p", "-x"]);
        let expected = [file(Kind::Image, "a.png"), Given::Prompt("-x".into())];
        assert_eq!(flag, expected);
    }

    #[test]
    fn every_id_is_an_argument() {
        let command = PartArgs::augment_args(clap::Command::new("x"));
        let ids: Vec<&str> = command
            .get_arguments()
            .map(|arg| arg.get_id().as_str())
            .collect();
        assert_eq!(ids, IDS);
    }
}
