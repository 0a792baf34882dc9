//! Inspecting a log without opening it reports what the next opening finds, and changes nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::folder::{End, folder};
use common::golden::{self, disk_of};
use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, RealDisk, SimulatedDisk};
use raftkit_log::*;

/// Inspects the folder, and checks that this changed nothing.
fn look(disk: &SimulatedDisk) -> Inspection {
    let (image, mutations) = (disk.image(), disk.mutations());
    let inspection = inspect(Arc::new(disk.clone()), Path::new(DIR)).unwrap();
    assert_eq!(disk.mutations(), mutations, "it was written to");
    for file in image.files() {
        assert_eq!(disk.durable(file), image.read(file), "{file:?}");
    }
    assert_eq!(disk.image().files().count(), image.files().count());
    inspection
}

/// Inspects the folder, then opens it, and compares the two.
fn look_and_open(disk: &SimulatedDisk, place: &str) -> Verdict {
    let inspection = look(disk);
    let Inspection { opening, contents, unsettled, damages, .. } = &inspection;
    let verdict = inspection.verdict();
    let (told, foreseen) =
        (format!("{damages:?}"), contents.as_ref().map(|contents| contents.restored.clone()));
    let foreseen_entries: Option<Vec<Entry>> = contents
        .as_ref()
        .map(|contents| contents.entries(LogIndex::ZERO, LogIndex(u64::MAX)).map(Result::unwrap).collect());
    let incarnation = contents.as_ref().map_or(0, |contents| contents.identity.incarnation.0);
    let records = unsettled.as_ref().map(|unsettled| (unsettled.records, unsettled.entries));
    let opening = opening.as_ref().map(|report| format!("{report:?}")).map_err(ToString::to_string);
    let files: Vec<_> = damages.iter().map(|damage| damage.file.clone()).collect();
    let damage_count = damages.len();
    drop(inspection);

    match open(disk) {
        Ok((store, restored)) => {
            assert_eq!(opening, Ok(format!("{:?}", store.report())), "{place}");
            assert_eq!(foreseen, Some(restored.clone()), "{place}");
            assert_eq!(store.identity().incarnation.0, incarnation + 1, "{place}");
            let (first, last) = (restored.base.id.index.next(), restored.last);
            let entries = (first <= last).then(|| read(&store, first.0, last.0));
            let foreseen = foreseen_entries.filter(|entries| !entries.is_empty()).map(ReadResult::Entries);
            assert_eq!(entries, foreseen, "{place}");
            match &store.report().damage {
                Some(damage) => {
                    assert_eq!(verdict, Verdict::Damaged, "{place}");
                    assert!(files.contains(&damage.file), "{place}: {told}");
                }
                None => {
                    let Replayed { records: flushes, entries } = store.report().replayed;
                    assert_eq!(records, Some((flushes, entries)), "{place}");
                    let health = restored.hard_state.health;
                    let wanted = if health == Health::Sound { Verdict::Sound } else { Verdict::Healing };
                    assert_eq!((verdict, damage_count), (wanted, 0), "{place}: {told}");
                }
            }
        }
        Err(error) => {
            assert_eq!(opening, Err(error.to_string()), "{place}");
            assert!(verdict == Verdict::Damaged && damage_count > 0, "{place}: {told}");
        }
    }
    verdict
}

