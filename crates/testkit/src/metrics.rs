//! The output of a metrics listener, read over plain HTTP/1.1.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, ensure};

/// The metrics of a server at one point in time.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Reads the metrics of the listener at `host:port`, which has no TLS.
    /// Blocks.
    ///
    /// # Errors
    /// When it does not answer, or not with 200.
    pub fn read(address: &str) -> anyhow::Result<Metrics> {
        let mut connection =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        ensure!(text.starts_with("HTTP/1.1 200"), "no metrics at {address}: {text}");
        Ok(Metrics { text })
    }

    /// The complete text, as received.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of a sample: its name, with all its labels in braces if it has
    /// any. `None`: there is no such sample, or its value is not a whole
    /// number.
    #[must_use]
    pub fn sample(&self, name: &str) -> Option<u64> {
        let mut values = self.text.lines().filter_map(|line| line.strip_prefix(name));
        values.find_map(|rest| rest.strip_prefix(' '))?.parse().ok()
    }

    /// The sum of the samples whose names begin with `beginning`; only whole
    /// numbers count: `name{` for all labels of a metric, or with the first of
    /// its labels.
    #[must_use]
    pub fn sum(&self, beginning: &str) -> u64 {
        let samples = self.text.lines().filter(|line| line.starts_with(beginning));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_whole_names() {
        let text = "# HELP a x\na 3\na_b 4\na_c{x=\"1\"} 5\na_c{x=\"2\"} 6\n".to_owned();
        let metrics = Metrics { text };
        assert_eq!(metrics.sample("a"), Some(3));
        assert_eq!(metrics.sample("a_c"), None);
        assert_eq!(metrics.sample("a_c{x=\"2\"}"), Some(6));
        assert_eq!(metrics.sum("a_c{"), 11);
        assert_eq!(metrics.sum("a_c{x=\"1"), 5);
    }
}
