//! The file behind what an encoder says of `audio 1`: encoders know no files.

use x2i_core::png::PartRecord;
use x2i_core::{Error, Field, Part};

use super::spec::Job;
use crate::media::Kind;

/// The kinds by the words that encoders have for them.
const KINDS: [(&str, Kind); 3] = [
    ("image", Kind::Image),
    ("video", Kind::Video),
    ("audio", Kind::Audio),
];

impl Job {
    /// An encoder's error about a picture, a video or a sound, with its file's name and its field. What
    /// has no file, and what an earlier turn showed, keeps its number.
    pub(crate) fn told(&self, error: Error) -> Error {
        let (Error::Image { name, reason }
        | Error::Video { name, reason }
        | Error::Audio { name, reason }) = &error
        else {
            return error;
        };
        let mut kinds = KINDS.into_iter();
        // Frames are pictures: an error of a picture may be of `video 2`.
        let place = kinds.find_map(|(word, kind)| match name.strip_prefix(word)? {
            "" => Some((kind, None)),
            number => Some((kind, Some(number.trim_start().parse().ok()?))),
        });
        match place.and_then(|(kind, number)| self.file_of(kind, number)) {
            Some((field, kind, file)) => kind.error(file, reason.to_string()).at(field),
            None => error,
        }
    }

    /// The file of the `number`-th part of a kind in the conversation, from 1; without a number, the
    /// only file of that kind.
    fn file_of(&self, kind: Kind, number: Option<usize>) -> Option<(Field, Kind, &str)> {
        let of_kind = |part: &&Part| Kind::of(part) == Some(kind);
        let prompt = &self.request.prompt;
        let records = self.records.parts.iter();
        let mut files: Vec<(Field, &str)> = records
            .filter_map(|record| file(record, kind))
            .map(|file| (kind.field(), file))
            .collect();
        if files.len() != prompt.parts.iter().filter(of_kind).count() {
            return None; // some have no file
        }
        let (field, file) = match number {
            Some(number) => {
                let earlier = prompt.earlier.iter().flat_map(|turn| &turn.parts);
                let before = earlier.filter(of_kind).count();
                *files.get(number.checked_sub(before + 1)?)?
            }
            None => {
                if kind == Kind::Image {
                    let init = self.records.init.as_ref();
                    files.extend(init.map(|init| (Field::Init, init.picture.file.as_str())));
                    let control = self.records.control.as_ref();
                    let control = control.map(|control| control.picture.file.as_str());
                    files.extend(control.map(|file| (Field::Control, file)));
                }
                match files.as_slice() {
                    [only] => *only,
                    _ => return None,
                }
            }
        };
        Some((field, kind, file))
    }
}

fn file(record: &PartRecord, of: Kind) -> Option<&str> {
    match (record, of) {
        (PartRecord::Image { file, .. }, Kind::Image)
        | (PartRecord::Video { file, .. }, Kind::Video)
        | (PartRecord::Audio { file, .. }, Kind::Audio) => Some(file),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use x2i_core::{Image, Turn};

    use super::*;
    use crate::job::{JobSpec, PartSpec};
    use crate::models::Model;

    fn picture() -> Part {
        Part::Image(Image::new(1, 1, vec![0; 3]).unwrap())
    }

    /// What is said of a picture in a job of two files.
    fn told(earlier: Vec<Turn>, name: &str) -> String {
        let Ok(model) = Model::open("emoji") else {
            panic!("the embedded model is there");
        };
        let file = |file: &str| PartSpec::Ready {
            part: picture(),
            record: Some(PartRecord::Image {
                file: file.into(),
                sha256: String::new(),
            }),
        };
        let spec = JobSpec {
            parts: vec![file("a.png"), PartSpec::Text("and".into()), file("b.png")],
            ..JobSpec::default()
        };
        let mut job = spec.job(&model).unwrap();
        job.request.prompt.earlier = earlier;
        let error = job.told(Error::image(name, "is thin"));
        match error {
            Error::Field { field, source } => format!("{field:?} {source}"),
            error => error.to_string(),
        }
    }

    #[test]
    fn a_number_becomes_a_file_of_this_turn() {
        assert_eq!(told(vec![], "image 1"), "Image a.png: is thin");
        assert_eq!(told(vec![], "image 2"), "Image b.png: is thin");
        let earlier = vec![Turn {
            parts: vec![picture()],
            answer: "x".into(),
        }];
        assert_eq!(told(earlier.clone(), "image 3"), "Image b.png: is thin");
        assert_eq!(told(earlier, "image 1"), "image 1: is thin");
        // Which of the two is not known.
        assert_eq!(told(vec![], "image"), "image: is thin");
        assert_eq!(told(vec![], "video 1"), "video 1: is thin");
        assert_eq!(told(vec![], "a file"), "a file: is thin");
    }
}
