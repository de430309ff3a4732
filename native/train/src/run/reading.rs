//! A file of settings, read and checked.

use serde::Deserialize;
use toml::{Table, Value};
use x2i_core::{Error, Result};

use super::checks;
use super::settings::{Settings, What, stranger};

impl Settings {
    /// Reads a file's text for a run that trains `what`, `file` its name for messages, and replaces what `given` holds.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no TOML, an unknown key, or a value that can't be.
    pub fn read(what: What, file: &str, text: &str, given: Table) -> Result<Self> {
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text[..start.min(text.len())].lines().count().max(1);
            Error::config(file, format!("line {line}: {}", error.message()))
        })?;
        for key in table.keys() {
            check_key(file, key)?;
        }
        table.extend(given);
        for key in table.keys() {
            if let Some(other) = stranger(what, key) {
                let reason = format!("`{key}` is a key of `{other}`, not of `{what}`");
                return Err(Error::config(file, reason));
            }
        }
        // The value that is wrong is named by its key.
        for (key, value) in &table {
            let one = Table::from_iter([(key.clone(), value.clone())]);
            if let Err(error) = Self::deserialize(Value::Table(one)) {
                let reason = format!("`{key}` is {value}: {}", error.message());
                return Err(Error::config(file, reason));
            }
        }
        let settings = Self::deserialize(Value::Table(table))
            .map_err(|error| Error::config(file, error.message().to_owned()))?;
        match checks::wrong(&settings) {
            Some(reason) => Err(Error::config(file, reason)),
            None => Ok(settings),
        }
    }
}

/// Refuses a key that is none, and names the one that was meant perhaps.
fn check_key(file: &str, key: &str) -> Result<()> {
    let keys = Settings::keys();
    if keys.iter().any(|known| known == key) {
        return Ok(());
    }
    let near = keys
        .iter()
        .map(|known| (strsim::jaro(known, key), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.8);
    let hint = near.map_or(String::new(), |(_, known)| format!("; perhaps `{known}`"));
    Err(Error::config(file, format!("unknown key `{key}`{hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::words::OptimizerKind;

    fn read(text: &str) -> Result<Settings> {
        Settings::read(What::Align, "run.toml", text, Table::new())
    }

    #[test]
    fn a_file_and_what_is_given_become_settings() {
        let mut given = Table::new();
        given.insert("updates".to_owned(), Value::Integer(7));
        let text = "data = ['a.tar']\nupdates = 5\nlearning-rate = 1e-3\noptimizer = 'adamw8bit'\n";
        let settings = Settings::read(What::Align, "run.toml", text, given).unwrap();
        assert_eq!(settings.updates, 7);
        assert_eq!(settings.learning_rate, 1e-3);
        assert_eq!(settings.optimizer, OptimizerKind::Adamw8bit);
        // What is written is read again.
        let text = settings.of(What::Align).to_string();
        assert_eq!(read(&text).unwrap(), settings);
        let error = read("data = ['a']\nrank = 4").unwrap_err().to_string();
        assert_eq!(error, "run.toml: `rank` is a key of `lora`, not of `align`");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        for (text, expected) in [
            (
                "lerning-rate = 1.0",
                "run.toml: unknown key `lerning-rate`; perhaps `learning-rate`",
            ),
            ("xyz = 1", "run.toml: unknown key `xyz`"),
            ("", "run.toml: `data` names no shards, folder or file"),
            (
                "data = ['a']\nbatch = 0",
                "run.toml: `batch` is 0; at least 1 is needed",
            ),
            (
                "data = ['a']\nema = 1.0",
                "run.toml: `ema` is 1; it must be at least 0 and below 1",
            ),
            (
                "data = ['a']\nhint = 'edges'",
                "run.toml: `hint` is a key of `control`, not of `align`",
            ),
            (
                "data = ['a']\nclip = nan",
                "run.toml: `clip` is NaN; it must be a number of at least 0",
            ),
        ] {
            assert_eq!(message(text), expected);
        }
        assert!(message("data = 'a'").starts_with("run.toml: `data` is \"a\": invalid type"));
        assert!(message("optimizer = 'sgd'").contains("unknown variant `sgd`"));
        assert_eq!(
            message("data = ['a']\na b"),
            "run.toml: line 2: key with no value, expected `=`"
        );
    }
}
