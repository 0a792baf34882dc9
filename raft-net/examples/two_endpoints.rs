//! Two endpoints on one machine: node 1 sends node 2 a Raft message and a request, and node 2 answers the request.
#![expect(clippy::print_stdout, reason = "an example")]

use raftkit_core::{Body, ClusterId, Incarnation, Message, NodeId, StoreId, Term, TimeoutNow};
use raftkit_net::certificates::{CaPem, create_ca, create_node_certificate};
use raftkit_net::{Inbound, Inbox, LocalIdentity, TlsFiles, TlsIdentity, Transport, TransportConfig};

type Error = Box<dyn std::error::Error>;

/// Starts the transport of a node on a free port, with a certificate of the cluster's authority.
fn start(ca: &CaPem, node: u64) -> Result<(Transport, Inbox), Error> {
    let own = create_node_certificate(ca, NodeId(node), &[])?;
    let (ca_pem, cert_pem, key_pem) = (ca.cert.clone().into(), own.cert.into(), own.key.into());
    let tls = TlsIdentity::parse(&TlsFiles { ca_pem, cert_pem, key_pem })?;
    let identity = LocalIdentity {
        node: NodeId(node),
        store: StoreId(node.into()),
        incarnation: Incarnation(1),
        cluster: Some(ClusterId(1)),
        address: String::new(),
        attributes: bytes::Bytes::new(),
    };
    Ok(Transport::start(TransportConfig::new(([127, 0, 0, 1], 0).into(), tls, identity))?)
}

async fn serve(mut inbox: Inbox) {
    while let Some(event) = inbox.recv().await {
        match event {
            Inbound::Message(message) => println!("node 2 got {:?}", message.body),
            Inbound::Request { from, reply, .. } => reply.send(format!("well, node {}", from.node).into()),
            Inbound::Connected(_) | Inbound::Unreachable(_) | Inbound::Bulk { .. } => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let ca = create_ca("example")?;
    let ((one, _inbox), (two, inbox)) = (start(&ca, 1)?, start(&ca, 2)?);
    one.set_peer(NodeId(2), StoreId(2), &two.local_addr().to_string());
    // It is queued, and goes out as soon as the connection is made.
    one.send(Message {
        from: NodeId(1),
        from_store: StoreId(1),
        from_incarnation: Incarnation(1),
        to: NodeId(2),
        term: Term(1),
        body: Body::TimeoutNow(TimeoutNow {}),
    });
    tokio::select! {
        answer = one.request(NodeId(2), "how are you?".into()) => println!("node 1 was answered {:?}", answer?),
        () = serve(inbox) => {}
    }
    Ok(())
}
