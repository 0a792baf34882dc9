//! The README says what the code says.

use raftkit_sim::Promise;

const README: &str = include_str!("../README.md");

#[test]
fn the_readme_lists_every_promise_in_its_words() {
    for promise in Promise::ALL {
        let row = format!("| `{promise}` | {} |", promise.text());
        assert!(README.contains(&row), "the README lacks this row, or has another text in it:\n{row}");
    }
}
