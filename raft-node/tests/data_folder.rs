//! A data folder in which an operation fails at the start of the node: the error names the folder and the reason, and the node
//! //! starts once the operation succeeds.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{LogId, NodeId};
use raftkit_disk::{Operation, SimulatedDisk};
use raftkit_net::{TlsFiles, certificates};
use raftkit_node::{Formation, Server, ServerConfig, StartError};
use raftkit_replica::{Application, InMemory, in_words};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sum(u64);

impl Application for Sum {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, _: LogId, command: u64) -> u64 {
        self.0 += command;
        self.0
    }
}

type Machine = InMemory<Sum>;

fn config() -> ServerConfig {
    let ca = certificates::create_ca("test").unwrap();
    let own = certificates::create_node_certificate(&ca, NodeId(1), &["127.0.0.1".to_owned()]).unwrap();
    let tls = TlsFiles { ca_pem: ca.cert.into(), cert_pem: own.cert.into(), key_pem: own.key.into() };
    let any = "127.0.0.1:0".parse().unwrap();
    ServerConfig::new(NodeId(1), PathBuf::from("/data"), any, tls, Formation::Alone)
}

async fn start(config: &ServerConfig, disk: &SimulatedDisk) -> Result<Server<Machine>, StartError> {
    Server::start(config.clone(), Arc::new(disk.clone()), Machine::open).await
}

/// Starts a node, adds one, and returns the sum.
async fn one_more(config: &ServerConfig, disk: &SimulatedDisk, what: &str) -> u64 {
    let server = start(config, disk).await.unwrap_or_else(|error| panic!("{what}: {}", in_words(&error)));
    let handle = server.handle();
    let adding = handle.propose(Machine::encode(&1).unwrap());
    let added =
        timeout(Duration::from_secs(60), adding).await.unwrap_or_else(|_| panic!("{what}: no leader"));
    server.stop().await;
    let added = added.unwrap_or_else(|error| panic!("{what}: {error}"));
    Machine::decode(&added.response).unwrap()
}

#[tokio::test]
async fn a_folder_that_refuses_something_is_named_with_the_reason_and_starts_once_it_may() {
    let config = config();
    let (denied, read_only) = (ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem);
    // The sum before the start, and the refused operation: in a new folder, and in a used one.
    for (before, operation, kind) in [
        (0, Operation::CreateDir, read_only),
        (0, Operation::Lock, denied),
        (0, Operation::Create, denied),
        (0, Operation::Write, read_only),
        (1, Operation::CreateDir, denied),
        (1, Operation::Lock, read_only),
        (1, Operation::Open, denied),
        (1, Operation::List, denied),
    ] {
        let what = format!("{operation:?}, {kind:?}, {before}");
        let disk = SimulatedDisk::new(1);
        if before == 1 {
            assert_eq!(one_more(&config, &disk, &what).await, 1);
        }
        disk.fail_next(operation, 0, kind);
        let Err(error) = start(&config, &disk).await else { panic!("{what}: it starts") };
        let said = in_words(&error);
        assert!(said.contains("/data"), "{what}: {said}");
        assert!(said.contains(&format!("simulated fault in {operation:?}")), "{what}: {said}");
        disk.clear_faults();
        assert_eq!(one_more(&config, &disk, &what).await, before + 1, "{what}");
    }
}
