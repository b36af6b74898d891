//! Suggestions for likely mistakes: etcd's flags given to `t4 run`, commands of
//! other servers, keys of other programs' config files, and typos.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// etcd's names for settings that have another name in `t4 run`.
const OTHER_NAMES: [(&str, &str); 21] = [
    ("listen-client-urls", "listen"),
    ("listen-client-http-urls", "listen"),
    ("listen-metrics-urls", "metrics-addr"),
    ("name", "node-id"),
    ("cert-file", "client-tls-cert"),
    ("key-file", "client-tls-key"),
    ("trusted-ca-file", "client-tls-ca"),
    ("ca-file", "client-tls-ca"),
    ("peer-cert-file", "peer-tls-cert"),
    ("peer-key-file", "peer-tls-key"),
    ("peer-trusted-ca-file", "peer-tls-ca"),
    ("auth-token-ttl", "token-ttl"),
    // Names from other servers.
    ("port", "listen"),
    ("addr", "listen"),
    ("address", "listen"),
    ("bind", "listen"),
    ("metrics-address", "metrics-addr"),
    ("data", "data-dir"),
    ("dir", "data-dir"),
    ("config", "config-file"),
    ("node-name", "node-id"),
];

/// Commands of other servers.
const OTHER_COMMANDS: [(&str, &str); 16] = [
    ("start", "run"),
    ("server", "run"),
    ("serve", "run"),
    ("daemon", "run"),
    ("up", "run"),
    ("check", "run --check"),
    ("validate", "run --check"),
    ("get", "inspect get"),
    ("list", "inspect list"),
    ("meta", "inspect meta"),
    ("dump", "inspect list --values"),
    ("cert", "certs"),
    ("ca", "certs"),
    ("completions", "completion"),
    ("manpage", "man"),
    ("manpages", "man"),
];

/// Adds a tip to the error if there is one. `args` is the whole command line.
pub(crate) fn with_tip(mut error: Error, args: &[String]) -> Error {
    let tip = match error.kind() {
        ErrorKind::UnknownArgument if args.get(1).is_some_and(|arg| arg == "run") => {
            let named = text_of(&error, ContextKind::InvalidArg);
            // Go's flags may have one dash, which clap parses as a short flag.
            let single = args.iter().filter_map(|arg| arg.strip_prefix('-'));
            let single = single.filter(|rest| rest.len() > 1 && !rest.starts_with('-'));
            let long = named.as_deref().and_then(|arg| arg.strip_prefix("--"));
            let mut all = long.into_iter().chain(single);
            all.find_map(|name| for_flag(name.split('=').next().unwrap_or(name)))
        }
        ErrorKind::InvalidSubcommand if args.len() > 1 => {
            text_of(&error, ContextKind::InvalidSubcommand)
                .filter(|name| args.get(1) == Some(name))
                .and_then(|name| for_command(&name))
        }
        _ => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        // The usage names the flag that clap would have suggested.
        error.remove(ContextKind::Usage);
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

fn text_of(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn for_flag(name: &str) -> Option<String> {
    let is_of_etcd = crate::etcd::has_flag(name);
    match other_name(name) {
        Some(ours) if is_of_etcd => {
            Some(format!("use --{ours}, or 't4 etcd', which takes etcd's flags"))
        }
        Some(ours) => Some(format!("use --{ours}")),
        None if is_of_etcd => Some(format!("--{name} is a flag of etcd: 't4 etcd' takes those")),
        None => None,
    }
}

fn other_name(name: &str) -> Option<&'static str> {
    OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours)
}

fn for_command(name: &str) -> Option<String> {
    let other = OTHER_COMMANDS.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours);
    let commands = crate::command_names();
    let near = || nearest(name, commands.iter().map(String::as_str));
    match other.or_else(near) {
        Some(ours) => Some(format!("use 't4 {ours}'")),
        None => Some(format!("the commands are {}", commands.join(", "))),
    }
}

