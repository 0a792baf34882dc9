//! The settings of a run. Each has a neutral value, at which it does no harm; shrinking tries that value first.

macro_rules! settings {
    ($($field:ident = $neutral:literal, $what:literal;)*) => {
        /// The settings of a run. Names end with the unit. A share is in thousandths, unless its description says otherwise.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $(#[doc = $what] pub $field: u64,)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($field: $neutral,)* }
            }
        }

        impl Settings {
            /// Names and neutral values of all settings, in order.
            pub const ALL: &[(&str, u64)] = &[$((stringify!($field), $neutral),)*];

            /// Returns the value of the setting with this name.
            #[must_use]
            pub fn value(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($field) => Some(self.$field),)*
                    _ => None,
                }
            }

            /// Sets the setting with this name; false when there is no such setting.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($field) => self.$field = value,)*
                    _ => return false,
                }
                true
            }
        }
    };
}

settings! {
    nodes = 3, "Number of founding voters, 1 to 7.";
    spares = 0, "Number of hosts that belong to no cluster at first, and that the operator may add.";
    clients = 3, "Number of clients, each with one request at a time.";
    keys = 2, "Number of keys that the clients contend for.";
    gap_ms = 600, "Mean time between a client's answer and its next request.";
    duration_ms = 20_000, "Time at which faults end.";
    reads = 300, "Share of reads among the requests.";
    consistent = 300, "Share of reads that a quorum confirms, among those that are not stale.";
    stale = 300, "Share of stale reads among the reads.";
    watched = 0, "1: a further client follows each node with stale reads of that node alone, the first one at the node's start.";
    conditional = 300, "Share of writes with a condition.";
    value_bytes = 16, "Length of the longest value.";
    drift = 0, "Upper bound on how much too fast or too slow a clock runs, in thousandths.";
    ahead_us = 0, "Least delay of a message to a node with a higher id, also after faults have ended.";
    back_us = 0, "Least delay of a message to a node with a lower id, also after faults have ended.";
    delay_us = 500, "Upper bound on the random delay of a message.";
    loss = 0, "Share of messages that are lost.";
    duplicates = 0, "Share of messages that are delivered twice.";
    reorder = 0, "Share of messages that later ones overtake.";
    slow = 0, "Share of messages that take up to 400 ms.";
    split = 0, "Share of messages that arrive in two parts, of which the second may never come.";
    late = 0, "Share of messages that arrive, in a later life of the receiver, although their connection was cut.";
    flush_us = 150, "Upper bound on the time that a call to the disk takes.";
    stalls = 0, "Share of syncs that take up to 3 s.";
    sync_errors = 0, "Share of syncs that fail, in millionths.";
    write_errors = 0, "Share of writes that fail, in millionths.";
    link_kbps = 0, "Rate of a link in each direction, in thousand bytes a second; 0: unlimited.";
    link_queue_kib = 32, "Size of the queue in the network before a link that has a rate.";
    disk_kbps = 0, "Rate of the log's disk, in thousand bytes a second; 0: unlimited.";
    calls_kept = 0, "1: a call from one node to another is never lost while their connection lives; 0: a few are.";
    apply_us = 0, "Upper bound on the time that the state machine's thread takes for a piece of work, beside that of its disk.";
    hiccups = 0, "Share of rounds that take up to 30 ms between their inputs and their look at the clock.";
    dial_timeout_ms = 1000, "Time for which a first attempt to connect waits for an answer.";
    leader_timeout_ms = 500, "The protocol's setting of this name.";
    retimed = 0, "Share of starts with another leader time-out, 100 ms to 2 s, and with the settings that depend on it.";
    election_timeout_ms = 1000, "The protocol's setting of this name.";
    write_stall_ms = 2000, "The protocol's setting of this name.";
    commit_timeout_ms = 1000, "Time for which a write waits for its commit.";
    hold_timeout_ms = 3000, "Time for which a request waits for a leader.";
    batch_bytes = 10_485_760, "The protocol's setting of this name.";
    inflight_messages = 256, "The protocol's setting of this name.";
    uncommitted_bytes = 67_108_864, "The protocol's setting of this name.";
    tail_bytes = 33_554_432, "The protocol's setting of this name.";
    trailing_logs = 10_240, "Number of entries that are kept below the last one in the durable state.";
    persist_ms = 1000, "Interval of durable commits of the state machine.";
    uneven = 0, "1: that interval differs from node to node, and is up to 12 times as long.";
    unapplied_bytes = 67_108_864, "Upper bound on the committed entries that wait in memory to be applied, in bytes.";
    journal_kib = 64, "Size of the journal's ring.";
    slack_kib = 4096, "A database's file is copied when it is longer than twice its contents by this much.";
    trailing_kib = 65_536, "Upper bound on the entries that are kept below the last one in the durable state.";
    bulk_bytes_s = 0, "Rate of snapshots from one node to another, in bytes a second; 0: unlimited.";
    chunk_bytes = 4096, "Size of a snapshot's chunks.";
    priorities = 0, "1: nodes have different priorities as leaders.";
    patience_ms = 90_000, "Time within which the cluster must have settled after faults have ended.";
    steady_ms = 0, "From this time until faults end the leader must stay; 0: no such time.";
    flowing = 0, "1: in that time writes must succeed all along, and few may end in doubt.";
    crippled = 0, "1: a minority stays cut off or down after faults have ended.";
    apart = 0, "1: log, state and snapshots have a folder each, so that no part's sync hides one that another has forgotten.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_name_and_its_neutral_value() {
        let mut settings = Settings::default();
        for (name, neutral) in Settings::ALL {
            assert_eq!(settings.value(name), Some(*neutral), "{name}");
            assert!(settings.set(name, neutral + 1));
            assert_eq!(settings.value(name), Some(neutral + 1), "{name}");
        }
        assert!(!settings.set("no_such", 1));
        assert_eq!(settings.value("no_such"), None);
    }
}
