//! The values of flags, from any source.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flag::{self, Flag};
use super::go::{self, Value};
use super::url::Url;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Flag,
    Environment,
    /// The line of the config file.
    File(usize),
}

/// Values by flag. A flag that was not given has its default: look-ups use only
/// names from the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    values: BTreeMap<&'static str, (Value, Source)>,
}

impl Given {
    pub(super) fn set(&mut self, flag: &'static Flag, value: Value, source: Source) {
        self.values.insert(flag.name, (value, source));
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The values that were given, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value, Source)> {
        self.values.iter().map(|(name, (value, source))| (*name, value, *source))
    }

    fn value(&self, name: &'static str) -> Value {
        if let Some((value, _)) = self.values.get(name) {
            return value.clone();
        }
        let flag = flag::find_setting(name).expect("a flag of the table");
        // Only texts, lists and URLs have empty defaults.
        go::parse(flag.kind, flag.default).expect("defaults are sound: the table is tested")
    }

    pub(super) fn text(&self, name: &'static str) -> String {
        match self.value(name) {
            Value::Text(text) => text,
            other => panic!("{name} is no text: {other:?}"),
        }
    }

    /// A text that is not empty.
    pub(super) fn file(&self, name: &'static str) -> Option<std::path::PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(Into::into)
    }

    pub(super) fn switch(&self, name: &'static str) -> bool {
        match self.value(name) {
            Value::Switch(value) => value,
            other => panic!("{name} is no switch: {other:?}"),
        }
    }

    pub(super) fn number(&self, name: &'static str) -> i128 {
        match self.value(name) {
            Value::Number(number) => number,
            other => panic!("{name} is no number: {other:?}"),
        }
    }

    pub(super) fn duration(&self, name: &'static str) -> Duration {
        match self.value(name) {
            Value::Duration(duration) => duration,
            other => panic!("{name} is no duration: {other:?}"),
        }
    }

    /// Empty URLs mean the default, as in etcd.
    pub(super) fn urls(&self, name: &'static str) -> Vec<Url> {
        match self.value(name) {
            Value::Urls(urls) if urls.is_empty() => Given::default().default_urls(name),
            Value::Urls(urls) => urls,
            other => panic!("{name} is no list of URLs: {other:?}"),
        }
    }

    fn default_urls(&self, name: &'static str) -> Vec<Url> {
        match self.value(name) {
            Value::Urls(urls) => urls,
            other => panic!("{name} is no list of URLs: {other:?}"),
        }
    }

    pub(super) fn list(&self, name: &'static str) -> Vec<String> {
        match self.value(name) {
            Value::List(list) => list,
            other => panic!("{name} is no list: {other:?}"),
        }
    }
}
