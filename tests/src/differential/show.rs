//! Shows a difference to a person: the first line that differs, not two pages.

use std::fmt::Debug;

const LINES_AROUND: usize = 12;
// A run of one character in a value says nothing beyond its length.
const RUN_MAX: usize = 24;

/// The first difference between two answers, with what stands around it.
pub(super) fn first_difference(reference: &impl Debug, subject: &impl Debug) -> String {
    let (want, got) = (format!("{reference:#?}"), format!("{subject:#?}"));
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    let same = want.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(LINES_AROUND);
    let mut out = String::new();
    for line in &want[from..same] {
        out.push_str(&format!("    {line}\n"));
    }
    for (mark, lines) in [("reference", &want), ("subject  ", &got)] {
        let to = (same + LINES_AROUND).min(lines.len());
        for line in &lines[same.min(lines.len())..to] {
            out.push_str(&format!("{mark} {line}\n"));
        }
    }
    without_runs(&out)
}

/// On one line, with long runs of a character cut short.
pub(super) fn compact(value: &impl Debug) -> String {
    without_runs(&format!("{value:?}"))
}

fn without_runs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run: (char, usize) = ('\0', 0);
    for c in text.chars() {
        run = if c == run.0 && c != ' ' { (c, run.1 + 1) } else { (c, 1) };
        match run.1.cmp(&RUN_MAX) {
            std::cmp::Ordering::Less => out.push(c),
            std::cmp::Ordering::Equal => out.push('…'),
            std::cmp::Ordering::Greater => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_differs_is_shown_with_its_surroundings() {
        let (want, mut got): (Vec<u32>, Vec<u32>) = ((0..100).collect(), (0..100).collect());
        got[50] = 7;
        let shown = first_difference(&want, &got);
        assert!(
            shown.contains("reference     50,") && shown.contains("subject       7,"),
            "{shown}"
        );
        assert!(shown.contains("        49,") && !shown.contains(" 20,"), "{shown}");
    }

    #[test]
    fn long_runs_are_cut() {
        let value = "L".repeat(5000);
        assert!(compact(&value).len() < 100);
        assert_eq!(compact(&"short"), "\"short\"");
    }
}
