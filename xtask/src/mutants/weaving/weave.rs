//! Puts mutants into a file. The body of a function with mutants becomes a `match` that has a whole body for each mutant,
//! and one for the right code.
//!
//! ```text
//! fn commit(&mut self) -> io::Result<()> {
//!     match crate::woven::number() {
//!         // raft-log/record-not-synced
//!         0x1d2e3f40 => { .. }
//!         _ => { .. }
//!     }
//! }
//! ```
//!
//! A mutant can therefore replace any lines: part of an expression, a `let`, an arm, a condition. Bodies cannot stand side
//! by side in a function that returns `impl Iterator`, because each closure has a type of its own. There an edit replaces
//! its lines in the only body, and `{{on}}` in these lines is true while its mutant is switched on.

use std::collections::BTreeMap;
use std::ops::Range;

use super::functions::{Function, functions};
use super::text::{Edit, Kind, Mutant};

/// The text that is replaced by a test whether the mutant is switched on.
const ON: &str = "{{on}}";

/// An edit whose place in the file is known.
struct Located<'a> {
    mutant: &'a Mutant,
    lines: Range<usize>,
    instead: Vec<String>,
    in_place: bool,
}

/// Returns the file's text with these edits, each given with its mutant.
///
/// # Errors
/// One line for each edit that fits nowhere, fits twice, or touches another one.
pub(super) fn weave(text: &str, edits: &[(&Mutant, &Edit)]) -> Result<String, Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let all = functions(text);
    let mut problems = Vec::new();
    let mut bodies: BTreeMap<usize, (&Function, Vec<Located<'_>>)> = BTreeMap::new();
    for &(mutant, edit) in edits {
        match locate(&lines, &all, mutant, edit) {
            Ok((function, located)) => {
                bodies.entry(function.body.start).or_insert((function, Vec::new())).1.push(located);
            }
            Err(words) => problems.push(format!("{}: {}: {words}", edit.place, mutant.name)),
        }
    }
    let mut woven: Vec<String> = Vec::new();
    let mut done = 0;
    for (function, edits) in bodies.into_values() {
        if function.body.start < done {
            problems.push(format!("{} and the function around it both have mutants", edits[0].mutant.name));
            continue;
        }
        woven.extend(lines[done..function.body.start].iter().map(|&line| line.to_owned()));
        match body(&lines, &function.body, &edits) {
            Ok(body) => woven.extend(body),
            Err(words) => problems.push(words),
        }
        done = function.body.end;
    }
    woven.extend(lines[done..].iter().map(|&line| line.to_owned()));
    woven.push(String::new());
    if problems.is_empty() { Ok(woven.join("\n")) } else { Err(problems) }
}

/// Finds the only place in the edit's function where the edit's lines stand.
fn locate<'a, 'f>(
    lines: &[&str],
    all: &'f [Function],
    mutant: &'a Mutant,
    edit: &'a Edit,
) -> Result<(&'f Function, Located<'a>), String> {
    let found: Vec<&Function> = all.iter().filter(|it| it.is(&edit.function)).collect();
    let [function] = found[..] else {
        return Err(format!("{} has {} functions {}, and not one", edit.file, found.len(), edit.function));
    };
    let of =
        |unwanted: Kind| edit.lines.iter().filter(move |(kind, _)| *kind != unwanted).map(|(_, line)| line);
    let wanted: Vec<&str> = of(Kind::Wrong).map(|line| line.trim()).collect();
    if wanted.is_empty() {
        return Err("no line says where it is".to_owned());
    }
    let body = &lines[function.body.clone()];
    let fits = |at: &usize| body[*at..].iter().map(|line| line.trim()).zip(&wanted).all(|(a, b)| a == *b);
    let places: Vec<usize> = (0..(body.len() + 1).saturating_sub(wanted.len())).filter(fits).collect();
    let [at] = places[..] else {
        let first = wanted[0];
        return Err(format!("its lines, from {first:?} on, are in {} {} times", edit.function, places.len()));
    };
    let start = function.body.start + at;
    let on = format!("(crate::woven::number() == {:#010x})", mutant.number());
    let instead: Vec<String> = of(Kind::Right).map(|line| line.replace(ON, &on)).collect();
    let in_place = of(Kind::Right).any(|line| line.contains(ON));
    Ok((function, Located { mutant, lines: start..start + wanted.len(), instead, in_place }))
}

