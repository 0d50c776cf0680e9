//! Reads sections key by key and collects every mistake, each with its line, key, value and rule.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, Kind, Place};
use super::units::{Bytes, Nanos};

/// The longest value that an error repeats.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// Something in a file that isn't as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// Counted from 1; `None` = of the file as a whole.
    pub(crate) line: Option<usize>,
    /// The section, as people call it.
    pub(crate) section: String,
    /// The key.
    pub(crate) key: String,
    /// The value as it is written; `None` = it is missing.
    pub(crate) value: Option<String>,
    /// What it has to be.
    pub(crate) rule: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.section.is_empty() {
            write!(f, "{}: ", self.section)?;
        }
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if !self.key.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.rule)
    }
}

/// The text of a file, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            mistakes: RefCell::default(),
        }
    }

    /// All mistakes in the order of the file.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes
    }

    fn line(&self, at: usize) -> usize {
        self.text
            .bytes()
            .take(at)
            .filter(|&byte| byte == b'\n')
            .count()
            + 1
    }

    /// The text isn't TOML.
    pub(super) fn syntax(&self, error: &toml::de::Error) {
        self.mistakes.borrow_mut().push(Mistake {
            line: error.span().map(|span| self.line(span.start)),
            section: String::new(),
            key: String::new(),
            value: None,
            rule: error.message().to_owned(),
        });
    }

    fn shown(&self, span: Range<usize>) -> String {
        let value = self.text.get(span).unwrap_or_default();
        let mut shown: String = value
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(SHOWN_CHARACTERS_MAX + 1)
            .collect();
        if shown.chars().count() > SHOWN_CHARACTERS_MAX {
            shown.pop();
            shown.push('…');
        }
        shown
    }
}

/// A table of the file.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    place: Place,
    /// What errors call it.
    name: String,
    table: &'a DeTable<'a>,
    /// Where it begins.
    at: usize,
}

impl<'a> Section<'a> {
    /// The table of a place; keys that the place doesn't have are mistakes.
    pub(super) fn new(
        source: &'a Source<'a>,
        place: Place,
        name: String,
        table: &'a DeTable<'a>,
        at: usize,
    ) -> Self {
        let section = Self {
            source,
            place,
            name,
            table,
            at,
        };
        for (key, value) in table {
            let known = |row: &&Key| row.place == place && row.name == key.get_ref().as_ref();
            if !KEYS.iter().any(|row| known(&row)) {
                let names: Vec<&str> = KEYS
                    .iter()
                    .filter(|row| row.place == place)
                    .map(|row| row.name)
                    .collect();
                // The value of an unknown section may be long: its name is enough.
                let value = (!value.get_ref().is_table() && !value.get_ref().is_array())
                    .then(|| source.shown(value.span()));
                let rule = format!("unknown key; there is {}", names.join(", "));
                section.push(Some(key.span().start), key.get_ref(), value, rule);
            }
        }
        section
    }

    fn push(&self, at: Option<usize>, key: &str, value: Option<String>, rule: String) {
        self.source.mistakes.borrow_mut().push(Mistake {
            line: at.map(|at| self.source.line(at)),
            section: self.name.clone(),
            key: key.to_owned(),
            value,
            rule,
        });
    }

    /// What errors call this section.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A value breaks a rule that isn't in its row.
    pub(super) fn refuse(&self, key: &Key, rule: impl Into<String>) {
        debug_assert_eq!(key.place, self.place);
        match self.table.get(key.name) {
            Some(value) => {
                let (at, shown) = (value.span().start, self.source.shown(value.span()));
                self.push(Some(at), key.name, Some(shown), rule.into());
            }
            None => self.push(Some(self.at), key.name, None, rule.into()),
        }
    }

    /// A value breaks the rule of its row, or is missing.
    pub(super) fn refuse_kind(&self, key: &Key) {
        let missing = if self.has(key) { "" } else { "missing: " };
        self.refuse(key, format!("{missing}has to be {}", key.kind));
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.table.contains_key(key.name)
    }

