//! `raft-node log dump`: prints a line for each entry.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use raftkit_core::{Entry, LogIndex, Membership, NodeId, Payload};
use raftkit_log::Inspection;
use serde_json::json;

use super::{chain, judge, kind, range};
use crate::cli::{Failure, output};

/// Maximum number of characters that are printed of a payload that is text.
const PAYLOAD_CHARS_MAX: usize = 120;
/// Maximum number of bytes that are printed of any other payload, in hexadecimal.
const PAYLOAD_BYTES_MAX: usize = 40;
/// Number of bytes of output that are written at a time.
const PART_BYTES: usize = 32 << 10;

/// The entries to list, and the form to print them in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) from: LogIndex,
    pub(super) to: LogIndex,
    pub(super) payload: bool,
    pub(super) json: bool,
}

pub(super) fn run(inspection: &Inspection, dir: &Path, wanted: Wanted) -> Result<(), Failure> {
    if let Some(contents) = &inspection.contents {
        let (base, last) = (contents.restored.base.id.index, contents.restored.last);
        // Columns are as wide as the log's content needs; the total length of all payloads bounds that of each payload.
        let widths = [
            last.to_string().len().max(5),
            contents.restored.hard_state.term.to_string().len().max(4),
            contents.payload_bytes.to_string().len().clamp(5, 10),
        ];
        let unsettled = inspection.unsettled.as_ref().and_then(|unsettled| unsettled.first);
        let mut text = if wanted.json { String::new() } else { heading(widths, base, last, wanted) };
        for entry in contents.entries(wanted.from, wanted.to) {
            let entry = entry.map_err(|error| Failure::Failed(chain(&error)))?;
            let in_journal = unsettled.is_some_and(|first| first <= entry.id.index);
            if wanted.json {
                let _ = writeln!(text, "{}", object(&entry, in_journal, wanted.payload));
            } else {
                let is_first = unsettled == Some(entry.id.index)
                    || (in_journal && entry.id.index == wanted.from.max(base.next()));
                if is_first {
                    text.push_str("-- from here on in the journal alone, not yet in log.redb --\n");
                }
                text.push_str(&line(&entry, widths, wanted.payload));
            }
            if text.len() > PART_BYTES {
                output::write(text.as_bytes())?;
                text.clear();
            }
        }
        output::write(text.as_bytes())?;
    }
    judge(inspection, dir)
}

fn heading([index, term, bytes]: [usize; 3], base: LogIndex, last: LogIndex, wanted: Wanted) -> String {
    let mut text = format!(
        "{:>index$}  {:>term$}  {:<10}  {:>bytes$}{}\n",
        "index",
        "term",
        "kind",
        "bytes",
        if wanted.payload { "  payload" } else { "" }
    );
    let first = wanted.from.max(LogIndex(1));
    if first <= base {
        let _ = writeln!(text, "-- {} compacted: no longer in the log --", range(first, base.min(wanted.to)));
    }
    if wanted.from > last || last == base {
        let _ = writeln!(text, "-- nothing: the log ends with {last} --");
    }
    text
}

fn line(entry: &Entry, [index, term, bytes]: [usize; 3], with_payload: bool) -> String {
    let (_, payload) = entry.payload.to_parts();
    let mut line = format!(
        "{:>index$}  {:>term$}  {:<10}  {:>bytes$}",
        entry.id.index.0,
        entry.id.term.0,
        kind(&entry.payload),
        payload.len()
    );
    if with_payload && !payload.is_empty() {
        let shown = match &entry.payload {
            Payload::Noop | Payload::Command(_) => shown(&payload),
            Payload::Membership(membership) => members(membership),
        };
        let _ = write!(line, "  {shown}");
    }
    line.push('\n');
    line
}

/// A payload as one line: as text if it is text, otherwise in hexadecimal.
fn shown(payload: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(payload)
        && !text.chars().any(|c| c.is_control() && !c.is_whitespace())
    {
        let beginning: String = text.chars().take(PAYLOAD_CHARS_MAX).collect();
        let rest = if beginning.len() < text.len() { "..." } else { "" };
        return format!("{}{rest}", output::printable(beginning.as_bytes()));
    }
    let mut hex = "0x".to_owned();
    for byte in payload.iter().take(PAYLOAD_BYTES_MAX) {
        let _ = write!(hex, "{byte:02x}");
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        hex.push_str("...");
    }
    hex
}

/// A membership in words.
pub(super) fn members(membership: &Membership) -> String {
    let ids = |nodes: &mut dyn Iterator<Item = &NodeId>| {
        nodes.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let mut text = match membership.voters().len() {
        0 => "no voters".to_owned(),
        1 => format!("voter {}", ids(&mut membership.voters().iter())),
        _ => format!("voters {}", ids(&mut membership.voters().iter())),
    };
    if membership.is_joint() {
        let _ = write!(text, ", joint with {}", ids(&mut membership.outgoing().iter()));
    }
    let votes = |node: &&NodeId| membership.voters().contains(node) || membership.outgoing().contains(node);
    let others = ids(&mut membership.members().keys().filter(|node| !votes(node)));
    if !others.is_empty() {
        let _ = write!(text, ", not voting {others}");
    }
    text
}

fn object(entry: &Entry, in_journal: bool, with_payload: bool) -> serde_json::Value {
    let (_, payload) = entry.payload.to_parts();
    let mut object = json!({
        "index": entry.id.index.0,
        "term": entry.id.term.0,
        "kind": kind(&entry.payload),
        "bytes": payload.len(),
        "settled": !in_journal,
    });
    if with_payload {
        object["payload"] = STANDARD.encode(&payload).into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_text_or_hexadecimal_and_no_longer_than_a_line() {
        assert_eq!(shown(b"x = 1\n"), "x = 1\\n");
        assert_eq!(shown(b"\x00\xffab"), "0x00ff6162");
        assert_eq!(shown(&[7; 41]), format!("0x{}...", "07".repeat(40)));
        assert_eq!(shown(&[b'a'; 121]), format!("{}...", "a".repeat(120)));
        assert_eq!(shown("ä".repeat(120).as_bytes()), "ä".repeat(120));
    }
}
