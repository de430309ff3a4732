//! Patterns of file names, as huggingface_hub's: `*` is any text, slashes too, and `?` one character.

/// Whether the whole text is of the pattern. A pattern that ends with `/` means all files below.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('/') {
        Some(folder) => matches(&format!("{folder}/*"), text),
        None => of(&chars(pattern), &chars(text)),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Goes back to the last star alone, so that it takes no more than the product of both lengths.
fn of(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_text() {
        for (pattern, text, expected) in [
            ("a.gguf", "a.gguf", true),
            ("a.gguf", "b/a.gguf", false),
            ("*Q4_K_M*", "sub/x-Q4_K_M.gguf", true),
            ("vae/", "vae/a/b.json", true),
            ("vae/", "vae2/b.json", false),
            ("?.json", "ab.json", false),
            ("a*b*c", "axxbxxbc", true),
            ("a*b*c", "axxbxxb", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let long = "a".repeat(20_000);
        assert!(!matches(&format!("{}b", "*a".repeat(50)), &long));
    }
}
