//! Aligned columns of text, for `inspect` and `doctor`.

use super::text::{printable, shortened};

/// Rows as lines: columns are aligned and two spaces apart, lines are indented by two.
///
/// Cells are printable, and long ones are cut.
pub fn columns(rows: &[Vec<String>]) -> String {
    let cells = |row: &Vec<String>| -> Vec<String> {
        let cells = row.iter().map(|cell| shortened(&printable(cell)));
        cells.collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width - cell.chars().count();
            line.push_str(&format!(" {cell}{:padding$} ", ""));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of cells.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(["a", "bb"]), row(["猫猫", "c", "d"])];
        assert_eq!(columns(&rows), "  a   bb\n  猫猫  c   d\n");
    }

    #[test]
    fn a_cell_of_any_text_is_one_short_line() {
        let long = "猫".repeat(84_000);
        let text = columns(&[row(["prompt", &long, "\u{1b}[2J\n"]), row(["a", "b"])]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("(84000 characters)") && text.len() < 10_000);
        assert!(!text.contains('\u{1b}'));
    }
}
