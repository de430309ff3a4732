//! The known word that is nearest to a mistyped one.

/// The nearest of `known` to `word`, if they have more in common than not: by the characters that must
/// be put in, left out or changed.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|&other| (changes(word, other), other));
    let (changes, nearest) = near.min_by_key(|(changes, _)| *changes)?;
    (changes * 2 <= word.chars().count().max(2)).then_some(nearest)
}

/// The Levenshtein distance.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_is_near_and_another_one_is_not() {
        let known = ["prompt", "images", "steps", "size", "seed"];
        let cases = [
            ("step", Some("steps")),
            ("Prompt", Some("prompt")),
            ("image", Some("images")),
            ("sed", Some("seed")),
            ("lora", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
        assert_eq!(changes("kitten", "sitting"), 3);
    }
}
