//! `cargo xtask layers`: checks which crate depends on which, from cargo's own metadata.
//!
//! ```text
//! core, disk <- {log, net, snapshot} <- replica <- kv <- {node, sim} <- {benches, xtask}
//! test-links <- tests of {log, net, snapshot} and of all above
//! ```

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;

use crate::console::complain;
use crate::workspace::{self, Failure};

/// The dependencies that one crate may have.
struct Rule {
    package: &'static str,
    /// Number of the crate's layer. Tests of a crate may use all crates of its own layer and of those below.
    layer: u8,
    /// The crates of the workspace that it may depend on. A new dependency is a decision, and is made here first.
    may_use: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule { package: "raftkit-core", layer: 0, may_use: &[] },
    Rule { package: "raftkit-disk", layer: 0, may_use: &[] },
    Rule { package: "raftkit-log", layer: 1, may_use: &["raftkit-core", "raftkit-disk"] },
    Rule { package: "raftkit-net", layer: 1, may_use: &["raftkit-core"] },
    Rule { package: "raftkit-snapshot", layer: 1, may_use: &["raftkit-core", "raftkit-disk"] },
    Rule { package: "raftkit-test-links", layer: 1, may_use: &[] },
    Rule {
        package: "raftkit-replica",
        layer: 2,
        may_use: &["raftkit-core", "raftkit-disk", "raftkit-log", "raftkit-snapshot"],
    },
    Rule { package: "raftkit-kv", layer: 3, may_use: &["raftkit-core", "raftkit-disk", "raftkit-replica"] },
    Rule { package: "raftkit-node", layer: 4, may_use: BELOW_NODE },
    Rule { package: "raftkit-sim", layer: 4, may_use: BELOW_NODE },
    Rule { package: "raftkit-benches", layer: 5, may_use: ALL },
    Rule { package: "xtask", layer: 5, may_use: &[] },
];

const BELOW_NODE: &[&str] = &[
    "raftkit-core",
    "raftkit-disk",
    "raftkit-kv",
    "raftkit-log",
    "raftkit-net",
    "raftkit-replica",
    "raftkit-snapshot",
];

const ALL: &[&str] = &[
    "raftkit-core",
    "raftkit-disk",
    "raftkit-kv",
    "raftkit-log",
    "raftkit-net",
    "raftkit-node",
    "raftkit-replica",
    "raftkit-sim",
    "raftkit-snapshot",
    "raftkit-test-links",
];

/// The external crates that raft-core may depend on.
const CORE_MAY_USE: &[&str] = &["bytes", "serde", "thiserror"];

/// Crates that must not be among the dependencies of a package, at any depth.
struct Absence {
    package: &'static str,
    features: &'static [&'static str],
    absent: &'static [&'static str],
}

const RUNTIMES: &[&str] = &["tokio", "quinn", "hyper", "axum", "clap", "rustls"];

const ABSENCES: &[Absence] = &[
    Absence {
        package: "raftkit-core",
        features: &["--all-features"],
        absent: &["tokio", "redb", "rustix", "getrandom"],
    },
    Absence { package: "raftkit-disk", features: &["--all-features"], absent: RUNTIMES },
    Absence { package: "raftkit-log", features: &["--all-features"], absent: RUNTIMES },
    Absence { package: "raftkit-snapshot", features: &["--all-features"], absent: RUNTIMES },
    Absence { package: "raftkit-replica", features: &["--all-features"], absent: RUNTIMES },
    Absence { package: "raftkit-kv", features: &["--all-features"], absent: RUNTIMES },
    Absence {
        package: "raftkit-net",
        features: &["--no-default-features"],
        absent: &["tokio", "quinn", "rustls", "redb"],
    },
    Absence {
        package: "raftkit-node",
        features: &["--no-default-features"],
        absent: &["axum", "hyper", "clap", "raftkit-kv"],
    },
];

/// Checks all rules.
///
/// # Errors
/// Some rules are broken; the message has a line for each.
pub(crate) fn run() -> Result<(), Failure> {
    let problems = problems()?;
    if problems.is_empty() {
        complain("layers: every arrow between crates is one that is allowed");
        return Ok(());
    }
    Err(Failure::new(problems.join("\n")))
}

fn problems() -> Result<Vec<String>, Failure> {
    let mut cargo = workspace::cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps"]);
    let packages = parse_packages(&workspace::output_of(cargo)?)?;
    let mut problems = against_rules(&packages);
    let members: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    // Cargo takes longer to start than to answer, so all questions are asked at once.
    let answers: Vec<_> = ABSENCES
        .iter()
        .filter(|absence| members.contains(absence.package))
        .map(|absence| thread::spawn(|| absence.problems()))
        .collect();
    for answer in answers {
        problems.extend(answer.join().map_err(|_| Failure::new("a check panicked"))??);
    }
    Ok(problems)
}

/// A crate of the workspace with the dependencies in its manifest.
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// Dependencies of tests, benches and examples only.
    dev: bool,
}

