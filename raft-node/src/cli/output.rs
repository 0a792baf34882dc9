//! The output of commands. All writing to stdout goes through this module, because its reader may go away at any moment
//! (`| head`).

use std::io::{self, ErrorKind, Write};

use super::{Failure, lossy_log};

/// Writes bytes to stdout.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            Failure::OutputClosed
        } else {
            Failure::Failed(format!("stdout cannot be written: {error}"))
        }
    })
}

/// Writes a line to stdout.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Reports on stderr what went wrong.
pub(super) fn complain(text: &str) {
    let line = format!("raft-node: {text}\n");
    match lossy_log::started() {
        // A node must be able to end even if nobody reads its log.
        Some(log) => log.push(line.as_bytes()),
        // If stderr is closed too, the message cannot be delivered.
        None => drop(io::stderr().lock().write_all(line.as_bytes())),
    }
}

/// A value as one line of text, in which unprintable characters are escaped.
pub(super) fn printable(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Formats rows as a table with aligned columns; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_in_one_line() {
        assert_eq!(printable(b"a\tb\n\\"), "a\\tb\\n\\\\");
        assert_eq!(printable("ä\u{1b}[0m".as_bytes()), "ä\\u{1b}[0m");
        assert_eq!(printable(b"\xffx\x00"), "\\xffx\\u{0}");
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["node", "role", ""]), row(["1", "follower", "x"])]),
            "node  role\n1     follower  x\n"
        );
    }
}
