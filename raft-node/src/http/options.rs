//! The parameters that most requests take: datacenter, consistency, blocking query, layout of JSON.

use std::time::Duration;

use axum::http::StatusCode;

use super::answer::{Layout, Problem};
use super::query::Query;
use crate::Consistency;
use crate::config::duration::parse_go;

/// Default waiting time of a blocking query.
const WAIT_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Maximum waiting time of a blocking query.
const WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// The parsed parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How fresh the answer must be.
    pub(crate) consistency: Consistency,
    /// Maximum time since the node heard from its leader for a stale answer; with more, the read is repeated without `stale`.
    pub(crate) max_stale: Option<Duration>,
    /// The request is answered once the result's index is above this; 0 means at once.
    pub(crate) index: u64,
    /// Maximum time to wait for such a result.
    pub(crate) wait: Duration,
    /// Layout of the answer's JSON.
    pub(crate) layout: Layout,
}

impl Options {
    /// Parses the parameters, and refuses any datacenter other than `datacenter`.
    pub(crate) fn parse(query: &Query, datacenter: &str) -> Result<Self, Problem> {
        let max_stale = match query.filled("max_stale") {
            Some(text) => {
                let parsed = parse_go(text);
                Some(
                    parsed
                        .ok_or_else(|| Problem::bad_request(format!("Invalid max_stale value {text:?}")))?,
                )
            }
            None => None,
        };
        let max_stale = max_stale.filter(|span| !span.is_zero());
        let consistency = match (query.has("stale") || max_stale.is_some(), query.has("consistent")) {
            (true, true) => {
                let text = "Cannot specify ?stale with ?consistent, conflicting semantics.";
                return Err(Problem::bad_request(text));
            }
            (true, false) => Consistency::Stale,
            (false, true) => Consistency::Consistent,
            (false, false) => Consistency::Default,
        };
        if query.filled("dc").is_some_and(|dc| dc != datacenter) {
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "No path to datacenter"));
        }
        let wait = match query.filled("wait") {
            Some(text) => parse_go(text).ok_or_else(|| Problem::bad_request("Invalid wait time"))?,
            None => Duration::ZERO,
        };
        let wait = if wait.is_zero() { WAIT_DEFAULT } else { wait.min(WAIT_MAX) };
        let index = match query.filled("index") {
            Some(_) => query.number("index").map_err(|_| Problem::bad_request("Invalid index"))?.unwrap_or(0),
            None => 0,
        };
        let layout = if query.has("pretty") { Layout::Pretty } else { Layout::Compact };
        Ok(Self { consistency, max_stale, index, wait, layout })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, Problem> {
        Options::parse(&Query::parse(text).unwrap(), "dc1")
    }

    #[test]
    fn parameters_have_their_meaning() {
        let options = parse("").unwrap();
        assert_eq!(options.consistency, Consistency::Default);
        assert_eq!((options.index, options.wait, options.layout), (0, WAIT_DEFAULT, Layout::Compact));
        let options = parse("consistent&index=7&wait=2.98s&pretty&dc=dc1").unwrap();
        assert_eq!(options.consistency, Consistency::Consistent);
        assert_eq!((options.index, options.wait), (7, Duration::from_millis(2980)));
        assert_eq!(options.layout, Layout::Pretty);
        assert_eq!(parse("wait=24h").unwrap().wait, WAIT_MAX);
        assert_eq!(parse("wait=0s").unwrap().wait, WAIT_DEFAULT);
        assert_eq!(parse("wait=-1s").unwrap().wait, WAIT_DEFAULT);
    }

    #[test]
    fn max_stale_makes_a_read_stale_unless_it_is_zero() {
        let options = parse("max_stale=5s").unwrap();
        assert_eq!(
            (options.consistency, options.max_stale),
            (Consistency::Stale, Some(Duration::from_secs(5)))
        );
        assert_eq!(parse("max_stale=0s").unwrap().consistency, Consistency::Default);
        assert_eq!(parse("stale").unwrap().max_stale, None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_known_words() {
        let cases = [
            ("stale&consistent", 400, "Cannot specify ?stale with ?consistent, conflicting semantics."),
            (
                "max_stale=5s&consistent",
                400,
                "Cannot specify ?stale with ?consistent, conflicting semantics.",
            ),
            ("max_stale=x", 400, "Invalid max_stale value \"x\""),
            ("index=x", 400, "Invalid index"),
            ("index=-1", 400, "Invalid index"),
            ("wait=x", 400, "Invalid wait time"),
            ("wait=5", 400, "Invalid wait time"),
            ("dc=nosuch", 500, "No path to datacenter"),
        ];
        for (text, status, words) in cases {
            let problem = parse(text).unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.text()), (status, words), "{text}");
        }
    }
}
