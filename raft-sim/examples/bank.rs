//! A state machine of one's own in the simulator: a bank. Money moves between accounts, and a transfer that is sent twice
//! is done once.
//!
//! ```text
//! cargo run -p raftkit-sim --example bank             # a sound bank: every promise is kept
//! cargo run -p raftkit-sim --example bank -- --bug    # one with a bug: which promise it breaks, and how
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_disk::Disk;
use raftkit_replica::{Application, InMemory, MachineError};
use raftkit_sim::{Reader, Request, Rng, Settings, Subject, digest, hunt};
use serde::{Deserialize, Serialize};

const ACCOUNTS: usize = 3;
const MONEY: u64 = 100;

/// What is proposed, and goes through the log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Transfer {
    number: u64,
    from: usize,
    to: usize,
    amount: u64,
}

/// The state. `FORGETFUL` is the planted bug.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bank<const FORGETFUL: bool> {
    accounts: [u64; ACCOUNTS],
    /// What was answered to each transfer, to know one that is sent again.
    answered: BTreeMap<u64, bool>,
    /// The same in a bank with the bug: it is no part of what is stored and sent to other nodes.
    #[serde(skip)]
    answered_since_start: BTreeMap<u64, bool>,
}

impl<const FORGETFUL: bool> Default for Bank<FORGETFUL> {
    fn default() -> Self {
        Self { accounts: [MONEY; ACCOUNTS], answered: BTreeMap::new(), answered_since_start: BTreeMap::new() }
    }
}

impl<const FORGETFUL: bool> Application for Bank<FORGETFUL> {
    type Command = Transfer;
    type Response = bool;

    fn apply(&mut self, _id: LogId, Transfer { number, from, to, amount }: Transfer) -> bool {
        let answered = if FORGETFUL { &mut self.answered_since_start } else { &mut self.answered };
        if let Some(answer) = answered.get(&number) {
            return *answer;
        }
        let covered = self.accounts[from] >= amount;
        if covered {
            self.accounts[from] -= amount;
            self.accounts[to] += amount;
        }
        answered.insert(number, covered);
        covered
    }
}

/// What the simulator has to know: how to open a bank, what customers ask, and what to compare.
#[derive(Default)]
struct Customers<const FORGETFUL: bool> {
    sent: Vec<Transfer>,
}

impl<const FORGETFUL: bool> Subject for Customers<FORGETFUL> {
    type Machine = InMemory<Bank<FORGETFUL>>;
    /// In words, for the timeline.
    type Ask = String;
    type Found = [u64; ACCOUNTS];

    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self::Machine, MachineError> {
        InMemory::open(disk, dir)
    }

    fn ask(&mut self, rng: &mut Rng, settings: &Settings, number: u64) -> (String, Request) {
        if rng.permille(settings.reads) {
            return ("look".to_owned(), Request::Read);
        }
        let (from, to) = rng.pick(&[(0, 1), (1, 2), (2, 0), (1, 0)]);
        let mut transfer = Transfer { number, from, to, amount: rng.range(1, 9) };
        if !self.sent.is_empty() && rng.permille(300) {
            transfer = rng.pick(&self.sent); // A customer who is not sure sends it again.
        }
        self.sent.push(transfer);
        let command = Self::Machine::encode(&transfer).expect("numbers can be serialized");
        (format!("{transfer:?}"), Request::Write(command))
    }

    fn find(reader: &Reader<Self>, _: &String) -> Result<(Self::Found, LogId), MachineError> {
        Ok(reader.read(|bank| bank.accounts))
    }

    fn look(reader: &Reader<Self>) -> Result<(u64, LogId), MachineError> {
        Ok(reader.read(|bank| digest(&(bank.accounts, &bank.answered))))
    }

    fn show(reader: &Reader<Self>) -> Option<String> {
        Some(reader.read(|bank| format!("{:?}", bank.accounts)).0)
    }

    fn check(reader: &Reader<Self>) -> Result<(), String> {
        let (sum, _) = reader.read(|bank| bank.accounts.iter().sum::<u64>());
        let whole = MONEY * ACCOUNTS as u64;
        if sum == whole { Ok(()) } else { Err(format!("the accounts hold {sum} of {whole}")) }
    }
}

fn main() -> ExitCode {
    let bug = std::env::args().any(|argument| argument == "--bug");
    let hunted = if bug {
        hunt(0..300, Customers::<true>::default)
    } else {
        hunt(0..300, Customers::<false>::default)
    };
    match hunted {
        Ok(kept) => {
            println!("{kept}");
            ExitCode::SUCCESS
        }
        Err(found) => {
            println!("{found}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use raftkit_sim::{Promise, hunt};

    use super::Customers;

    #[test]
    fn a_sound_bank_keeps_every_promise() {
        let kept = hunt(0..60, Customers::<false>::default).unwrap_or_else(|found| panic!("{found}"));
        assert!(kept.seeds == 60 && kept.counts.writes > 1000 && kept.counts.crashes > 100, "{kept}");
    }

    #[test]
    fn a_bank_that_forgets_across_a_restart_is_found() {
        let found = hunt(0..60, Customers::<true>::default).expect_err("it pays twice");
        assert_eq!(found.violation.promise, Promise::SameState, "{found}");
        assert!(found.lines.last().is_some_and(|line| line.contains("VIOLATION of same-state")), "{found}");
        assert!(found.small.script.len() < found.plan.script.len(), "{found}");
    }
}
