//! `ETCD_*` variables (reference: etcd's `flags.SetFlagsFromEnv`).

use std::ffi::OsString;

use super::error::{EtcdError, invalid};
use super::flag;
use super::given::{Given, Source};
use super::go;

/// Variables of etcd that are not flags.
const OTHERS: [&str; 4] =
    ["ETCD_CONFIG_FILE", "ETCD_VERSION", "ETCD_UNSUPPORTED_ARCH", "ETCD_HELP"];

/// Sets flags that were not given from their variables, and returns the names
/// of variables that are not flags.
pub(super) fn complete(
    given: &mut Given,
    variables: &[(OsString, OsString)],
) -> Result<Vec<String>, EtcdError> {
    let mut unknown = Vec::new();
    let on_the_command_line: Vec<_> = given.iter().map(|(name, ..)| flag::variable(name)).collect();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("ETCD_")) else { continue };
        if on_the_command_line.iter().any(|shadowed| shadowed == name) {
            return invalid(format!(
                "conflicting environment variable is shadowed by corresponding command-line flag \
                 (either unset environment variable or disable flag)): {name}"
            ));
        }
        let flag_name = name["ETCD_".len()..].to_ascii_lowercase().replace('_', "-");
        match flag::find(&flag_name).filter(|_| flag::variable(&flag_name) == name) {
            Some(flag) if !value.is_empty() => {
                let value = value.to_string_lossy();
                let parsed = go::parse(flag.kind, &value);
                let wrong =
                    |why| EtcdError::Invalid(format!("invalid value {value:?} for {name}: {why}"));
                given.set(flag, parsed.map_err(wrong)?, Source::Environment);
            }
            None if !OTHERS.contains(&name) && !crate::run::is_of_kubernetes(name) => {
                unknown.push(name.to_owned());
            }
            // An empty variable is unset.
            _ => {}
        }
    }
    unknown.sort_unstable();
    Ok(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn named(name: &str) -> Given {
        let mut given = Given::default();
        let flag = flag::find("name").expect("a flag");
        given.set(flag, go::Value::Text(name.to_owned()), Source::Flag);
        given
    }

    #[test]
    fn variables_set_what_is_not_set() {
        let mut given = named("flag");
        let pairs = [("ETCD_DATA_DIR", "/d"), ("ETCD_AUTO_TLS", "true"), ("HOME", "/h")];
        assert_eq!(complete(&mut given, &variables(&pairs)), Ok(Vec::new()));
        assert_eq!((given.text("name"), given.text("data-dir")), ("flag".into(), "/d".into()));
        assert!(given.switch("auto-tls"));
    }

    #[test]
    fn a_flag_and_its_variable_are_a_conflict_even_if_it_is_empty() {
        for value in ["env", ""] {
            let told = complete(&mut named("flag"), &variables(&[("ETCD_NAME", value)]));
            let told = told.expect_err("a conflict").to_string();
            assert!(told.starts_with("conflicting environment variable is shadowed by"), "{told}");
            assert!(told.ends_with("ETCD_NAME"), "{told}");
        }
    }

    #[test]
    fn wrong_values_name_the_variable() {
        let pairs = variables(&[("ETCD_MAX_TXN_OPS", "x")]);
        let told = complete(&mut Given::default(), &pairs).expect_err("wrong").to_string();
        assert_eq!(told, "invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error");
    }

    #[test]
    fn what_is_unknown_is_returned() {
        let pairs = [
            ("ETCD_NAMES", "x"),
            ("ETCD_NAME", ""),
            ("ETCD_data_dir", "x"),
            ("ETCD_SERVICE_HOST", "10.0.0.1"),
            ("ETCD_VERSION", "3"),
            ("ETCDCTL_API", "3"),
        ];
        let mut given = Given::default();
        let unknown = complete(&mut given, &variables(&pairs));
        assert_eq!(unknown, Ok(["ETCD_NAMES", "ETCD_data_dir"].map(str::to_owned).to_vec()));
        assert_eq!(given, Given::default());
    }
}
