//! The wait of the node's loop: for events of its own process, for events of its peers, or for its deadline,
//! whichever comes first.

use std::future::Future;

use raftkit_net::{Inbound, Inbox};
use tokio::sync::mpsc;

/// Upper bound on the events of each kind in one round.
pub(crate) const BATCH_MAX: usize = 1_024;

/// A bounded queue of events.
pub(crate) trait Source {
    type Event;

    /// Waits for events and appends up to `limit` of them. Returns their number; zero once the source has ended.
    fn recv_many(
        &mut self,
        events: &mut Vec<Self::Event>,
        limit: usize,
    ) -> impl Future<Output = usize> + Send;

    /// Takes the next event if one is there.
    fn try_recv(&mut self) -> Option<Self::Event>;
}

impl Source for Inbox {
    type Event = Inbound;

    fn recv_many(&mut self, events: &mut Vec<Inbound>, limit: usize) -> impl Future<Output = usize> + Send {
        Self::recv_many(self, events, limit)
    }

    fn try_recv(&mut self) -> Option<Inbound> {
        Self::try_recv(self)
    }
}

/// The loop's two sources of events.
#[derive(Debug)]
pub(crate) struct Intake<Own, Peers> {
    own: mpsc::UnboundedReceiver<Own>,
    peers: Peers,
}

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There are events, or the deadline has come.
    Round,
    /// A source has ended, and so shall the loop.
    Closed,
}

impl<Own, Peers: Source> Intake<Own, Peers> {
    pub(crate) fn new(own: mpsc::UnboundedReceiver<Own>, peers: Peers) -> Self {
        Self { own, peers }
    }

    /// Waits for an event or for `alarm`, which is set anew for each wait, and then takes all events that are there:
    /// they go into the same round, with one write and one send.
    pub(crate) async fn next(
        &mut self,
        alarm: impl Future<Output = ()>,
        own: &mut Vec<Own>,
        peers: &mut Vec<Peers::Event>,
    ) -> Taken {
        tokio::select! {
            count = self.own.recv_many(own, BATCH_MAX) => if count == 0 { return Taken::Closed },
            count = self.peers.recv_many(peers, BATCH_MAX) => if count == 0 { return Taken::Closed },
            () = alarm => {}
        }
        while own.len() < BATCH_MAX
            && let Ok(event) = self.own.try_recv()
        {
            own.push(event);
        }
        while peers.len() < BATCH_MAX
            && let Some(event) = self.peers.try_recv()
        {
            peers.push(event);
        }
        Taken::Round
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    impl Source for mpsc::Receiver<u32> {
        type Event = u32;

        fn recv_many(&mut self, events: &mut Vec<u32>, limit: usize) -> impl Future<Output = usize> + Send {
            Self::recv_many(self, events, limit)
        }

        fn try_recv(&mut self) -> Option<u32> {
            Self::try_recv(self).ok()
        }
    }

    type Sources = (Intake<u32, mpsc::Receiver<u32>>, mpsc::UnboundedSender<u32>, mpsc::Sender<u32>);

    fn sources() -> Sources {
        let (own, from_own) = mpsc::unbounded_channel();
        let (peers, from_peers) = mpsc::channel(2 * BATCH_MAX);
        (Intake::new(from_own, from_peers), own, peers)
    }

    #[tokio::test]
    async fn every_alarm_wakes_the_loop_not_the_first_one_only() {
        let (mut intake, _own, _peers) = sources();
        for _ in 0..5 {
            let (mut own, mut peers) = (Vec::new(), Vec::new());
            assert_eq!(intake.next(ready(()), &mut own, &mut peers).await, Taken::Round);
            assert!(own.is_empty() && peers.is_empty());
        }
    }

    #[tokio::test]
    async fn an_event_of_either_kind_wakes_it_and_all_that_is_there_is_taken_up_to_a_bound() {
        let (mut intake, own, peers) = sources();
        let (mut taken_own, mut taken_peers) = (Vec::new(), Vec::new());
        own.send(1).expect("it is open");
        assert_eq!(intake.next(pending(), &mut taken_own, &mut taken_peers).await, Taken::Round);
        assert_eq!((taken_own.as_slice(), taken_peers.as_slice()), ([1].as_slice(), [].as_slice()));
        taken_own.clear();
        for event in 0..1500 {
            own.send(event).expect("it is open");
            peers.send(event).await.expect("it is open");
        }
        for count in [BATCH_MAX, 1500 - BATCH_MAX] {
            (taken_own, taken_peers) = (Vec::new(), Vec::new());
            assert_eq!(intake.next(pending(), &mut taken_own, &mut taken_peers).await, Taken::Round);
            assert_eq!((taken_own.len(), taken_peers.len()), (count, count));
        }
    }

    #[tokio::test]
    async fn what_is_there_when_the_alarm_goes_off_is_taken_before_time_outs_are_looked_at() {
        for _ in 0..50 {
            let (mut intake, own, peers) = sources();
            own.send(1).expect("it is open");
            peers.send(2).await.expect("it is open");
            let (mut taken_own, mut taken_peers) = (Vec::new(), Vec::new());
            intake.next(ready(()), &mut taken_own, &mut taken_peers).await;
            assert_eq!((taken_own.as_slice(), taken_peers.as_slice()), ([1].as_slice(), [2].as_slice()));
        }
    }

    #[tokio::test]
    async fn the_end_of_either_source_ends_the_loop() {
        let (mut intake, own, peers) = sources();
        drop(own);
        let (mut taken_own, mut taken_peers) = (Vec::new(), Vec::new());
        assert_eq!(intake.next(pending(), &mut taken_own, &mut taken_peers).await, Taken::Closed);
        drop(peers);
        let (mut intake, _own, peers) = sources();
        drop(peers);
        assert_eq!(intake.next(pending(), &mut taken_own, &mut taken_peers).await, Taken::Closed);
    }
}
