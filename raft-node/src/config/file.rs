//! The configuration file: TOML, read with the line number of every value.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, find};
use super::value::Raw;
use super::{ConfigError, Given, Origin};

/// Reads the file's settings.
pub(super) fn read(path: &Path) -> Result<BTreeMap<&'static str, Given>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Parses the settings in `text`, which is the content of the file at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<BTreeMap<&'static str, Given>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        let unquoted = text.lines().nth(line - 1).and_then(unquoted);
        let message = unquoted.unwrap_or_else(|| error.message().trim_end().replace('\n', ", "));
        ConfigError::Syntax { path: path.to_owned(), line, message }
    })?;
    let mut file = File { path, text, given: BTreeMap::new() };
    file.table("", table.get_ref())?;
    Ok(file.given)
}

/// The message for a line whose value is text without quotes, the most frequent syntax error.
fn unquoted(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let bare = |c: char| c.is_ascii_alphanumeric() || "./:-_,[]@".contains(c);
    let texty = value.chars().any(|c| c.is_ascii_alphabetic() || ".:/".contains(c));
    (texty && value.chars().all(bare) && !value.starts_with('['))
        .then(|| format!("text must stand in double quotes: {key} = \"{value}\""))
}

/// A file that is being parsed.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    given: BTreeMap<&'static str, Given>,
}

impl File<'_> {
    /// Reads the settings of a table; `ca` under `[tls]` is the setting `tls-ca`.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        // The table is sorted by name, but the first error should be the first one in the file.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = format!("{prefix}{}", key.get_ref());
            let line = line_at(self.text, key.span().start);
            if let (DeValue::Table(inner), "tls") = (value.get_ref(), name.as_str()) {
                self.table("tls-", inner)?;
            } else {
                self.value(&name, line, value)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, name: &str, line: usize, value: &Spanned<DeValue<'_>>) -> Result<(), ConfigError> {
        let Some(key) = find(name) else {
            return Err(ConfigError::UnknownKey {
                path: self.path.to_owned(),
                line,
                key: name.to_owned(),
                // `[tls]` is the only table, and it must be written in lower case.
                hint: if name.eq_ignore_ascii_case("tls") { Some("[tls]") } else { hint(name) },
            });
        };
        let origin = Origin::File { path: self.path.to_owned(), line };
        let raw = match value.get_ref() {
            DeValue::Array(items) => {
                items.iter().map(|item| scalar(item.get_ref())).collect::<Option<_>>().map(Raw::Many)
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => scalar(value.get_ref()).map(Raw::One),
        };
        let Some(raw) = raw else {
            let got = format!("a value of type {}", value.get_ref().type_str());
            return Err(ConfigError::Invalid { key: key.name, got, origin, allowed: key.kind.allowed() });
        };
        if self.given.insert(key.name, Given { raw, origin }).is_some() {
            return Err(ConfigError::Twice { path: self.path.to_owned(), line, key: key.name });
        }
        Ok(())
    }
}

/// A value as text; none for a list or table.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The setting that `name` was probably meant to be.
pub(super) fn hint(name: &str) -> Option<&'static str> {
    let name = name.replace(['_', '.'], "-").to_lowercase();
    let nearest = KEYS.iter().map(|key| (distance(&name, key.name), key.name)).min()?;
    let longer = |key: &str| name.strip_prefix(key).or_else(|| key.strip_prefix(name.as_str())).is_some();
    let near = (nearest.0 <= name.len() / 3).then_some(nearest.1);
    // `certificate`, under [tls] or not.
    let begins_alike = || KEYS.iter().map(|key| key.name).find(|key| name.len() > 3 && longer(key));
    let under_tls = || KEYS.iter().map(|key| key.name).find(|key| key.strip_prefix("tls-") == Some(&name));
    let begins = || if name.starts_with("cert") { Some("tls-cert") } else { None };
    near.or_else(begins_alike).or_else(under_tls).or_else(begins)
}

/// Levenshtein distance: the number of characters to insert, remove or replace to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[other.len()]
}
