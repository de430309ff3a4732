//! A member's name: the key of its sample, and what follows it.

/// What a member's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// It belongs to no sample.
    PassedOver,
    /// A part of a sample; `leads_out` where the name is absolute or has a `..` part.
    Part {
        key: String,
        ext: String,
        leads_out: bool,
    },
}

/// Takes a name apart, as WebDataset does: the key goes to the first dot after the last slash.
pub(super) fn parse(name: &str) -> Named {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.rsplit('/').next().unwrap_or(name);
    let top_level = !name.contains('/');
    if top_level && file.starts_with("__") && file.ends_with("__") {
        return Named::PassedOver;
    }
    match file.find('.') {
        None | Some(0) => Named::PassedOver,
        Some(dot) => {
            let dot = name.len() - file.len() + dot;
            Named::Part {
                key: name[..dot].to_owned(),
                ext: name[dot + 1..].to_lowercase(),
                leads_out: leads_out(name),
            }
        }
    }
}

/// True for a path that is absolute or has a `..` part, by the rules of any system.
pub(super) fn leads_out(name: &str) -> bool {
    let drive = name.as_bytes().get(1) == Some(&b':');
    drive
        || name.starts_with(['/', '\\'])
        || name.split(['/', '\\']).any(|part| part == "..")
        || name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> Option<(String, String, bool)> {
        match parse(name) {
            Named::PassedOver => None,
            Named::Part {
                key,
                ext,
                leads_out,
            } => Some((key, ext, leads_out)),
        }
    }

    #[test]
    fn keys_go_to_the_first_dot_after_the_last_slash() {
        let plain = |key: &str, ext: &str| Some((key.to_owned(), ext.to_owned(), false));
        assert_eq!(part("a/b.json"), plain("a/b", "json"));
        assert_eq!(part("v1.2/n0.json"), plain("v1.2/n0", "json"));
        assert_eq!(part("n1.tar.JSON"), plain("n1", "tar.json"));
        assert_eq!(part("./dot.json"), plain("dot", "json"));
        for passed in [
            ".hidden.json",
            "a/._n2.json",
            "README",
            "__index__",
            "__x.json__",
            "a/",
        ] {
            assert_eq!(part(passed), None, "{passed}");
        }
    }

    #[test]
    fn names_that_lead_out_are_told() {
        for name in [
            "../up.json",
            "/root.json",
            "a/../../b.json",
            "a\\..\\x.json",
            "C:\\x.json",
        ] {
            assert!(
                part(name).is_some_and(|(.., leads_out)| leads_out),
                "{name}"
            );
        }
        assert!(part("a..b/c.json").is_some_and(|(.., leads_out)| !leads_out));
    }
}
