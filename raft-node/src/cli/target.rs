//! The node that a command talks to.

use clap::Args;

use super::Failure;
use crate::client::Client;
use crate::config::Origin;

/// The variable that names the node. It differs from the variable of the server's own setting, so that a shell whose commands
/// talk to one node can still start another node.
const VARIABLE: &str = "RAFT_NODE_ADDR";
/// The variable's earlier name, which is now the server's setting alone.
const EARLIER: &str = "RAFT_NODE_HTTP_ADDR";
const DEFAULT: &str = "127.0.0.1:8500";

/// The node that a command talks to.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// The HTTP address of any node of the cluster [env: RAFT_NODE_ADDR] [default: 127.0.0.1:8500]
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
}

impl Target {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let (addr, origin) = self.resolve(&|name| std::env::var(name).ok())?;
        Ok(Client::new(&addr, origin.to_string())?)
    }

    /// The address of the node, and where it was given.
    fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<(String, Origin), Failure> {
        if let Some(addr) = &self.addr {
            return Ok((addr.clone(), Origin::Flag));
        }
        let set = |name: &str| env(name).filter(|text| !text.is_empty());
        if let Some(addr) = set(VARIABLE) {
            return Ok((addr, Origin::Environment(VARIABLE.to_owned())));
        }
        match set(EARLIER) {
            // Refuse: talking to another node than before, perhaps of another cluster, without a word would be worse.
            Some(addr) if !is_default(&addr) => Err(Failure::Usage(format!(
                "{EARLIER} ({addr}) is the server's setting, and no longer says which node commands talk to: set \
                 {VARIABLE}={addr}, or give --addr"
            ))),
            Some(_) | None => Ok((DEFAULT.to_owned(), Origin::Default)),
        }
    }
}

/// Whether commands talk to a node that listens at `addr` by default.
fn is_default(addr: &str) -> bool {
    let wildcard = |host: &str| matches!(host, "0.0.0.0" | "[::]" | "127.0.0.1");
    addr.rsplit_once(':').is_some_and(|(host, port)| wildcard(host) && port == "8500")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flag: Option<&str>, env: &[(&str, &str)]) -> Result<(String, Origin), String> {
        let target = Target { addr: flag.map(str::to_owned) };
        let get = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
        target.resolve(&get).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_flag_goes_before_the_variable_and_that_before_the_default() {
        let by_variable = Origin::Environment(VARIABLE.to_owned());
        assert_eq!(resolve(Some("a:1"), &[(VARIABLE, "b:2")]), Ok(("a:1".to_owned(), Origin::Flag)));
        assert_eq!(
            resolve(None, &[(VARIABLE, "b:2"), (EARLIER, "c:3")]),
            Ok(("b:2".to_owned(), by_variable))
        );
        for env in [&[][..], &[(VARIABLE, "")], &[(EARLIER, "")]] {
            assert_eq!(resolve(None, env), Ok((DEFAULT.to_owned(), Origin::Default)));
        }
    }

    #[test]
    fn the_variable_of_the_server_is_refused_unless_it_means_the_default_anyway() {
        let refused = resolve(None, &[(EARLIER, "10.0.0.1:8500")]).expect_err("it would be another node");
        assert!(refused.contains("set RAFT_NODE_ADDR=10.0.0.1:8500"), "{refused}");
        for addr in ["0.0.0.0:8500", "127.0.0.1:8500", "[::]:8500"] {
            assert!(resolve(None, &[(EARLIER, addr)]).is_ok(), "{addr}");
        }
        assert!(resolve(None, &[(EARLIER, "0.0.0.0:8501")]).is_err());
    }
}