#[test]
fn a_sound_folder_is_told_to_be_sound_whatever_its_end() {
    for (end, unsettled) in [(End::Clean, 0), (End::Witnessed, 4), (End::Unwitnessed, 4)] {
        let folder = folder(end);
        let disk = folder.put();
        let inspection = look(&disk);
        assert_eq!(inspection.verdict(), Verdict::Sound);
        let contents = inspection.contents.as_ref().unwrap();
        let model = folder.models.last().unwrap();
        assert_eq!(contents.restored, model.restored());
        assert_eq!((contents.identity.node, contents.identity.cluster), (NodeId(1), Some(ClusterId(1))));
        assert_eq!(contents.count(), model.entries.len() as u64);
        let entries: Vec<Entry> = contents.entries(LogIndex(0), LogIndex(99)).map(Result::unwrap).collect();
        assert_eq!(entries, model.entries);
        let part: Vec<Entry> = contents.entries(LogIndex(6), LogIndex(7)).map(Result::unwrap).collect();
        assert_eq!(part, model.entries[1..3]);
        assert_eq!(
            contents.payload_bytes,
            model.entries.iter().map(|entry| entry.payload.to_parts().1.len() as u64).sum()
        );
        let found = inspection.unsettled.as_ref().unwrap();
        // The last two of eight flushes are not settled. Each has one entry, of a kind of its own.
        let wanted = if end == End::Clean { 0 } else { unsettled };
        assert_eq!(found.entries, wanted);
        assert_eq!(found.first, (wanted > 0).then_some(LogIndex(14)));
        assert_eq!(inspection.files.len(), 2);
        drop(inspection);
        assert_eq!(look_and_open(&disk, "as it is"), Verdict::Sound);
    }
}

#[test]
fn what_is_not_settled_is_summed_up() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    store.queue(append(1, (2..=9).map(|index| command(1, index, 10)).collect()));
    store.flush().unwrap();
    settle(&mut store);
    let truncate_from = Some(LogIndex(8));
    store.queue(Write { truncate_from, ..append(2, vec![command(2, 8, 10), command(2, 9, 10)]) });
    store.flush().unwrap();
    store.queue(Write { compact_to: Some(LogIndex(4)), ..append(3, vec![command(2, 10, 10)]) });
    store.flush().unwrap();
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let found = look(&disk).unsettled.unwrap();
    assert_eq!((found.records, found.entries, found.first), (2, 3, Some(LogIndex(8))));
    assert_eq!((found.truncated_from, found.compacted_to), (truncate_from, Some(LogIndex(4))));
    assert_eq!((found.reset_to, found.torn), (None, false));
    assert!(found.bytes >= 1024 && found.bytes.is_multiple_of(512));
}

#[test]
fn logs_of_every_format_are_looked_at() {
    for format in [1, 2, 3] {
        for end in ["clean", "unclean"] {
            let disk = disk_of(&golden::text(format, end));
            let inspection = look(&disk);
            assert_eq!(inspection.verdict(), Verdict::Sound, "{format} {end}");
            let contents = inspection.contents.as_ref().unwrap();
            assert_eq!(contents.identity.format, format);
            assert_eq!(contents.identity.incarnation, Incarnation(1));
            assert_eq!(contents.count(), 10);
            drop(inspection);
            assert_eq!(look_and_open(&disk, "golden"), Verdict::Sound);
        }
    }
}

#[test]
fn what_is_told_of_rot_anywhere_is_what_the_opening_finds() {
    let mut sound = 0;
    let mut damaged = 0;
    for end in [End::Clean, End::Witnessed, End::Unwitnessed] {
        let folder = folder(end);
        for (name, bytes) in &folder.files {
            for sector in 0..bytes.len() / 512 {
                let place = sector * 512 + (sector * 37) % 512;
                let disk = folder.put();
                assert!(disk.rot(Path::new(name), place as u64, 1 << (sector % 8)));
                match look_and_open(&disk, &format!("{end:?} {name} byte {place}")) {
                    Verdict::Sound => sound += 1,
                    Verdict::Damaged => {
                        damaged += 1;
                        // The rest is whole. The log keeps reporting the loss until the node has healed.
                        let after = look_and_open(&disk, "after the opening");
                        assert!(matches!(after, Verdict::Sound | Verdict::Healing), "{after:?}");
                    }
                    Verdict::Healing => panic!("nothing has opened it"),
                }
            }
        }
    }
    assert!(sound > 900 && damaged > 40, "{sound} sound, {damaged} damaged");
}

