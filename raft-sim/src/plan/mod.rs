//! Plans: a seed for everything that is drawn during a run, settings, and a script. A plan as text is a file of choices.

pub(crate) mod script;
pub(crate) mod settings;
pub(crate) mod swarm;
pub(crate) mod templates;

use std::fmt;

use crate::plan::script::Step;
use crate::plan::settings::Settings;

/// The first line of a file of choices.
const HEAD: &str = "raft-sim choices 1";

/// Everything that determines a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Seed for everything that the plan does not fix, such as the delay of each message and the losses in a crash.
    pub seed: u64,
    /// Origin of the plan: `swarm`, the name of a template, or `choices`.
    pub kind: String,
    /// The settings.
    pub settings: Settings,
    /// The steps, in the order of time.
    pub script: Vec<Step>,
}

/// The reason why a file of choices cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParsePlanError {
    /// Number of the line, from 1; 0 if no single line is wrong.
    pub line: usize,
    /// The mistake, in words.
    pub what: String,
}

impl fmt::Display for Plan {
    /// Writes a file of choices. Settings with their neutral value are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "kind {}", self.kind)?;
        for (name, neutral) in Settings::ALL {
            let value = self.settings.value(name).unwrap_or(*neutral);
            if value != *neutral {
                writeln!(f, "{name} {value}")?;
            }
        }
        self.script.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl Plan {
    /// Reads a file of choices, as [`Display`](fmt::Display) writes it. Empty lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// The first line that is wrong, or the limit that the settings exceed.
    pub fn parse(text: &str) -> Result<Self, ParsePlanError> {
        let mut plan =
            Self { seed: 0, kind: "choices".to_owned(), settings: Settings::default(), script: Vec::new() };
        let mut lines = (1..)
            .zip(text.lines().map(str::trim))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let refused = |line, what: String| Err(ParsePlanError { line, what });
        match lines.next() {
            Some((_, HEAD)) => {}
            Some((line, _)) => return refused(line, format!("a file of choices begins with '{HEAD}'")),
            None => return refused(1, format!("the file is empty; it begins with '{HEAD}'")),
        }
        for (number, line) in lines {
            if line.starts_with("at ") {
                let Some(step) = Step::parse(line) else {
                    return refused(number, format!("'{line}' is no step of a script"));
                };
                plan.script.push(step);
                continue;
            }
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            if name == "kind" {
                value.clone_into(&mut plan.kind);
                continue;
            }
            let Ok(value) = value.trim().parse() else {
                return refused(number, format!("'{name}' needs a number"));
            };
            if name == "seed" {
                plan.seed = value;
            } else if !plan.settings.set(name, value) {
                return refused(number, format!("there is no setting '{name}'"));
            }
        }
        plan.check().map_err(|what| ParsePlanError { line: 0, what })?;
        plan.script.sort_by_key(|step| step.at_ms);
        Ok(plan)
    }

    /// Checks the limits of the settings with which a run can be made.
    fn check(&self) -> Result<(), String> {
        let settings = &self.settings;
        let rules = [
            ((1..=7).contains(&settings.nodes), "nodes: 1 to 7"),
            (settings.spares <= 4, "spares: at most 4"),
            ((1..=64).contains(&settings.clients), "clients: 1 to 64"),
            (settings.keys > 0, "keys: at least 1"),
            (settings.drift < 100, "drift: below 100"),
            (settings.journal_kib >= 16, "journal_kib: at least 16"),
            (settings.chunk_bytes > 0, "chunk_bytes: at least 1"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::script::{Action, Target};

    #[test]
    fn a_plan_as_text_is_the_same_plan() {
        let settings = Settings { loss: 17, nodes: 5, ..Settings::default() };
        let script = vec![Step { at_ms: 7, action: Action::Isolate { who: Target::Leader, ms: 100 } }];
        let plan = Plan { seed: 99, kind: "figure-8".to_owned(), settings, script };
        assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| Plan::parse(text).expect_err("it is wrong").to_string();
        assert_eq!(wrong(""), "line 1: the file is empty; it begins with 'raft-sim choices 1'");
        assert_eq!(wrong("raft-sim choices 1\n\nlosss 3"), "line 3: there is no setting 'losss'");
        assert_eq!(wrong("raft-sim choices 1\nloss x"), "line 2: 'loss' needs a number");
        assert_eq!(wrong("raft-sim choices 1\nat 3 fly"), "line 2: 'at 3 fly' is no step of a script");
        assert_eq!(wrong("raft-sim choices 1\nnodes 9"), "line 0: nodes: 1 to 7");
    }
}
