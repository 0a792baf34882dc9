//! The bugs that whole nodes are tried with, as `raft-sim --list-mutants` prints them.

/// A bug that real systems had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bug {
    pub(super) phrase: String,
    /// The mutants that are it, `<crate>/<name>`.
    pub(super) mutants: Vec<String>,
    /// Why it has none.
    pub(super) excuse: Option<String>,
}

impl Bug {
    pub(super) fn has(&self, mutant: &str) -> bool {
        self.mutants.iter().any(|it| it == mutant)
    }
}

/// The bugs among these lines, in their order: a line for each mutant, or one with an excuse.
pub(super) fn read(printed: &str) -> Vec<Bug> {
    let mut bugs: Vec<Bug> = Vec::new();
    for line in printed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (phrase, mutant, excuse) = match fields[..] {
            ["mutant", phrase, mutant] => (phrase, Some(mutant.to_owned()), None),
            ["excused", phrase, "", why] => (phrase, None, Some(why.to_owned())),
            _ => continue,
        };
        match bugs.last_mut() {
            Some(bug) if bug.phrase == phrase => bug.mutants.extend(mutant),
            Some(_) | None => {
                let mutants = mutant.into_iter().collect();
                bugs.push(Bug { phrase: phrase.to_owned(), mutants, excuse });
            }
        }
    }
    bugs
}

/// Those bugs and mutants alone that `wanted` names: a bug by words of its phrase, a mutant by its name, with or without its
/// crate. All, if it names none; else the first of its names that fits nothing.
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
    use super::{Bug, choose, read};

    const PRINTED: &str = concat!(
        "mutant\tan early vote\traft-core/vote-first\n",
        "mutant\tan early vote\traft-log/vote-lost\n",
        "noise\n",
        "excused\ta watch that skips\t\tthere are none\n",
        "mutant\tdisk full\traft-log/error-swallowed\n",
    );

    #[test]
    fn mutants_are_read_below_their_bugs() {
        let bug = |phrase: &str, mutants: &[&str], excuse: Option<&str>| Bug {
            phrase: phrase.to_owned(),
            mutants: mutants.iter().map(|&it| it.to_owned()).collect(),
            excuse: excuse.map(str::to_owned),
        };
        assert_eq!(
            read(PRINTED),
            [
                bug("an early vote", &["raft-core/vote-first", "raft-log/vote-lost"], None),
                bug("a watch that skips", &[], Some("there are none")),
                bug("disk full", &["raft-log/error-swallowed"], None),
            ]
        );
    }

    #[test]
    fn a_mutant_is_chosen_by_its_name_and_a_bug_by_its_phrase() {
        let chosen = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&it| it.to_owned()).collect();
            choose(read(PRINTED), &wanted)
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
