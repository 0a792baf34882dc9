//! Known bugs of transports, each of which a test-only build can switch on (see raftkit-mutants). `cargo xtask mutants
//! --crate raft-net` runs the tests against each.

raftkit_mutants::catalogue! { "raft-net";
    // Who may come in.
    1 OtherClusterAccepted "other-cluster-accepted" "frames of another cluster"
        "Nodes of two clusters take each other's frames.",
    2 UnformedDelivered "unformed-delivered" "frames of another cluster"
        "Messages are delivered to and from nodes that have no cluster yet.",
    3 OtherStoreAccepted "other-store-accepted" "etcd data loss"
        "A node comes in with another data folder than the membership names.",
    4 OtherNodeAccepted "other-node-accepted" "wrong address"
        "Another node than the one that was dialled is taken for it.",
    5 TwinAccepted "twin-accepted" "two nodes with one id"
        "A second node with this node's id comes in.",
    6 StaleLifeAccepted "stale-life-accepted" "delayed packets"
        "An earlier life of a node comes in after a later one.",
    7 EarlierLifeKept "earlier-life-kept" "delayed packets"
        "The connections of a node's earlier lives stay when a later one comes.",
    8 ForgedSenderAccepted "forged-sender-accepted" "forged sender"
        "A message in another node's name is delivered.",
    9 MisdirectedDelivered "misdirected-delivered" "wrong address"
        "A message for another node is delivered.",
    10 IdentityChanges "identity-changes" "forged sender"
        "A node becomes another one with its second greeting.",
    // Frames.
    11 ForgedLengthAllocated "forged-length-allocated" "forged length"
        "As much is reserved as the first bytes of a frame announce.",
    12 LengthNotLimited "length-not-limited" "forged length"
        "A frame may be as long as it says.",
    13 PayloadLengthNotChecked "payload-length-not-checked" "forged length"
        "The payload need not be as long as its header says.",
    14 VersionNotChecked "version-not-checked" "downgrade"
        "A greeting of another protocol version is read.",
    15 GroupNotChecked "group-not-checked" "forged header"
        "A frame for another group is delivered.",
    // Queues.
    16 QueueUnbounded "queue-unbounded" "memory"
        "What waits for a slow peer has no bound.",
    17 HeartbeatsDropped "heartbeats-dropped" "slow peer"
        "Heartbeats are dropped behind entries that a slow peer does not take.",
    18 OldestKept "oldest-kept" "slow peer"
        "Of the heartbeats to a slow peer the oldest is kept, not the newest.",
    19 DropNotTold "drop-not-told" "lost append"
        "The core is not told that an append was dropped.",
    // Who may come in.
    20 CopyAccepted "copy-accepted" "two nodes with one id"
        "A second process on a copy of a member's data folder comes in.",
    // Dialling.
    21 CrossedDialDropped "crossed-dial-dropped" "crossing dials"
        "A node that is called drops its own dial for a new one, however far it has come.",
    #[cfg(feature = "quic")]
    22 BulkBlocksMessages "bulk-blocks-messages" "snapshot blocks heartbeats"
        "Messages to a peer wait until a bulk body to it has gone out.",
}