/// The disk of a store with runs of two entries of 3000 bytes, 2 to 17, all settled.
fn filled() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    for first in (2..18).step_by(2) {
        store.queue(append(first, vec![command(1, first, 3000), command(1, first + 1, 3000)]));
        store.flush().unwrap();
        settle(&mut store);
    }
    drop(store);
    disk
}

/// Makes the payload of a command rot wherever the database holds it.
fn rot_entry(disk: &SimulatedDisk, entry: &Entry) {
    let Payload::Command(payload) = &entry.payload else { panic!("{entry:?} is no command") };
    let image = disk.durable(Path::new(FILE)).unwrap();
    let parts = image.windows(payload.len()).enumerate().filter(|(_, part)| part == payload);
    let places: Vec<usize> = parts.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for place in places {
        assert!(disk.rot(Path::new(FILE), place as u64 + 123, 0x10));
    }
}

fn told(inspection: &Inspection) -> Vec<String> {
    inspection.damages.iter().map(ToString::to_string).collect()
}

#[test]
fn every_rotten_range_is_named_not_only_the_first() {
    let disk = filled();
    for index in [4, 5, 8, 13] {
        rot_entry(&disk, &command(1, index, 3000));
    }
    let inspection = look(&disk);
    let wanted = [
        format!("{FILE}: entries 4 to 5: entry 4 does not match its checksum"),
        format!("{FILE}: entry 8: entry 8 does not match its checksum"),
        format!("{FILE}: entry 13: entry 13 does not match its checksum"),
    ];
    assert_eq!(told(&inspection), wanted);
    let damage = inspection.opening.as_ref().unwrap().damage.as_ref().unwrap();
    assert_eq!(damage.lost, Lost::Entries { first: LogIndex(4), last: LogIndex(17) });
    drop(inspection);
    assert_eq!(look_and_open(&disk, "three ranges"), Verdict::Damaged);
    assert_eq!(look_and_open(&disk, "mended"), Verdict::Healing);
}

#[test]
fn damage_of_both_files_is_told() {
    let disk = folder(End::Clean).put();
    let database = disk.durable(Path::new(FILE)).unwrap();
    let (mut store, _) = open(&disk).unwrap();
    for first in [18, 20] {
        store.queue(append(first, vec![command(4, first, 700), command(4, first + 1, 700)]));
        store.flush().unwrap();
    }
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    // Put back the older database, as if nothing had been settled since. A database that needs a repair and cannot be
    // repaired would reveal less.
    disk.put(Path::new(FILE), &database);
    rot_entry(&disk, &command(2, 6, 700));
    let image = disk.durable(Path::new(JOURNAL)).unwrap();
    let Payload::Command(payload) = command(4, 18, 700).payload else { unreachable!() };
    let (at, _) = image.windows(700).enumerate().find(|(_, part)| *part == payload).unwrap();
    assert!(disk.rot(Path::new(JOURNAL), at as u64 + 3, 1));

    let inspection = look(&disk);
    let [database, journal] = inspection.damages.as_slice() else { panic!("{:?}", inspection.damages) };
    assert_eq!((database.file.as_path(), journal.file.as_path()), (Path::new(FILE), Path::new(JOURNAL)));
    assert_eq!(database.entries, Some(LogIndex(6)..=LogIndex(6)));
    assert_eq!(journal.entries, Some(LogIndex(18)..=LogIndex(21)));
    let damage = inspection.opening.as_ref().unwrap().damage.as_ref().unwrap();
    assert_eq!(damage.lost, Lost::Entries { first: LogIndex(6), last: LogIndex(21) });
    drop(inspection);
    assert_eq!(look_and_open(&disk, "both"), Verdict::Damaged);
}

