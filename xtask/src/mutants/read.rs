//! Reads the output of cargo and of failing tests.

use std::path::PathBuf;

use serde_json::Value;

/// A test binary that cargo has built.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TestBinary {
    pub(super) name: String,
    /// True if the binary holds the unit tests of the library.
    pub(super) is_unit: bool,
    pub(super) path: PathBuf,
}

/// Returns the test binaries that cargo's messages name; each message is a line with a JSON object. Examples are left out:
/// cargo builds them with the tests, but they test nothing.
pub(super) fn test_binaries(messages: &str) -> Vec<TestBinary> {
    let binary = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        let kind = message["target"]["kind"][0].as_str()?;
        (message["profile"]["test"] == true && kind != "example").then(|| TestBinary {
            name: message["target"]["name"].as_str().unwrap_or_default().to_owned(),
            is_unit: kind == "lib",
            path: path.into(),
        })
    };
    messages.lines().filter_map(binary).collect()
}

/// Maximum length of a failure in the table, in characters.
const WORDS_MAX: usize = 120;

/// Returns the name and the message of the test that failed first, in one line: `rules_hold: two leaders of term 3`.
pub(super) fn failure(printed: &str) -> Option<String> {
    let mut lines = printed.lines();
    let head = lines.find(|line| line.starts_with("thread '") && line.contains("panicked at"))?;
    let test = head.split('\'').nth(1).filter(|test| !test.starts_with('<'));
    let mut said = lines.map(str::trim).take_while(|line| !line.is_empty() && !line.starts_with("note: "));
    let mut words = said.next().unwrap_or("it panicked").to_owned();
    // An equality has its values below; a text that ends so goes on below.
    if words.ends_with("failed") || words.ends_with(':') {
        let more: Vec<&str> = said.take(3).collect();
        words = format!("{words} {}", more.join(", "));
    }
    let line = test.map_or(words.clone(), |test| format!("{test}: {words}"));
    let cut: String = line.chars().take(WORDS_MAX).collect();
    Some(if cut == line { line } else { format!("{cut}...") })
}

#[cfg(test)]
mod tests {
    use super::{TestBinary, failure, test_binaries};

    #[test]
    fn test_binaries_are_found_among_the_messages_of_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"bytes"},"profile":{"test":false},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"core"},"profile":{"test":true},"executable":"/t/core-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["example"],"name":"e"},"profile":{"test":true},"executable":"/t/e-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"rules"},"profile":{"test":true},"executable":"/t/rules-2"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let binary = |name: &str, is_unit, path: &str| TestBinary {
            name: name.to_owned(),
            is_unit,
            path: path.into(),
        };
        assert_eq!(
            test_binaries(messages),
            [binary("core", true, "/t/core-1"), binary("rules", false, "/t/rules-2")]
        );
    }

    #[test]
    fn a_failure_is_summarized_by_the_first_words_of_its_assertion() {
        let printed =
            "\nthread 'a_rule' (12) panicked at tests/rules.rs:3:5:\nentry 2.3 has changed\nnote: run with\n";
        assert_eq!(failure(printed).as_deref(), Some("a_rule: entry 2.3 has changed"));
        let unnamed = "replay: SEED=1\nthread '<unnamed>' (7) panicked at a.rs:1:1:\ntwo leaders of term 3\n";
        assert_eq!(failure(unnamed).as_deref(), Some("two leaders of term 3"));
        let values =
            "thread 't' panicked at a.rs:1:1:\nassertion `left == right` failed\n  left: 1\n right: 2\n";
        assert_eq!(failure(values).as_deref(), Some("t: assertion `left == right` failed left: 1, right: 2"));
        assert_eq!(failure("test result: ok. 3 passed"), None);
        let long = format!("thread 't' panicked at a.rs:1:1:\n{}\n", "x".repeat(500));
        assert_eq!(failure(&long).map(|words| words.len()), Some(123));
    }
}
