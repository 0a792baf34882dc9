//! Every interleaving of a waiter with the machine, and what a waker sees.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;

use super::*;

/// How often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll(watch: &mut Watch, count: &Arc<Count>) -> Poll<()> {
    watch.poll_changed(&mut Context::from_waker(&Waker::from(Arc::clone(count))))
}

fn prefix(text: &str) -> Watched {
    Watched::Prefix(text.to_owned())
}

fn key(text: &str) -> Change {
    Change::Key(text.to_owned())
}

/// The machine's next step: a commit makes a change visible, publishing fires for it.
struct Machine {
    watches: Arc<Watches>,
    visible: Cell<u64>,
    published: u64,
}

impl Machine {
    /// Does the next of the steps `commit, publish, commit, publish, ..`.
    fn step(&mut self) {
        if self.visible.get() == self.published {
            self.visible.set(self.published + 1);
        } else {
            self.published += 1;
            self.watches.publish(LogIndex(self.published), &[key("p/a")]);
        }
    }
}

/// What a waiter does next; it wants to see the state above `asked`.
#[derive(Clone, Copy)]
enum Waiter {
    Looks,
    Waits,
}

/// Runs a waiter's steps and, before each of them, as many of the machine's as `schedule` says; then the rest of both. A
/// look has three places where the machine may run: before it, before its read and after its read. Returns what the waiter
/// has seen, or none if it waits for ever.
fn run(schedule: &[usize], changes: u64, asked: u64) -> Option<u64> {
    let watches = Arc::new(Watches::new(LogIndex(0)));
    let mut machine = Machine { watches: Arc::clone(&watches), visible: Cell::new(0), published: 0 };
    let mut watch = Watch::new(&watches, prefix("p/"));
    let count = Arc::default();
    let (mut waiter, mut left) = (Waiter::Looks, 2 * changes);
    let mut schedule = schedule.iter().copied();
    let mut go_on = |machine: &mut Machine| {
        // Once the schedule is at its end the machine does all that is left.
        let steps = schedule.next().map_or(left, |steps| (steps as u64).min(left));
        (0..steps).for_each(|_| machine.step());
        left -= steps;
        left
    };
    loop {
        let left = go_on(&mut machine);
        waiter = match waiter {
            Waiter::Looks => {
                let seen = watch.look(|| {
                    go_on(&mut machine);
                    let seen = machine.visible.get();
                    go_on(&mut machine);
                    seen
                });
                if seen > asked {
                    return Some(seen);
                }
                Waiter::Waits
            }
            Waiter::Waits => match poll(&mut watch, &count) {
                Poll::Ready(()) => Waiter::Looks,
                Poll::Pending if left == 0 => return None,
                Poll::Pending => Waiter::Waits,
            },
        };
    }
}

#[test]
fn no_change_is_missed_in_any_interleaving() {
    const CHANGES: u64 = 3;
    let steps = usize::try_from(2 * CHANGES).expect("few");
    // How many of the machine's steps come before each of the waiter's first steps: all ways to spread six over eight.
    let mut schedules = vec![Vec::new()];
    for _ in 0..8 {
        schedules = schedules
            .into_iter()
            .flat_map(|schedule: Vec<usize>| {
                let left = steps - schedule.iter().sum::<usize>();
                (0..=left).map(move |next| [schedule.clone(), vec![next]].concat())
            })
            .collect();
    }
    assert_eq!(schedules.len(), 3003, "all of them");
    for schedule in schedules {
        for asked in 0..CHANGES {
            let returned = run(&schedule, CHANGES, asked);
            assert!(returned.is_some_and(|seen| seen > asked), "{schedule:?}, {asked}: {returned:?}");
        }
        assert_eq!(run(&schedule, CHANGES, CHANGES), None, "nothing is newer than the newest");
    }
}

#[test]
fn a_waiter_is_woken_once_however_many_changes_come() {
    let watches = Arc::new(Watches::new(LogIndex(0)));
    let mut watch = Watch::new(&watches, prefix("p/"));
    let count = Arc::default();
    watch.look(|| ());
    assert_eq!(poll(&mut watch, &count), Poll::Pending);
    watches.publish(LogIndex(1), &[key("q/a")]);
    assert_eq!(count.0.load(SeqCst), 0, "somebody else's");
    watches.publish(LogIndex(3), &[key("p/a"), key("p/b")]);
    watches.publish(LogIndex(4), &[key("p/c")]);
    assert_eq!(count.0.load(SeqCst), 1);
    assert_eq!(poll(&mut watch, &count), Poll::Ready(()));
    watch.look(|| ());
    assert_eq!(poll(&mut watch, &count), Poll::Pending, "the look has seen all of them");
}

#[test]
fn the_newest_task_that_waits_is_woken() {
    let watches = Arc::new(Watches::new(LogIndex(0)));
    let mut watch = Watch::new(&watches, Watched::Key("k".into()));
    let (before, now) = (Arc::default(), Arc::default());
    watch.look(|| ());
    assert_eq!(poll(&mut watch, &before), Poll::Pending);
    assert_eq!(poll(&mut watch, &now), Poll::Pending);
    watches.publish(LogIndex(1), &[key("k")]);
    assert_eq!((before.0.load(SeqCst), now.0.load(SeqCst)), (0, 1));
}

#[test]
fn what_is_unchanged_is_said_up_to_the_newest_entry_that_was_published() {
    let watches = Arc::new(Watches::new(LogIndex(7)));
    let mut watch = Watch::new(&watches, prefix("p/"));
    assert_eq!(watch.unchanged_through(), None, "it has not looked");
    watch.look(|| ());
    assert_eq!(watch.unchanged_through(), Some(LogIndex(7)));
    watches.publish(LogIndex(8), &[]);
    watches.publish(LogIndex(9), &[key("q")]);
    assert_eq!(watch.unchanged_through(), Some(LogIndex(9)));
    watches.publish(LogIndex(10), &[Change::Everything]);
    assert_eq!(watch.unchanged_through(), None);
}

#[test]
fn a_dropped_watch_leaves_nothing_behind() {
    let watches = Arc::new(Watches::new(LogIndex(0)));
    let mut armed = Watch::new(&watches, prefix("p/"));
    armed.look(|| ());
    let mut fired = Watch::new(&watches, Watched::Key("k".into()));
    fired.look(|| ());
    watches.publish(LogIndex(1), &[key("k")]);
    let idle = Watch::new(&watches, prefix("never looked"));
    assert_eq!(watches.count(), 3);
    drop((armed, fired, idle));
    let inner = watches.lock();
    assert!(inner.registry.is_empty() && inner.watches.is_empty(), "{inner:?}");
}

#[test]
fn a_waker_may_come_back() {
    struct ComesBack(Mutex<Option<Watch>>);
    impl Wake for ComesBack {
        fn wake(self: Arc<Self>) {
            // Drops the watch, which takes the lock.
            self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
    let watches = Arc::new(Watches::new(LogIndex(0)));
    let mut watch = Watch::new(&watches, prefix(""));
    watch.look(|| ());
    let slot = Arc::new(ComesBack(Mutex::new(None)));
    let waker = Waker::from(Arc::clone(&slot));
    assert_eq!(watch.poll_changed(&mut Context::from_waker(&waker)), Poll::Pending);
    *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    watches.publish(LogIndex(1), &[key("k")]);
    assert!(slot.0.lock().unwrap_or_else(PoisonError::into_inner).is_none());
}