#[test]
fn a_log_without_hard_state_is_shown_as_far_as_its_database_goes() {
    let folder = folder(End::Clean);
    let disk = folder.put();
    for witness in [0, 4096] {
        assert!(disk.rot(Path::new(JOURNAL), witness + 100, 1));
    }
    let inspection = look(&disk);
    assert!(matches!(inspection.opening, Err(OpenError::Damaged { .. })));
    assert_eq!(told(&inspection), [format!("{JOURNAL}: the record witness is missing")]);
    assert_eq!(inspection.contents.as_ref().unwrap().restored, folder.models.last().unwrap().restored());
    drop(inspection);
    assert_eq!(look_and_open(&disk, "no witness"), Verdict::Damaged);

    disk.remove(Path::new(JOURNAL)).unwrap();
    rot_entry(&disk, &command(2, 6, 700));
    let inspection = look(&disk);
    assert!(told(&inspection).iter().any(|line| line.starts_with(FILE)), "{:?}", told(&inspection));
    assert!(told(&inspection).contains(&format!("{JOURNAL}: the record journal is missing")));
    drop(inspection);
    assert_eq!(look_and_open(&disk, "no journal"), Verdict::Damaged);
}

#[test]
fn a_missing_empty_or_foreign_database_is_told() {
    let folder = folder(End::Clean);
    for damage in ["missing", "empty", "foreign"] {
        let disk = folder.put();
        match damage {
            "missing" => disk.remove(Path::new(FILE)).unwrap(),
            "empty" => disk.put(Path::new(FILE), b""),
            _ => disk.put(Path::new(FILE), &[b'x'; 9000]),
        }
        let inspection = look(&disk);
        assert_eq!(inspection.damages.len(), 1, "{damage}: {:?}", inspection.damages);
        assert_eq!(inspection.damages[0].file, Path::new(FILE));
        drop(inspection);
        assert_eq!(look_and_open(&disk, damage), Verdict::Damaged);
    }
}

#[test]
fn the_files_of_two_folders_are_not_looked_into() {
    let disk = folder(End::Clean).put();
    let other = SimulatedDisk::new(2);
    let options = OpenOptions { new_store: StoreId(12), ..options() };
    drop(Store::open(Arc::new(other.clone()), Path::new(DIR), options).unwrap());
    disk.put(Path::new(JOURNAL), &other.durable(Path::new(JOURNAL)).unwrap());
    let inspection = look(&disk);
    assert!(matches!(inspection.opening, Err(OpenError::OtherStore { .. })));
    assert_eq!(inspection.verdict(), Verdict::Damaged);
}

#[test]
fn a_folder_in_use_or_without_a_log_is_refused_and_left_as_it_is() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let look = || inspect(Arc::new(disk.clone()), Path::new(DIR));
    assert!(matches!(look(), Err(InspectError::NoLog { .. })));
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), Vec::<std::path::PathBuf>::new());

    let (store, _) = open(&disk).unwrap();
    assert!(matches!(look(), Err(InspectError::Locked { .. })));
    drop(store);
    let inspection = look().unwrap();
    assert!(matches!(open(&disk), Err(OpenError::Locked { .. })), "nobody opens it meanwhile");
    drop(inspection);
    drop(open(&disk).unwrap());

    disk.remove(&Path::new(DIR).join(RealDisk::LOCK_FILE)).unwrap();
    assert_eq!(look().unwrap().verdict(), Verdict::Sound);
    assert!(!disk.exists(&Path::new(DIR).join(RealDisk::LOCK_FILE)).unwrap());
}

#[test]
fn a_real_folder_that_may_only_be_read_is_looked_at() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(Arc::new(RealDisk), folder.path(), options()).unwrap();
    store.queue(append(1, vec![command(1, 1, 100)]));
    store.flush().unwrap();
    drop(store);
    let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    for path in names() {
        fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let content = |path: std::path::PathBuf| (fs::read(&path).unwrap(), path);
    let before: Vec<_> = names().map(content).collect();
    let inspection = inspect(Arc::new(RealDisk), folder.path()).unwrap();
    assert_eq!(inspection.verdict(), Verdict::Sound);
    assert_eq!(inspection.contents.as_ref().unwrap().count(), 1);
    assert!(matches!(inspect(Arc::new(RealDisk), folder.path()), Err(InspectError::Locked { .. })));
    drop(inspection);
    assert_eq!(names().map(content).collect::<Vec<_>>(), before);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
}
