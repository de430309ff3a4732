//! SentencePiece's model file (`spiece.model`): the pieces and the normalizer of a protocol buffer.
//!
//! Source: `sentencepiece_model.proto`. Fields that are not read here are passed over.

/// A piece of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: u64,
}

/// `Piece::kind` of the unknown piece.
pub(super) const UNKNOWN: u64 = 2;
/// Of `</s>` and the like.
pub(super) const CONTROL: u64 = 3;

/// What is read of a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    /// 1 is unigram.
    pub(super) kind: u64,
    /// `precompiled_charsmap`.
    pub(super) charsmap: Vec<u8>,
    /// Whether a space goes before a text.
    pub(super) add_dummy_prefix: bool,
}

/// A field's value.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Float(f32),
}

/// Reads a model file.
///
/// # Errors
/// What is wrong with it, to follow the file's name.
pub(super) fn read(bytes: &[u8]) -> Result<Model, String> {
    let mut model = Model {
        kind: 1,
        add_dummy_prefix: true,
        ..Model::default()
    };
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(piece)) => model.pieces.push(read_piece(piece)?),
            (2, Value::Bytes(trainer)) => {
                for field in Fields(trainer) {
                    if let (3, Value::Number(kind)) = field? {
                        model.kind = kind;
                    }
                }
            }
            (3, Value::Bytes(normalizer)) => {
                for field in Fields(normalizer) {
                    match field? {
                        (2, Value::Bytes(map)) => model.charsmap = map.to_vec(),
                        (3, Value::Number(add)) => model.add_dummy_prefix = add != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(model)
}

fn read_piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: 1,
    };
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(text)) => {
                let text =
                    std::str::from_utf8(text).map_err(|_| "has a piece that is not UTF-8")?;
                text.clone_into(&mut piece.text);
            }
            (2, Value::Float(score)) => piece.score = score,
            (3, Value::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    Ok(piece)
}

/// The fields of a message: their numbers and values.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "is no SentencePiece model, or cut short".to_owned()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = value.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(value);
        field
    }

    /// A model file of these pieces.
    pub(in crate::teacher) fn file(pieces: &[(&str, f32, u64)], charsmap: &[u8]) -> Vec<u8> {
        let mut file = vec![];
        for (text, score, kind) in pieces {
            let mut piece = bytes(1, text.as_bytes());
            piece.push(2 << 3 | 5);
            piece.extend(score.to_le_bytes());
            piece.extend([3 << 3, *kind as u8]);
            file.extend(bytes(1, &piece));
        }
        file.extend(bytes(2, &[3 << 3, 1, 4 << 3, 99]));
        let normalizer = [bytes(1, b"nmt_nfkc"), bytes(2, charsmap), vec![3 << 3, 1]];
        file.extend(bytes(3, &normalizer.concat()));
        file
    }

    #[test]
    fn pieces_and_the_normalizer_are_read_and_the_rest_is_passed_over() {
        let model = read(&file(&[("<unk>", 0.0, 2), ("▁a", -1.5, 1)], b"map")).unwrap();
        assert_eq!(model.pieces[1].text, "▁a");
        assert_eq!(model.pieces[1].score, -1.5);
        assert_eq!(model.pieces[0].kind, UNKNOWN);
        assert_eq!((model.kind, model.charsmap.as_slice()), (1, &b"map"[..]));
        assert!(model.add_dummy_prefix);
    }

    #[test]
    fn a_file_that_is_cut_anywhere_gives_an_error_or_fewer_pieces() {
        let whole = file(
            &[("<unk>", 0.0, 2), ("▁a", -1.5, 1), ("b", -2.0, 1)],
            &[7; 300],
        );
        let pieces = read(&whole).unwrap().pieces;
        for end in 0..whole.len() {
            if let Ok(model) = read(&whole[..end]) {
                assert!(pieces.starts_with(&model.pieces), "{end}");
            }
        }
        assert!(read(&[0xFF; 20]).is_err());
        assert!(read(b"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F").is_err());
    }
}
