//! The numbers that a run is made with. Each has a neutral value, at which it harms nothing: what shrinking tries first.

macro_rules! settings {
    ($($field:ident = $neutral:literal, $what:literal;)*) => {
        /// The numbers of a run. Faults are in thousandths of the occasions of each, unless the name says otherwise.
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
            /// Names and neutral values, in order.
            pub const ALL: &[(&str, u64)] = &[$((stringify!($field), $neutral),)*];

            /// The value of this name.
            #[must_use]
            pub fn value(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($field) => Some(self.$field),)*
                    _ => None,
                }
            }

            /// Sets the value of this name; false when there is none.
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
    nodes = 3, "Founding voters, 1 to 7.";
    spares = 0, "Hosts that belong to no cluster at first.";
    clients = 3, "Clients, each with one request at a time.";
    keys = 2, "Keys that they contend for.";
    gap_ms = 600, "A client waits about so long between two requests.";
    duration_ms = 20_000, "Faults end after so long.";
    reads = 300, "Of requests: reads.";
    consistent = 300, "Of reads: those that a quorum confirms.";
    stale = 300, "Of reads: those of what a node has.";
    watched = 0, "1: each node is followed by a client that does stale reads of it alone, the first one at its start.";
    conditional = 300, "Of writes: those with a condition.";
    value_bytes = 16, "The longest value.";
    drift = 0, "Clocks run up to so many thousandths too fast or too slow.";
    ahead_us = 0, "The distance: a message to a node with a higher id takes at least so long, also once faults have ended.";
    back_us = 0, "The same to a node with a lower id.";
    delay_us = 500, "A message takes up to so long.";
    loss = 0, "Of messages: lost.";
    duplicates = 0, "Of messages: delivered twice.";
    reorder = 0, "Of messages: overtaken by later ones.";
    slow = 0, "Of messages: take up to 400 ms.";
    split = 0, "Of messages: arrive in two parts, of which the second may never come.";
    late = 0, "Of what a cut connection had on its way: arrives all the same, in a later life.";
    flush_us = 150, "A call to the disk takes up to so long.";
    stalls = 0, "Of syncs: take up to 3 s.";
    sync_errors = 0, "Of syncs, in millionths: fail.";
    write_errors = 0, "Of writes, in millionths: fail.";
    link_kbps = 0, "A link carries so many thousand bytes a second in each direction; 0: any number.";
    link_queue_kib = 32, "So much is in the network in front of a link that has a rate.";
    disk_kbps = 0, "The log's disk takes so many thousand bytes a second; 0: any number.";
    calls_kept = 0, "1: no call from one node to another is lost while their connection stands; 0: a few are.";
    apply_us = 0, "The state machine's thread takes up to so long beside its disk, each time that it does all that waits.";
    hiccups = 0, "Of rounds: up to 30 ms between taking the inputs and reading the clock.";
    dial_timeout_ms = 1000, "How long a first attempt to connect waits for an answer.";
    leader_timeout_ms = 500, "The protocol's setting of this name.";
    retimed = 0, "Of starts: with another leader time-out, of 100 ms to 2 s, and what depends on it.";
    election_timeout_ms = 1000, "The protocol's setting of this name.";
    write_stall_ms = 2000, "The protocol's setting of this name.";
    commit_timeout_ms = 1000, "How long a write waits for its commit.";
    hold_timeout_ms = 3000, "How long a request waits for a leader.";
    batch_bytes = 10_485_760, "The protocol's setting of this name.";
    inflight_messages = 256, "The protocol's setting of this name.";
    uncommitted_bytes = 67_108_864, "The protocol's setting of this name.";
    tail_bytes = 33_554_432, "The protocol's setting of this name.";
    trailing_logs = 10_240, "So many entries are kept below the durable state.";
    persist_ms = 1000, "The state machine is made durable so often.";
    uneven = 0, "1: each node makes it so at another interval, up to 12 times as long.";
    unapplied_bytes = 67_108_864, "So many bytes of committed entries wait in memory.";
    journal_kib = 64, "The journal's ring.";
    slack_kib = 4096, "So much longer than twice what is in it a database's file may stay.";
    trailing_kib = 65_536, "At most so much of the log is kept below the durable state.";
    bulk_bytes_s = 0, "So many bytes of snapshots a second go from one node to another; 0: any.";
    chunk_bytes = 4096, "The chunks of a snapshot.";
    priorities = 0, "1: nodes have priorities of their own as leaders.";
    patience_ms = 90_000, "Once faults have ended all must be as it should be within so long.";
    steady_ms = 0, "From then on until faults end the leader stays, unless this is 0.";
    flowing = 0, "1: in that time writes succeed all along, and no more end in doubt.";
    crippled = 0, "1: a minority stays cut off or down when faults end.";
    apart = 0, "1: log, state and snapshots have folders of their own, and none hides what another left unsynced.";
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
