//! A Markdown table with aligned columns, so that it is readable as plain text.

/// Rows of cells under a header.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(head: Vec<String>) -> Table {
        Table { rows: vec![head] }
    }

    /// Adds a row with as many cells as the header.
    pub(super) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.rows[0].len());
        self.rows.push(row);
    }

    /// The table; empty if it has no rows.
    pub(super) fn text(&self) -> String {
        let [head, rows @ ..] = &self.rows[..] else { return String::new() };
        if rows.is_empty() {
            return String::new();
        }
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let dashes = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>();
        let mut text = line(head, &widths) + &line(&dashes, &widths);
        rows.iter().for_each(|row| text += &line(row, &widths));
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, &width)| format!("{cell:<width$}"));
    format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(vec!["a".into(), "µs".into()]);
        assert_eq!(table.text(), "");
        table.push(vec!["long".into(), "1".into()]);
        assert_eq!(table.text(), "| a    | µs |\n| ---- | -- |\n| long | 1  |\n");
    }
}
