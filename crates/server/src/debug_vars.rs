//! `/debug/vars`: what Go's `expvar` shows of an etcd, as far as there is
//! something to it here.

use http::{Response, StatusCode};

use crate::body::{ResponseBody, text};
use crate::health::quoted;
use crate::process::{Process, command_line, open_files_max};

/// As Go writes it.
const JSON: &str = "application/json; charset=utf-8";

/// The document.
pub(crate) fn answer() -> Response<ResponseBody> {
    let arguments = command_line();
    text(StatusCode::OK, JSON, document(&arguments, open_files_max(), &Process::read()))
}

/// `memstats` has the fields that are true without Go's heap: what the process
/// has of the system, and that no garbage is collected.
fn document(arguments: &[String], files_max: u64, process: &Process) -> String {
    let arguments: Vec<String> = arguments.iter().map(|it| quoted(it)).collect();
    format!(
        "{{\n\"cmdline\": [{}],\n\"file_descriptor_limit\": {files_max},\n\"memstats\": \
         {{\"Sys\":{},\"HeapSys\":{},\"NumGC\":0,\"EnableGC\":false}}\n}}\n",
        arguments.join(","),
        process.resident_bytes,
        process.resident_bytes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_expvar() {
        let process = Process { resident_bytes: 5, ..Process::read() };
        let text = document(&["t4".to_owned(), "a\"b".to_owned()], 7, &process);
        assert!(text.starts_with("{\n\"cmdline\": [\"t4\",\"a\\\"b\"],\n"), "{text}");
        assert!(text.contains("\n\"file_descriptor_limit\": 7,\n"), "{text}");
        assert!(text.contains("\"memstats\": {\"Sys\":5,"), "{text}");
    }

    #[test]
    fn this_process_has_arguments() {
        assert!(!command_line().is_empty());
    }
}
