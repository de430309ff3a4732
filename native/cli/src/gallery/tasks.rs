//! The prompts of each task of X2I's scripts.

use x2i_core::{Conditioning, Part, Prompt, Turn};

use super::samples::Whole;
use crate::flags::TaskChoice;

/// One scene in every language that the embedded model reads.
const LANGUAGES: [&str; 8] = [
    "a red apple on a blue background",
    "蓝色背景上的红苹果",
    "roter Apfel auf blauem Hintergrund",
    "pomme rouge sur fond bleu",
    "青の背景に赤リンゴ",
    "manzana roja sobre fondo azul",
    "красное яблоко на синем фоне",
    "táo đỏ trên nền xanh dương",
];
/// The text for an image.
const INSTRUCTION: &str = "the same on a green background";
/// A prompt that needs reasoning.
const RIDDLE: &str = "the animal that gives us milk, on a yellow background";

/// One image to generate.
pub struct Scene {
    /// X2I's name of the task.
    pub task: &'static str,
    /// The inputs on the page, in reading order.
    pub shown: Vec<Part>,
    /// The prompt.
    pub prompt: Prompt,
    /// Whose hidden states condition the image; `None` is the model's choice.
    pub conditioning: Option<Conditioning>,
}

impl Scene {
    fn new(task: &'static str, parts: Vec<Part>) -> Self {
        Self {
            task,
            shown: parts.clone(),
            prompt: Prompt::new(parts),
            conditioning: None,
        }
    }
}

/// The scenes of the chosen tasks, in X2I's order.
pub fn scenes(choices: &[TaskChoice], samples: &Whole) -> Vec<Scene> {
    let order = [
        TaskChoice::Text2Image,
        TaskChoice::Image2Image,
        TaskChoice::ImageText2Image,
        TaskChoice::Video2Image,
        TaskChoice::Audio2Image,
        TaskChoice::X2Image,
        TaskChoice::Reasoning2Image,
        TaskChoice::MultiTurn,
    ];
    let chosen = |task: &TaskChoice| choices.contains(task) || choices.contains(&TaskChoice::All);
    let tasks = order.into_iter().filter(chosen);
    tasks.flat_map(|task| scenes_of(task, samples)).collect()
}

fn scenes_of(task: TaskChoice, samples: &Whole) -> Vec<Scene> {
    let text = |words: &str| Part::Text(words.to_owned());
    let image = || Part::Image(samples.image.clone());
    let video = || Part::Video(samples.video.clone());
    let audio = || Part::Audio(samples.audio.clone());
    match task {
        TaskChoice::All => vec![],
        TaskChoice::Text2Image => {
            let scene = |words: &&str| Scene::new("text2image", vec![text(words)]);
            LANGUAGES.iter().map(scene).collect()
        }
        TaskChoice::Image2Image => vec![Scene::new("image2image", vec![image()])],
        TaskChoice::ImageText2Image => {
            vec![Scene::new(
                "imagetext2image",
                vec![image(), text(INSTRUCTION)],
            )]
        }
        TaskChoice::Video2Image => vec![Scene::new("video2image", vec![video()])],
        TaskChoice::Audio2Image => vec![Scene::new("audio2image", vec![audio()])],
        TaskChoice::X2Image => {
            let parts = vec![image(), audio(), text(INSTRUCTION)];
            vec![Scene::new("x2image", parts)]
        }
        TaskChoice::Reasoning2Image => vec![Scene {
            conditioning: Some(Conditioning::Answer),
            ..Scene::new("reasoning2image", vec![text(RIDDLE)])
        }],
        TaskChoice::MultiTurn => vec![two_turns()],
    }
}

fn two_turns() -> Scene {
    let text = |words: &str| Part::Text(words.to_owned());
    let first = Turn {
        parts: vec![text(LANGUAGES[0])],
        answer: LANGUAGES[0].to_owned(),
    };
    let next = text("now a yellow star on a green background");
    Scene {
        task: "multi-turn",
        shown: vec![
            text(LANGUAGES[0]),
            text(&format!("({})", first.answer)),
            next.clone(),
        ],
        prompt: Prompt {
            earlier: vec![first],
            parts: vec![next],
        },
        conditioning: Some(Conditioning::Answer),
    }
}
