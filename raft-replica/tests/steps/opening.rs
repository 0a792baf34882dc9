//! Opening: what it finishes, and what it refuses, for a log and a state machine as a crash or a mistake can leave
//! them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{Base, HardState, Health, LogId, LogIndex, NodeId, StoreId, Term, Write};
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};
use raftkit_log::{OpenOptions, Store};
use raftkit_replica::{Applied, OpenReplicaError, Opened, Repair, StateMachine};
use raftkit_snapshot::SnapshotDir;

use super::{DIR, Machine, command, membership, try_open};

const SNAPSHOT: LogId = LogId { term: Term(2), index: LogIndex(8) };

/// A node that lost power when its state machine had switched to snapshot 2.8, and its log, which ends with 2.3, had
/// not followed.
fn half_installed(disk: &SimulatedDisk, hard_state: HardState) -> Result<Opened<Machine>, OpenReplicaError> {
    try_open(disk, |store| {
        let append = vec![command(2), command(3)].into();
        store.queue(Write { append, hard_state: Some(hard_state), ..Write::default() });
        store.flush().unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut machine = Machine::open(Arc::clone(&shared), Path::new(DIR)).unwrap();
        machine.apply(&[Applied { id: SNAPSHOT, command: None }]).unwrap();
        machine.persist().unwrap();
        let dir = SnapshotDir::new(shared, Path::new(DIR).join("snapshots")).unwrap();
        dir.create(membership("third")).unwrap().finish(SNAPSHOT).unwrap();
    })
}

#[test]
fn a_log_that_did_not_follow_its_state_is_reset_and_forgets_nothing_else() {
    for health in [Health::Sound, Health::Damaged] {
        let disk = SimulatedDisk::new(1);
        let promise = Duration::from_millis(700);
        let before = HardState { term: Term(5), vote: Some(NodeId(4)), commit: LogIndex(3), health, promise };
        let opened = half_installed(&disk, before).unwrap();
        assert_eq!(opened.repaired, Some(Repair::LogReset(SNAPSHOT)));
        let status = opened.replica.status();
        assert_eq!((status.base, status.last, status.applied), (SNAPSHOT, SNAPSHOT, LogIndex(8)));
        assert_eq!(opened.replica.node().membership(), &membership("third"));
        drop(opened);
        disk.crash_losing_all_unsynced();
        let options = OpenOptions { journal_bytes: 64 << 10, ..OpenOptions::new(NodeId(1), StoreId(9)) };
        let (_, restored) = Store::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
        assert_eq!(restored.base, Base { id: SNAPSHOT, membership: membership("third") });
        assert_eq!(restored.hard_state, HardState { commit: LogIndex(8), ..before });
    }
}

#[test]
fn a_log_that_starts_after_what_the_state_holds_is_refused() {
    let refused = try_open(&SimulatedDisk::new(1), |store| {
        let base = Base { id: SNAPSHOT, membership: membership("third") };
        let hard_state = Some(HardState { term: Term(2), commit: LogIndex(8), ..HardState::default() });
        store.queue(Write { reset_to: Some(base.into()), hard_state, ..Write::default() });
        store.flush().unwrap();
    });
    let refused = refused.unwrap_err();
    let expected = |error: &OpenReplicaError| {
        matches!(error, OpenReplicaError::StateBehindLog { base: SNAPSHOT, state: LogId::ZERO })
    };
    assert!(expected(&refused), "{refused:?}");
}

#[test]
fn an_image_of_the_state_in_which_a_bit_has_flipped_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let open = || Machine::open(Arc::clone(&disk), Path::new(DIR));
    let mut machine = open().unwrap();
    let add = Machine::encode(&1).unwrap();
    machine.apply(&[Applied { id: LogId::new(2, 2), command: Some(add) }]).unwrap();
    machine.persist().unwrap();
    assert_eq!(open().unwrap().reader().read(|state| state.sum).0, 1);
    let file = disk.open(&Path::new(DIR).join("state.bin"), OpenMode::Existing).unwrap();
    let mut last = [0];
    let at = file.len().unwrap() - 1;
    file.read_at(at, &mut last).unwrap();
    file.write_at(at, &[last[0] ^ 2]).unwrap();
    let refused = open().unwrap_err();
    assert!(refused.to_string().contains("checksum"), "{refused}");
}

/// A killed process leaves its writes in the page cache, file names included. What the next process reads there must
/// not be lost by a power cut, because the log is cut up to it.
#[test]
fn a_state_whose_name_an_earlier_life_could_not_make_durable_is_durable_once_it_is_opened() {
    let disk = SimulatedDisk::new(1);
    let open = || Machine::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let add = Machine::encode(&1).unwrap();
    let mut machine = open();
    machine.apply(&[Applied { id: LogId::new(2, 2), command: Some(add) }]).unwrap();
    disk.fail_next(Operation::SyncDir, 0, std::io::ErrorKind::Other);
    assert!(machine.persist().is_err());
    drop(machine);
    disk.kill();
    let durable = open().durable();
    assert_eq!(durable, LogId::new(2, 2));
    disk.crash_losing_all_unsynced();
    assert_eq!(open().durable(), durable);
}