/// Parses the output of `cargo metadata --no-deps`.
fn parse_packages(metadata: &str) -> Result<Vec<Package>, Failure> {
    let odd = || Failure::new("cargo metadata has a form that is not understood here");
    let metadata: Value =
        serde_json::from_str(metadata).map_err(Failure::of("cargo metadata printed no JSON"))?;
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).map(str::to_owned).ok_or_else(odd)
    };
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().ok_or_else(odd);
    let mut packages = Vec::new();
    for package in list(&metadata, "packages")? {
        let mut dependencies = Vec::new();
        for dependency in list(&package, "dependencies")? {
            let dev = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            dependencies.push(Dependency { name: text(&dependency, "name")?, dev });
        }
        packages.push(Package { name: text(&package, "name")?, dependencies });
    }
    Ok(packages)
}

/// Returns a message for each dependency that breaks a rule.
fn against_rules(packages: &[Package]) -> Vec<String> {
    let rule_of = |name: &str| RULES.iter().find(|rule| rule.package == name);
    let mut problems = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(rule) = rule_of(name) else {
            problems.push(format!("layers: {name} is in no layer: add it to RULES in xtask/src/layers.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let on = &dependency.name;
            let allowed = match (rule_of(on), dependency.dev) {
                (Some(used), true) => used.layer <= rule.layer,
                (Some(_), false) => rule.may_use.contains(&on.as_str()),
                (None, true) => true,
                (None, false) => name != "raftkit-core" || CORE_MAY_USE.contains(&on.as_str()),
            };
            if !allowed {
                let how = if dependency.dev { "for tests " } else { "" };
                problems.push(format!("layers: {name} must not depend {how}on {on}"));
            }
        }
    }
    problems
}

impl Absence {
    fn problems(&self) -> Result<Vec<String>, Failure> {
        let mut cargo = workspace::cargo();
        cargo.args(["tree", "-p", self.package, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
        cargo.args(self.features);
        let tree = workspace::output_of(cargo)?;
        let features = self.features.join(" ");
        Ok(present_in(&tree, self.absent)
            .into_iter()
            .map(|found| {
                format!(
                    "layers: {} {features} is built from {found}, see cargo tree -i {found}",
                    self.package
                )
            })
            .collect())
    }
}

/// Returns those of `absent` that the output of `cargo tree --prefix none` names; its lines are `name version ...`.
fn present_in<'a>(tree: &str, absent: &[&'a str]) -> Vec<&'a str> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    absent.iter().copied().filter(|name| names.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::{against_rules, parse_packages, present_in, problems};

    fn problems_of(package: &str, on: &str, kind: &str) -> Vec<String> {
        let metadata = format!(
            r#"{{"packages":[{{"name":"{package}","dependencies":[{{"name":"{on}","kind":{kind}}}]}}]}}"#
        );
        against_rules(&parse_packages(&metadata).expect("metadata"))
    }

    #[test]
    fn the_workspace_keeps_to_its_layers() {
        assert_eq!(problems().expect("cargo answers"), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_are_allowed_pass() {
        for (package, on) in [
            ("raftkit-log", "raftkit-core"),
            ("raftkit-node", "raftkit-kv"),
            ("raftkit-core", "bytes"),
            ("raftkit-disk", "redb"),
        ] {
            assert_eq!(problems_of(package, on, "null"), Vec::<String>::new());
        }
    }

    #[test]
    fn arrows_upwards_and_sideways_are_found() {
        for (package, on) in [
            ("raftkit-core", "raftkit-log"),
            ("raftkit-log", "raftkit-net"),
            ("raftkit-sim", "raftkit-node"),
            ("xtask", "raftkit-core"),
            ("raftkit-core", "tokio"),
        ] {
            assert_eq!(
                problems_of(package, on, "null"),
                [format!("layers: {package} must not depend on {on}")]
            );
        }
    }

    #[test]
    fn tests_may_use_their_own_layer_but_none_above() {
        assert_eq!(problems_of("raftkit-snapshot", "raftkit-log", "\"dev\""), Vec::<String>::new());
        assert_eq!(problems_of("raftkit-core", "proptest", "\"dev\""), Vec::<String>::new());
        assert_eq!(problems_of("raftkit-net", "raftkit-test-links", "\"dev\""), Vec::<String>::new());
        assert_eq!(problems_of("raftkit-net", "raftkit-test-links", "null").len(), 1);
        assert_eq!(problems_of("raftkit-core", "raftkit-test-links", "\"dev\"").len(), 1);
        assert_eq!(problems_of("raftkit-log", "raftkit-replica", "\"dev\"").len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(problems_of("raftkit-new", "bytes", "null").len(), 1);
    }

    #[test]
    fn crates_are_found_in_a_tree_by_their_whole_names() {
        let tree = "raftkit-core v0.1.0 (/x)\ntokio-util v0.7.0\nredb v4.6.0 (*)\n";
        assert_eq!(present_in(tree, &["tokio", "redb"]), ["redb"]);
    }
}
