//! Scouts: a task for each address in `join`, which greets the server there again and again.

use std::time::Duration;

use raftkit_net::{HelloError, Refusal, RemoteIdentity, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::outreach::Fault;
use super::tasks::Tasks;

/// The result of one greeting.
pub(crate) struct Sighting {
    /// The address, as it stands in `join`.
    pub(crate) address: String,
    /// The server that answered, or the reason why none did.
    pub(crate) who: Result<RemoteIdentity, HelloError>,
}

/// Running scouts. Dropping this ends them.
pub(crate) struct Scouts {
    sightings: mpsc::Receiver<Sighting>,
    _scouts: JoinSet<()>,
}

impl Scouts {
    /// Starts a scout for each address. Each waits for `pause` between two greetings.
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

    /// The next result, or none if there is none within this time.
    pub(crate) async fn next(&mut self, within: Duration) -> Option<Sighting> {
        match tokio::time::timeout(within, self.sightings.recv()).await {
            Ok(Some(sighting)) => Some(sighting),
            // Without any address there will be no result.
            Ok(None) => {
                tokio::time::sleep(within).await;
                None
            }
            Err(_) => None,
        }
    }
}

/// The fault that an error shows of an address; none if the address is this node's own.
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
