//! Reads the text files in `mutation/`: the name of each mutant, what it does wrong, and the lines that it changes.
//!
//! ```text
//! # A comment.
//! mutant: raft-log/record-not-synced
//! wrong: A record is acknowledged from the page cache.
//! source: missing fsync
//! in raft-log/src/journal/mod.rs, fn Journal::commit
//! - let written = self.file.write_durably(place, bytes);
//! + let written = self.file.write_at(place, bytes);
//! ```
//!
//! `mutation/README.md` says how to write one.

use std::fmt;

/// A known bug that can be put into a copy of the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// `<crate>/<name>`.
    pub(crate) name: String,
    /// What the mutant does wrong, in a sentence.
    pub(crate) wrong: String,
    /// The section of the paper that the bug violates, or the system that had the bug.
    pub(crate) source: String,
    /// The feature of its crate that must be on for the mutant's code to be built, if any.
    pub(crate) feature: Option<String>,
    /// Test targets of its crate to run, in this order; `unit` means the library's unit tests. All targets if empty.
    pub(crate) tests: Vec<String>,
    pub(crate) edits: Vec<Edit>,
}

impl Mutant {
    /// Returns the name of the crate that the mutant is in.
    pub(crate) fn krate(&self) -> &str {
        self.name.split_once('/').map_or("", |(krate, _)| krate)
    }

    /// Returns the name without the crate.
    pub(crate) fn short(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, short)| short)
    }

    /// Returns the number that stands for the mutant at run time, the FNV-1a hash of its name. The number does not change
    /// when other mutants are added or removed, so only files with a changed mutant are built again.
    pub(crate) fn number(&self) -> u32 {
        self.name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// Lines of one function that a mutant replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(super) place: Place,
    /// Path from the root of the workspace.
    pub(super) file: String,
    /// The function's name; `Type::name` if several functions of the file have this name.
    pub(super) function: String,
    pub(super) lines: Vec<(Kind, String)>,
}

/// Kind of a line in an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line that stays, and only locates the edit.
    Same,
    /// A line that only the right code has.
    Right,
    /// A line that only the mutant has.
    Wrong,
}

/// Code that is appended to a file, for mutants that need more than a few lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addition {
    pub(super) file: String,
    pub(super) lines: Vec<String>,
}

/// A place in the text files, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The content of all text files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) mutants: Vec<Mutant>,
    pub(super) additions: Vec<Addition>,
}

/// The element of a text file that lines with a marker belong to.
#[derive(Clone, Copy)]
enum Open {
    Nothing,
    Edit,
    Addition,
}

impl Texts {
    /// Adds the content of one file, and returns one line for each mistake in it.
    pub(super) fn read(&mut self, file: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut open = Open::Nothing;
        for (line, code) in (1..).zip(text.lines()) {
            let place = Place { file: file.to_owned(), line };
            match self.line(&place, code, open) {
                Ok(next) => open = next,
                Err(words) => problems.push(format!("{place}: {words}")),
            }
        }
        problems
    }

    fn line(&mut self, place: &Place, line: &str, open: Open) -> Result<Open, String> {
        let kind = match line.chars().next() {
            None | Some('#') => return Ok(Open::Nothing),
            Some(' ') => Kind::Same,
            Some('-') => Kind::Right,
            Some('+') => Kind::Wrong,
            Some(_) => return self.header(place, line),
        };
        let code = &line[1..];
        match (open, kind, self.mutants.last_mut(), self.additions.last_mut()) {
            (Open::Edit, _, Some(mutant), _) => {
                let edit = mutant.edits.last_mut().ok_or("no edit begins before this line")?;
                edit.lines.push((kind, code.to_owned()));
            }
            (Open::Addition, Kind::Wrong, _, Some(addition)) => addition.lines.push(code.to_owned()),
            _ => {
                return Err(
                    "a line of code stands below `in <file>, fn <name>` or, with a +, `add to <file>`"
                        .to_owned(),
                );
            }
        }
        Ok(open)
    }

