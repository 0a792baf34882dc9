//! Consul's endpoints about the cluster: leader, peers, configuration, datacenters.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use raftkit_core::LogIndex;
use serde::Serialize;

use super::HttpState;
use super::answer::{Answer, Problem, to_json};
use super::options::Options;
use super::query::Query;
use crate::NodeStatus;

/// The methods of read-only endpoints.
pub(crate) const ALLOW: &str = "OPTIONS,GET";

/// A request to a read-only endpoint.
pub(crate) enum Look {
    /// The client asks for the content, with these parameters.
    At(Query, Options),
    /// The request is answered without the content.
    Answered(Answer),
}

/// Parses a request to a read-only endpoint.
pub(crate) fn look(state: &HttpState, request: &Request) -> Result<Look, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let query = Query::parse(request.uri().query().unwrap_or(""))?;
            let options = Options::parse(&query, &state.datacenter)?;
            Ok(Look::At(query, options))
        }
        Method::OPTIONS => Ok(Look::Answered(Answer::options(ALLOW))),
        ref method => Err(Problem::method(method, ALLOW)),
    }
}

/// Answers a request with the JSON of what `show` takes from this node's status.
fn shown<T: Serialize>(
    state: &HttpState,
    request: &Request,
    show: impl FnOnce(&NodeStatus) -> T,
) -> Result<Answer, Problem> {
    match look(state, request)? {
        Look::At(_, options) => {
            Ok(Answer::json(StatusCode::OK, to_json(&show(&state.handle.status()), options.layout)?))
        }
        Look::Answered(answer) => Ok(answer),
    }
}

/// `GET /v1/status/leader`: the leader's address, or `""` if no leader is known.
pub(crate) async fn leader(State(state): State<HttpState>, request: Request) -> Answer {
    shown(&state, &request, leader_address).unwrap_or_else(Problem::into_answer)
}

fn leader_address(status: &NodeStatus) -> String {
    let leader = status.members.iter().find(|member| Some(member.node) == status.leader);
    leader.map(|member| member.address.clone()).unwrap_or_default()
}

/// `GET /v1/status/peers`: the members' addresses.
pub(crate) async fn peers(State(state): State<HttpState>, request: Request) -> Answer {
    let addresses = |status: &NodeStatus| -> Vec<String> {
        status.members.iter().map(|member| member.address.clone()).collect()
    };
    shown(&state, &request, addresses).unwrap_or_else(Problem::into_answer)
}

/// `GET /v1/catalog/datacenters`: a list with the one datacenter.
pub(crate) async fn datacenters(State(state): State<HttpState>, request: Request) -> Answer {
    shown(&state, &request, |_| [state.datacenter.to_string()]).unwrap_or_else(Problem::into_answer)
}

/// `GET /v1/operator/raft/configuration`: the members, confirmed by the leader unless the request is `?stale`.
pub(crate) async fn configuration(State(state): State<HttpState>, request: Request) -> Answer {
    let looked = look(&state, &request);
    let answer = async {
        let options = match looked? {
            Look::At(_, options) => options,
            Look::Answered(answer) => return Ok(answer),
        };
        // Once this read may be served, this node has every change of membership that was committed before the request.
        state.handle.read(options.consistency, |reader| Ok(((), reader.applied()?))).await?;
        let configuration = Configuration::of(&state.handle.status());
        Ok(Answer::json(StatusCode::OK, to_json(&configuration, options.layout)?))
    };
    answer.await.unwrap_or_else(Problem::into_answer)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    servers: Vec<ServerJson>,
    index: LogIndex,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerJson {
    #[serde(rename = "ID")]
    id: String,
    node: String,
    address: String,
    leader: bool,
    protocol_version: &'static str,
    voter: bool,
}

impl Configuration {
    fn of(status: &NodeStatus) -> Self {
        let servers = status.members.iter().map(|member| ServerJson {
            id: member.node.to_string(),
            node: format!("node-{}", member.node),
            address: member.address.clone(),
            leader: Some(member.node) == status.leader,
            // Clients look for 3, the version of Consul's protocol since which members have ids.
            protocol_version: "3",
            voter: member.voter,
        });
        Self { servers: servers.collect(), index: status.membership_index }
    }
}
