//! etcd's flags, and what they mean here.

use super::table::GROUPS;

/// A flag of etcd.
#[derive(Debug)]
pub(super) struct Flag {
    /// Without dashes.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As it would be written; empty: no default.
    pub(super) default: &'static str,
    /// For the help.
    pub(super) help: &'static str,
    pub(super) meaning: Meaning,
}

/// The syntax of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// One of Go's booleans; without a value, true.
    Switch,
    /// A number that is not negative.
    Unsigned,
    Signed,
    /// `1h30m`; a whole number of nanoseconds in a config file.
    Duration,
    /// URLs, separated by commas.
    Urls,
    /// Texts, separated by commas.
    List,
    /// One of these.
    Choice(&'static [&'static str]),
}

/// What the flag means here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// The same as in etcd.
    Honoured,
    /// It concerns etcd's internals and has no effect. The text names what
    /// controls the same thing here.
    Governed(&'static str),
    /// Only these values are accepted, because others would require something
    /// that is not implemented here; the text says why.
    Only(&'static [&'static str], &'static str),
    /// No longer a flag of etcd: rejected as such, and ignored with a warning
    /// in the environment or a config file, as in etcd. The text names the
    /// replacement.
    GivenUp(&'static str),
}

/// Related flags.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) flags: &'static [Flag],
}

pub(super) const fn honoured(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, help, meaning: Meaning::Honoured }
}

/// A flag without effect: its help is `instead`.
pub(super) const fn governed(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    instead: &'static str,
) -> Flag {
    Flag { name, kind, default, help: "", meaning: Meaning::Governed(instead) }
}

/// A switch that cannot be enabled.
pub(super) const fn never(name: &'static str, why: &'static str) -> Flag {
    let meaning = Meaning::Only(&["false"], why);
    Flag { name, kind: Kind::Switch, default: "false", help: "", meaning }
}

/// A text or list that must be empty.
pub(super) const fn empty(name: &'static str, kind: Kind, why: &'static str) -> Flag {
    Flag { name, kind, default: "", help: "", meaning: Meaning::Only(&[""], why) }
}

/// A text that etcd no longer accepts.
pub(super) const fn given_up(name: &'static str, instead: &'static str) -> Flag {
    Flag { name, kind: Kind::Text, default: "", help: "", meaning: Meaning::GivenUp(instead) }
}

/// Every flag.
pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags)
}

/// The flag with that name. etcd 3.5 had an `experimental-` prefix on some
/// names.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    let named = |name: &str| all().find(|flag| flag.name == name);
    named(name).or_else(|| named(name.strip_prefix("experimental-")?))
}

/// Settings of a config file that have no flag.
const WITHOUT_FLAG: &[Flag] = &[
    honoured("client-cert-allowed-cn", Kind::List, "", ""),
    honoured("client-skip-client-san-verification", Kind::Switch, "false", ""),
];

/// Like `find`, including settings that only a config file can have.
pub(super) fn find_setting(name: &str) -> Option<&'static Flag> {
    WITHOUT_FLAG.iter().find(|flag| flag.name == name).or_else(|| find(name))
}

/// The environment variable of a flag.
pub(super) fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once() {
        let mut names: Vec<_> = all().map(|flag| flag.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 120, "{count}");
    }

    #[test]
    fn every_default_is_a_value_that_is_taken() {
        for flag in all().filter(|flag| !flag.default.is_empty()) {
            let value = crate::etcd::go::parse(flag.kind, flag.default);
            assert!(value.is_ok(), "{}: {value:?}", flag.name);
            if let Meaning::Only(allowed, _) = flag.meaning {
                assert!(allowed.contains(&flag.default), "{}", flag.name);
            }
        }
    }

    #[test]
    fn older_names_are_known() {
        assert_eq!(
            find("experimental-corrupt-check-time").map(|it| it.name),
            Some("corrupt-check-time")
        );
        assert!(find("experimental-nonsense").is_none() && find("nonsense").is_none());
        assert_eq!(variable("listen-client-urls"), "ETCD_LISTEN_CLIENT_URLS");
    }
}