    fn value(&self, key: &Key) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert_eq!(key.place, self.place);
        self.table.get(key.name)
    }

    /// The value as `read` sees it; a value that it refuses is a mistake.
    fn read<T>(&self, key: &Key, read: impl Fn(&DeValue<'a>) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let found = read(value.get_ref());
        if found.is_none() {
            self.refuse_kind(key);
        }
        found
    }

    /// A string that parses.
    pub(super) fn parsed<T: FromStr>(&self, key: &Key) -> Option<T> {
        let Kind::Text { default, .. } = key.kind else {
            return None;
        };
        if self.has(key) {
            self.read(key, |value| value.as_str()?.parse().ok())
        } else {
            default.and_then(|text| text.parse().ok())
        }
    }

    /// A string of the characters that names have.
    pub(super) fn word(&self, key: &Key, length_max: usize) -> Option<String> {
        self.read(key, |value| {
            let text = value.as_str()?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            ((1..=length_max).contains(&text.len()) && text.bytes().all(plain))
                .then(|| text.to_owned())
        })
    }

    /// One of the row's strings, by its place in the row.
    pub(super) fn choice(&self, key: &Key) -> Option<&'static str> {
        let Kind::Choice { default, among } = key.kind else {
            return None;
        };
        if self.has(key) {
            self.read(key, |value| {
                let text = value.as_str()?;
                among.iter().find(|name| **name == text).copied()
            })
        } else {
            default
        }
    }

    pub(super) fn flag(&self, key: &Key) -> bool {
        let Kind::Flag { default } = key.kind else {
            return false;
        };
        self.read(key, DeValue::as_bool).unwrap_or(default)
    }

    /// A number within the row's range.
    pub(super) fn number(&self, key: &Key) -> Option<u64> {
        let Kind::Number { default, from, to } = key.kind else {
            return None;
        };
        self.read(key, |value| {
            whole(value).filter(|n| (from..=to).contains(n))
        })
        .or(default)
    }

    /// A duration within the row's range.
    pub(super) fn duration(&self, key: &Key) -> Option<Nanos> {
        let Kind::Duration { default, from, to } = key.kind else {
            return None;
        };
        self.read(key, |value| {
            Nanos::parse(value.as_str()?).filter(|time| (from..=to).contains(time))
        })
        .or(default)
    }

    /// A size within the row's range.
    pub(super) fn size(&self, key: &Key) -> Bytes {
        let Kind::Size { default, from, to } = key.kind else {
            return Bytes(0);
        };
        self.read(key, |value| {
            Bytes::parse(value.as_str()?).filter(|size| (from..=to).contains(size))
        })
        .unwrap_or(default)
    }

    fn list<T>(
        &self,
        key: &Key,
        length_max: usize,
        item: impl Fn(&DeValue<'a>) -> Option<T>,
    ) -> Vec<T> {
        self.read(key, |value| {
            let items = value.as_array()?;
            if items.len() > length_max {
                return None;
            }
            items.iter().map(|value| item(value.get_ref())).collect()
        })
        .unwrap_or_default()
    }

    pub(super) fn numbers(&self, key: &Key, length_max: usize) -> Vec<u64> {
        self.list(key, length_max, whole)
    }

    pub(super) fn addresses(&self, key: &Key, length_max: usize) -> Vec<IpAddr> {
        self.list(key, length_max, |value| value.as_str()?.parse().ok())
    }

    pub(super) fn socket_addresses(&self, key: &Key, length_max: usize) -> Vec<SocketAddr> {
        self.list(key, length_max, |value| {
            let address: SocketAddr = value.as_str()?.parse().ok()?;
            (address.port() != 0 && !address.ip().is_multicast()).then_some(address)
        })
    }

    /// The tables of an array of tables.  `name` says what errors call each, given its place and the `name`
    /// that it has.
    pub(super) fn sections(
        &self,
        key: &Key,
        place: Place,
        length_max: usize,
        name: impl Fn(usize, Option<&str>) -> String,
    ) -> Vec<Section<'a>> {
        let tables = self.value(key).map(|value| {
            let items = value.get_ref().as_array()?;
            let tables: Option<Vec<_>> = items
                .iter()
                .map(|item| Some((item.get_ref().as_table()?, item.span().start)))
                .collect();
            tables.filter(|tables| (1..=length_max).contains(&tables.len()))
        });
        match tables {
            Some(Some(tables)) => (1..)
                .zip(tables)
                .map(|(number, (table, at))| {
                    let own = table
                        .get("name")
                        .and_then(|name| name.get_ref().as_str())
                        .filter(|name| !name.is_empty());
                    Section::new(self.source, place, name(number, own), table, at)
                })
                .collect(),
            Some(None) => {
                self.refuse_section(key);
                Vec::new()
            }
            None => {
                self.refuse_kind(key);
                Vec::new()
            }
        }
    }

    /// A table, if it is there.
    pub(super) fn section(&self, key: &Key, place: Place, name: String) -> Option<Section<'a>> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(
                self.source,
                place,
                name,
                table,
                value.span().start,
            )),
            None => {
                self.refuse_section(key);
                None
            }
        }
    }

    /// As [`refuse_kind`](Self::refuse_kind), without the value: a section is long.
    fn refuse_section(&self, key: &Key) {
        let at = self
            .table
            .get_key_value(key.name)
            .map(|(key, _)| key.span().start);
        self.push(at, key.name, None, format!("has to be {}", key.kind));
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}
