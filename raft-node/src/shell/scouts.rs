//! Scouts: one task for each address in `join`, which greets whoever is there again and again.

use std::time::Duration;

use raftkit_net::{HelloError, Refusal, RemoteIdentity, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::outreach::Fault;
use super::tasks::Tasks;

/// What a scout has found.
pub(crate) struct Sighting {
    /// Where, as it stands in `join`.
    pub(crate) address: String,
    /// Who is there, or why nobody.
    pub(crate) who: Result<RemoteIdentity, HelloError>,
}

/// Scouts on their way. Dropped, they end.
pub(crate) struct Scouts {
    sightings: mpsc::Receiver<Sighting>,
    _scouts: JoinSet<()>,
}

impl Scouts {
    /// Sends scouts out. Each waits for `pause` between two greetings.
    #[expect(clippy::disallowed_methods, reason = "the tasks are watched")]
    pub(crate) fn send(tasks: &Tasks, transport: &Transport, addresses: &[String], pause: Duration) -> Self {
        let (sender, sightings) = mpsc::channel(1);
        let mut scouts = JoinSet::new();
        for address in addresses {
            let (transport, sender, address) = (transport.clone(), sender.clone(), address.clone());
            let scout = async move {
                loop {
                    let who = transport.hello(&address).await;
                    if sender.send(Sighting { address: address.clone(), who }).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            };
            scouts.spawn(tasks.watched("a scout at an address in join", scout));
        }
        Self { sightings, _scouts: scouts }
    }

    /// The next sighting, or none within `patience`.
    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Sighting> {
        match tokio::time::timeout(patience, self.sightings.recv()).await {
            Ok(Some(sighting)) => Some(sighting),
            // With no address to look at there is nothing to come.
            Ok(None) => {
                tokio::time::sleep(patience).await;
                None
            }
            Err(_) => None,
        }
    }
}

/// What an error says of an address; none when it is this node's own.
pub(crate) fn fault(error: &HelloError) -> Option<Fault> {
    match error {
        HelloError::Refused(Refusal::Myself { .. }) => None,
        HelloError::Refused(_) | HelloError::TheirCertificate { .. } | HelloError::OurCertificate { .. } => {
            Some(Fault::Refused)
        }
        HelloError::BadAddress { .. }
        | HelloError::NoAnswer { .. }
        | HelloError::Lost { .. }
        | HelloError::Protocol { .. }
        | HelloError::Stopping => Some(Fault::Silent),
    }
}