    fn header(&mut self, place: &Place, line: &str) -> Result<Open, String> {
        if let Some(file) = line.strip_prefix("add to ") {
            self.additions.push(Addition { file: file.to_owned(), lines: Vec::new() });
            return Ok(Open::Addition);
        }
        if let Some(name) = line.strip_prefix("mutant: ") {
            self.mutants.push(Mutant { name: name.to_owned(), ..Mutant::default() });
            return Ok(Open::Nothing);
        }
        let mutant = self.mutants.last_mut().ok_or("a file begins with `mutant: <crate>/<name>`")?;
        if let Some((file, function)) = line.strip_prefix("in ").and_then(|it| it.split_once(", fn ")) {
            let [file, function] = [file, function].map(str::to_owned);
            mutant.edits.push(Edit { place: place.clone(), file, function, lines: Vec::new() });
            return Ok(Open::Edit);
        }
        match line.split_once(": ") {
            Some(("wrong", words)) => words.clone_into(&mut mutant.wrong),
            Some(("source", words)) => words.clone_into(&mut mutant.source),
            Some(("feature", name)) => mutant.feature = Some(name.to_owned()),
            Some(("tests", names)) => mutant.tests = names.split_whitespace().map(str::to_owned).collect(),
            Some(_) | None => {
                return Err(format!("{line:?} is none of the lines that mutation/README.md names"));
            }
        }
        Ok(Open::Nothing)
    }

    /// Returns one line for each mistake in the names and sentences of the mutants.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (at, mutant) in self.mutants.iter().enumerate() {
            let mut problem = |words: &str| problems.push(format!("{}: {words}", mutant.name));
            let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
            if !mutant.name.contains('/') || !mutant.name.split(['/', '-']).all(is_word) {
                problem("a name is <crate>/<words-with-hyphens-between>");
            }
            if !mutant.wrong.ends_with('.') || mutant.source.is_empty() {
                problem("needs a sentence (wrong: ..) and where the bug is known from (source: ..)");
            }
            if mutant.edits.is_empty() {
                problem("changes nothing");
            }
            if self.mutants[..at].iter().any(|other| other.name == mutant.name) {
                problem("stands here twice");
            } else if self.mutants[..at].iter().any(|other| other.number() == mutant.number()) {
                problem("has the number of another one: give it another name");
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Texts};

    const TEXT: &str = "\
# The journal.

mutant: raft-log/not-synced
wrong: A record is not synced.
source: missing fsync
tests: unit crash
in raft-log/src/journal.rs, fn Journal::commit
  let a = 1;
-     self.sync()?;
+     // No sync.

add to raft-log/src/journal.rs
+fn helper() {}
";

    fn read(text: &str) -> (Texts, Vec<String>) {
        let mut texts = Texts::default();
        let mut problems = texts.read("mutation/a.txt", text);
        problems.extend(texts.problems());
        (texts, problems)
    }

    #[test]
    fn a_mutant_is_read_with_its_edit_and_its_helper() {
        let (texts, problems) = read(TEXT);
        assert_eq!(problems, Vec::<String>::new());
        let [mutant] = &texts.mutants[..] else { panic!("one mutant") };
        assert_eq!((mutant.krate(), mutant.short()), ("raft-log", "not-synced"));
        let [edit] = &mutant.edits[..] else { panic!("one edit") };
        assert_eq!((edit.function.as_str(), edit.place.line), ("Journal::commit", 7));
        assert_eq!(mutant.tests, ["unit", "crash"]);
        let kinds: Vec<Kind> = edit.lines.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Same, Kind::Right, Kind::Wrong]);
        assert_eq!(texts.additions[0].lines, ["fn helper() {}"]);
    }

    #[test]
    fn what_is_no_mutant_is_reported_with_its_line() {
        let said = |text: &str| read(text).1.join("; ");
        assert!(said("wrong: Too early.\n").starts_with("mutation/a.txt:1: a file begins with"));
        assert!(said(&format!("{TEXT}\n- lost\n")).starts_with("mutation/a.txt:15: a line of code"));
        assert!(said(&format!("{TEXT}\nauthor: me\n")).contains("none of the lines"));
        assert!(said(&format!("{TEXT}\n{TEXT}")).contains("raft-log/not-synced: stands here twice"));
        assert!(said("mutant: Not Synced\n").contains("a name is"));
        assert!(said("mutant: a/b\n").contains("changes nothing"));
    }

    #[test]
    fn the_number_of_a_mutant_depends_on_its_name_alone() {
        assert_eq!(
            read(TEXT).0.mutants[0].number(),
            read(&TEXT.replace("not synced", "late")).0.mutants[0].number()
        );
    }
}
