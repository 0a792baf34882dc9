//! Reads `mutation/simulated.txt`, the list of the bugs that simulations of whole nodes must notice.

use std::collections::BTreeMap;

/// A bug that real systems had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bug {
    pub(super) phrase: String,
    /// The mutants that reproduce the bug, as `<crate>/<name>`.
    pub(super) mutants: Vec<String>,
    /// The reason why the bug has no mutants yet.
    pub(super) not_yet: Option<String>,
}

/// The mutants that no simulation of whole nodes can notice, each with the reason. The tests of their own crates must notice
/// them.
pub(super) type Excuses = BTreeMap<String, String>;

/// The content of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    pub(super) bugs: Vec<Bug>,
    pub(super) excuses: Excuses,
    /// The mutants that the gate tries: some of each crate, and for each promise the mutant that it notices soonest.
    pub(super) in_gate: Vec<String>,
}

const IN_GATE: &str = "in the gate for ";
const UNSEEN: &str = "unseen: ";
const NOT_YET: &str = "not yet: ";

/// Reads the file.
///
/// # Errors
/// A line is of no kind that the file's head describes, a mutant is listed twice, or a bug has neither a mutant nor a
/// reason.
pub(super) fn read(text: &str) -> Result<Catalogue, String> {
    let mut read = Catalogue::default();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        if code.is_empty() || code.starts_with('#') {
            continue;
        }
        let said = match (line.len() - code.len(), read.bugs.last_mut()) {
            (0, _) => {
                read.bugs.push(Bug { phrase: code.to_owned(), mutants: Vec::new(), not_yet: None });
                Some(())
            }
            (4, Some(bug)) => {
                match code.strip_prefix(NOT_YET) {
                    Some(why) => bug.not_yet = Some(why.to_owned()),
                    None => bug.mutants.push(code.to_owned()),
                }
                Some(())
            }
            (8, Some(bug)) => bug.mutants.last().and_then(|mutant| {
                if code.starts_with(IN_GATE) {
                    read.in_gate.push(mutant.clone());
                    return Some(());
                }
                let why = code.strip_prefix(UNSEEN)?;
                read.excuses.insert(mutant.clone(), why.to_owned()).is_none().then_some(())
            }),
            (_, _) => None,
        };
        said.ok_or_else(|| format!("line {number}: {code:?} is not understood"))?;
    }
    let mut mutants: Vec<&String> = read.bugs.iter().flat_map(|bug| &bug.mutants).collect();
    mutants.sort_unstable();
    if let Some(twice) = mutants.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{} stands below two bugs", twice[0]));
    }
    match read.bugs.iter().find(|bug| bug.mutants.is_empty() == bug.not_yet.is_none()) {
        Some(bug) => Err(format!("{:?} needs mutants, or a reason why there are none yet", bug.phrase)),
        None => Ok(read),
    }
}

/// Returns the bugs and mutants that `wanted` names, or all if `wanted` is empty. A bug is named by words of its phrase, a
/// mutant by its name, with or without its crate.
///
/// # Errors
/// The first name that fits nothing.
pub(super) fn choose(bugs: Vec<Bug>, wanted: &[String]) -> Result<Vec<Bug>, String> {
    if wanted.is_empty() {
        return Ok(bugs);
    }
    let is = |mutant: &str, name: &str| {
        mutant == name || mutant.split_once('/').is_some_and(|(_, short)| short == name)
    };
    // A word of a name is no phrase: phrases have spaces.
    let tells_of = |bug: &Bug, words: &str| words.contains(' ') && bug.phrase.contains(words);
    let fits = |bug: &Bug, name: &str| tells_of(bug, name) || bug.mutants.iter().any(|it| is(it, name));
    if let Some(unknown) = wanted.iter().find(|name| !bugs.iter().any(|bug| fits(bug, name))) {
        return Err(unknown.clone());
    }
    let chosen = bugs.into_iter().filter_map(|mut bug| {
        let whole = wanted.iter().any(|words| tells_of(&bug, words));
        bug.mutants.retain(|mutant| whole || wanted.iter().any(|name| is(mutant, name)));
        (whole || !bug.mutants.is_empty()).then_some(bug)
    });
    Ok(chosen.collect())
}

#[cfg(test)]
mod tests {
    use super::{Bug, Catalogue, Excuses, choose, read};

    const TEXT: &str = "\
# What is wrong.
an early vote
    raft-core/vote-first
        in the gate for one-vote
    raft-log/vote-lost

a watch that skips
    not yet: there are none
disk full
    raft-log/error-swallowed
        unseen: no disk is full
";

    fn bugs() -> Vec<Bug> {
        read(TEXT).expect("it is well-formed").bugs
    }

    #[test]
    fn mutants_are_read_below_their_bugs() {
        let bug = |phrase: &str, mutants: &[&str], not_yet: Option<&str>| Bug {
            phrase: phrase.to_owned(),
            mutants: mutants.iter().map(|&it| it.to_owned()).collect(),
            not_yet: not_yet.map(str::to_owned),
        };
        let expected = Catalogue {
            bugs: vec![
                bug("an early vote", &["raft-core/vote-first", "raft-log/vote-lost"], None),
                bug("a watch that skips", &[], Some("there are none")),
                bug("disk full", &["raft-log/error-swallowed"], None),
            ],
            excuses: Excuses::from([("raft-log/error-swallowed".to_owned(), "no disk is full".to_owned())]),
            in_gate: vec!["raft-core/vote-first".to_owned()],
        };
        assert_eq!(read(TEXT), Ok(expected));
    }

    #[test]
    fn what_is_not_understood_is_reported() {
        let said = |more: &str| read(&format!("{TEXT}{more}")).expect_err("refused");
        assert_eq!(said("        seen: often\n"), "line 12: \"seen: often\" is not understood");
        assert_eq!(said("another\n    raft-core/vote-first\n"), "raft-core/vote-first stands below two bugs");
        assert!(said("another\n").starts_with("\"another\" needs mutants"));
    }

    #[test]
    fn a_mutant_is_chosen_by_its_name_and_a_bug_by_its_phrase() {
        let chosen = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&it| it.to_owned()).collect();
            choose(bugs(), &wanted)
                .map(|bugs| bugs.into_iter().flat_map(|bug| bug.mutants).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).map(|all| all.len()), Ok(3));
        assert_eq!(chosen(&["raft-log/vote-lost"]), Ok(vec!["raft-log/vote-lost".to_owned()]));
        assert_eq!(chosen(&["error-swallowed"]), Ok(vec!["raft-log/error-swallowed".to_owned()]));
        assert_eq!(chosen(&["an early"]).map(|all| all.len()), Ok(2));
        assert_eq!(chosen(&["vote-lost", "vote"]), Err("vote".to_owned()));
        assert_eq!(chosen(&["a watch that"]), Ok(vec![]));
    }
}