/// Returns the lines of a function's body with all its mutants.
fn body(lines: &[&str], body: &Range<usize>, edits: &[Located<'_>]) -> Result<Vec<String>, String> {
    let in_place = || edits.iter().filter(|edit| edit.in_place);
    let right = with(lines, body, in_place().collect())?;
    let mut mutants: Vec<&Mutant> = Vec::new();
    for edit in edits.iter().filter(|edit| !edit.in_place) {
        if !mutants.contains(&edit.mutant) {
            mutants.push(edit.mutant);
        }
    }
    if mutants.is_empty() {
        return Ok(right);
    }
    let mut woven = vec!["match crate::woven::number() {".to_owned()];
    for mutant in mutants {
        let own = edits.iter().filter(|edit| !edit.in_place && edit.mutant == mutant);
        woven.push(format!("// {}", mutant.name));
        woven.push(format!("{:#010x} => {{", mutant.number()));
        woven.extend(with(lines, body, in_place().chain(own).collect())?);
        woven.push("}".to_owned());
    }
    woven.push("_ => {".to_owned());
    woven.extend(right);
    woven.extend(["}", "}"].map(str::to_owned));
    Ok(woven)
}

/// Returns the lines of a function's body with these edits.
fn with(lines: &[&str], body: &Range<usize>, mut edits: Vec<&Located<'_>>) -> Result<Vec<String>, String> {
    edits.sort_by_key(|edit| edit.lines.start);
    let (mut out, mut done): (Vec<String>, usize) = (Vec::new(), body.start);
    for edit in edits {
        if edit.lines.start < done {
            return Err(format!("{}: touches lines that another edit replaces", edit.mutant.name));
        }
        out.extend(lines[done..edit.lines.start].iter().map(|&line| line.to_owned()));
        out.extend(edit.instead.iter().cloned());
        done = edit.lines.end;
    }
    out.extend(lines[done..body.end].iter().map(|&line| line.to_owned()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::text::Texts;
    use super::weave;

    const SOURCE: &str = "\
fn commit(&self) -> bool {
    let enough = self.acks() > self.len() / 2;
    enough && self.is_leader()
}

fn other() {
    work();
    work();
}
";

    fn woven(text: &str) -> Result<String, String> {
        let mut texts = Texts::default();
        assert_eq!(texts.read("m.txt", text), Vec::<String>::new());
        let edits: Vec<_> = texts
            .mutants
            .iter()
            .flat_map(|mutant| mutant.edits.iter().map(move |edit| (mutant, edit)))
            .collect();
        weave(SOURCE, &edits).map_err(|problems| problems.join("; "))
    }

    #[test]
    fn each_mutant_has_a_body_of_its_own_and_the_right_one_stays() {
        let text = "\
mutant: a/half
in a.rs, fn commit
- let enough = self.acks() > self.len() / 2;
+ let enough = true;
mutant: a/follower
in a.rs, fn commit
- enough && self.is_leader()
+ enough
";
        let woven = woven(text).expect("it fits");
        let bodies = woven.matches("let enough").count();
        assert_eq!((bodies, woven.matches("let enough = true;").count()), (3, 1));
        assert_eq!(woven.matches("    enough && self.is_leader()").count(), 2);
        assert!(woven.starts_with("fn commit(&self) -> bool {\nmatch crate::woven::number() {\n// a/half\n"));
        assert!(woven.ends_with("}\n}\n}\n\nfn other() {\n    work();\n    work();\n}\n"), "{woven}");
    }

    #[test]
    fn an_edit_that_tests_by_itself_is_in_every_body() {
        let text = "\
mutant: a/half
in a.rs, fn commit
- let enough = self.acks() > self.len() / 2;
+ let enough = {{on}} || self.acks() > self.len() / 2;
mutant: a/follower
in a.rs, fn commit
- enough && self.is_leader()
+ enough
";
        let woven = woven(text).expect("it fits");
        assert_eq!(woven.matches("let enough = (crate::woven::number() == 0x").count(), 2);
    }

    #[test]
    fn lines_that_are_not_there_once_are_refused() {
        let said = |code: &str| woven(&format!("mutant: a/x\nin a.rs, fn {code}")).expect_err("refused");
        assert!(said("lost\n- a\n").contains("a.rs has 0 functions lost, and not one"));
        assert!(said("commit\n- a();\n").contains("\"a();\" on, are in commit 0 times"));
        assert!(said("other\n- work();\n").contains("are in other 2 times"));
        assert!(said("other\n+ a\n").contains("no line says where it is"));
        assert!(woven("mutant: a/x\nin a.rs, fn other\n  work();\n  work();\n+ a();\n").is_ok());
    }
}