/// The suggestion for a key that no config file of `t4 run` has.
pub(crate) fn for_key(key: &str) -> Option<String> {
    if matches!(key, "tls" | "client-tls" | "security" | "client-transport-security") {
        return Some(
            "the file has one level, and its keys are the names of flags: client-tls-cert, \
             client-tls-key, client-tls-ca"
                .to_owned(),
        );
    }
    let underscored = key.replace('_', "-");
    match other_name(&underscored) {
        Some(ours) if ours != key => Some(format!("use {ours:?}")),
        _ if crate::etcd::has_flag(&underscored) && key.contains('-') => {
            Some("it is one of etcd's, and `t4 etcd --config-file` takes those".to_owned())
        }
        _ => None,
    }
}

/// The known name closest to `name`, if it is close enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // In a short word, three letters would be all of it.
    let allowed = (name.len() / 3).clamp(1, 3);
    let near = known.into_iter().map(|known| (difference(name, known), known)).min()?;
    (near.0 <= allowed).then_some(near.1)
}

fn difference(a: &str, b: &str) -> usize {
    let sorted = |text: &str| {
        let mut letters: Vec<u8> = text.bytes().collect();
        letters.sort_unstable();
        letters
    };
    // Two swapped letters are one mistake.
    if a != b && sorted(a) == sorted(b) { 1 } else { distance(a, b) }
}

/// The number of letters to add, remove or replace to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(args: &[&str]) -> String {
        let error = crate::command().try_get_matches_from(args).expect_err("refused");
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        with_tip(error, &args).render().to_string()
    }

    #[test]
    fn flags_of_etcd_are_told_by_their_name_here() {
        for (args, tip) in [
            (&["--listen-client-urls", "http://x:1"][..], "use --listen, or 't4 etcd'"),
            (&["--listen-client-urls=http://x:1"], "use --listen, or 't4 etcd'"),
            (&["-listen-client-urls", "http://x:1"], "use --listen, or 't4 etcd'"),
            (&["--initial-cluster=a=b"], "--initial-cluster is a flag of etcd: 't4 etcd'"),
            (&["--cert-file=x"], "use --client-tls-cert"),
            (&["--port=1"], "use --listen"),
            (&["--data-dri=x"], "--data-dir"),
        ] {
            let told = told(&[&["t4", "run"], args].concat());
            assert!(told.contains(tip), "{args:?}: {told}");
            assert!(!told.contains("--advertise-client-urls"), "{args:?}: {told}");
        }
    }

    #[test]
    fn commands_of_others_and_slips() {
        for (name, tip) in [
            ("rnu", "use 't4 run'"),
            ("start", "use 't4 run'"),
            ("server", "use 't4 run'"),
            ("inspekt", "inspect"),
            ("check", "use 't4 run --check'"),
            ("gc", "the commands are run, etcd, inspect, verify, certs"),
        ] {
            let told = told(&["t4", name]);
            assert!(told.contains(tip), "{name}: {told}");
        }
    }

    #[test]
    fn every_tip_leads_to_something_that_there_is() {
        let flags = crate::run::flag_names();
        for (_, ours) in OTHER_NAMES {
            assert!(flags.iter().any(|flag| flag == ours), "{ours}");
        }
        let commands = crate::command_names();
        for (_, ours) in OTHER_COMMANDS {
            let first = ours.split(' ').next().expect("a word");
            assert!(commands.iter().any(|name| name == first), "{ours}");
        }
    }

    #[test]
    fn keys_of_other_files() {
        assert!(for_key("tls").expect("a tip").contains("client-tls-cert"));
        assert_eq!(for_key("listen-client-urls").as_deref(), Some("use \"listen\""));
        assert_eq!(for_key("data_dir"), None);
        assert!(for_key("initial-cluster").expect("a tip").contains("t4 etcd"));
        assert_eq!(for_key("what"), None);
    }

    #[test]
    fn near_names() {
        let known = ["run", "cors", "io-threads", "listen"];
        for (name, expected) in [
            ("rnu", Some("run")),
            ("tls", None),
            ("foo", None),
            ("io-thread", Some("io-threads")),
            ("lsiten", Some("listen")),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
