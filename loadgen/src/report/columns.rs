//! Columns of text: the first to the left, all others to the right, two spaces between.

/// Lays out rows of cells; a short row ends early. No line ends in spaces.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width_of).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if index == 0 {
                line.push_str(cell);
                line.push_str(&padding);
            } else {
                line.push_str("  ");
                line.push_str(&padding);
                line.push_str(cell);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Cells from anything that is text.
pub(crate) fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_on_the_right() {
        let rows = [cells(["", "p50", "max"]), cells(["from due", "1.90 ms", "7 s"]), cells(["x"])];
        assert_eq!(columns(&rows), "              p50  max\nfrom due  1.90 ms  7 s\nx\n");
    }

    #[test]
    fn width_is_in_characters_not_bytes() {
        let rows = [cells(["a", "1\u{a0}\u{b5}s"]), cells(["b", "1234"])];
        assert_eq!(columns(&rows), "a  1\u{a0}\u{b5}s\nb  1234\n");
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(columns(&[]), "");
    }
}
