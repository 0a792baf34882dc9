//! This version reads logs written by earlier versions.
//!
//! `golden/format-<n>-<end>.hex` is the folder of a log of format n as a power cut would leave it after that end. The
//! dump is text: a line `file <name> <length>` for each file, followed by `<offset> <times> <bytes>` for each row of 32
//! bytes that is not all zero, with the number of consecutive repetitions. All numbers are hexadecimal. To write the
//! dumps of the current format, or of a new one:
//!
//! ```text
//! WRITE_GOLDEN=raft-log/tests/golden cargo test -p raftkit-log --test golden
//! ```
//!
//! A dump of a released format must never be written again.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::golden::disk_of;
use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, RealDisk, SimulatedDisk};
use raftkit_log::*;

const LINE_BYTES: usize = 32;
const CLUSTER: ClusterId = ClusterId(0xc1);

/// How the process that wrote a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The store was dropped.
    Clean,
    /// The power was cut after the last flush; everything unsynced was lost.
    Unclean,
}

impl End {
    const ALL: [Self; 2] = [Self::Clean, Self::Unclean];

    fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Unclean => "unclean",
        }
    }
}

/// The writes of the golden log of a format, one for each flush. They are part of the format: never change them,
/// because the dumps of format 1 cannot be produced again.
fn writes(format: u32) -> Vec<Write> {
    // Formats 1 and 2 do not store a promise; the one assumed is long enough for nearly any setting.
    let promise = Duration::from_millis(if format < 3 { 10_000 } else { 750 });
    let hard_state = |term, vote: Option<u64>, commit| {
        let (term, vote, commit) = (Term(term), vote.map(NodeId), LogIndex(commit));
        Some(HardState { term, vote, commit, promise, ..HardState::default() })
    };
    let noop = |term, index| Entry { id: LogId::new(term, index), payload: Payload::Noop };
    vec![
        append(1, vec![noop(1, 2), command(1, 3, 40), command(1, 4, 0)]),
        Write { hard_state: hard_state(2, Some(3), 4), ..append(2, Vec::new()) },
        append(3, vec![noop(2, 5), member(2, 6, 4), command(2, 7, 100), command(2, 8, 7)]),
        Write { compact_to: Some(LogIndex(5)), ..append(4, vec![command(2, 9, 60), command(2, 10, 61)]) },
        Write {
            truncate_from: Some(LogIndex(9)),
            hard_state: hard_state(4, Some(1), 8),
            ..append(5, vec![noop(4, 9), member(4, 10, 5), command(4, 11, 33)])
        },
        append(6, vec![command(4, 12, 250)]),
        Write { hard_state: hard_state(5, None, 11), ..append(7, vec![noop(5, 13)]) },
        append(8, vec![command(5, 14, 12), command(5, 15, 13)]),
    ]
}

/// The expected content of the golden log of a format, whatever its end.
fn model(format: u32) -> Model {
    let mut model = Model::default();
    model.form(CLUSTER, base(1, 1));
    writes(format).iter().for_each(|write| model.apply(write));
    model
}

/// Writes the log with this version, and ends as told.
fn write_log(end: End) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(CLUSTER, base(1, 1)).unwrap();
    for write in writes(present_format()) {
        store.queue(write);
        store.flush().unwrap();
        while store.compact_step().unwrap() == Compaction::More {}
    }
    match end {
        End::Clean => {}
        End::Unclean => disk.freeze(),
    }
    drop(store);
    disk.crash_losing_all_unsynced();
    disk
}

/// The format that this version writes.
fn present_format() -> u32 {
    open(&SimulatedDisk::new(1)).unwrap().0.identity().format
}

fn path(folder: &Path, format: u32, end: End) -> PathBuf {
    folder.join(format!("format-{format}-{}.hex", end.name()))
}

fn dump(disk: &SimulatedDisk) -> String {
    let mut text = String::new();
    for path in disk.list(Path::new(DIR)).unwrap() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == RealDisk::LOCK_FILE {
            continue;
        }
        let image = disk.durable(&path).unwrap();
        writeln!(text, "file {name} {:x}", image.len()).unwrap();
        let lines: Vec<_> = image.chunks(LINE_BYTES).collect();
        let mut at = 0;
        for same in lines.chunk_by(|one, next| one == next) {
            if same[0].iter().any(|byte| *byte != 0) {
                write!(text, "{at:x} {:x} ", same.len()).unwrap();
                same[0].iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
            }
            at += same.len() * LINE_BYTES;
        }
    }
    text
}

/// Opens the log, checks it, and continues with it over two more lives.
fn check(format: u32, disk: &SimulatedDisk) {
    let mut model = model(format);
    let (mut store, restored) = open(disk).unwrap();
    let identity = *store.identity();
    assert_eq!((identity.node, identity.store), (NodeId(1), StoreId(11)));
    assert_eq!(identity.incarnation, Incarnation(2), "it was opened once before");
    assert_eq!(restored, model.restored());
    model.check(&store);
    drop(store);

    (store, _) = open(disk).unwrap();
    assert_eq!(store.identity().incarnation, Incarnation(3));
    model.check(&store);
    let write = Write { truncate_from: Some(LogIndex(15)), ..append(1, vec![command(6, 15, 80)]) };
    model.apply(&write);
    store.queue(write);
    store.flush().unwrap();
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();

    (store, _) = open(disk).unwrap();
    model.check(&store);
}

/// Also fails when a new format has no dumps yet.
#[test]
fn a_log_of_every_format_so_far_opens_and_shows_what_was_written() {
    let present = present_format();
    if let Some(folder) = std::env::var_os("WRITE_GOLDEN") {
        // Tests run in their crate's folder, but the path is relative to the workspace.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(folder);
        for end in End::ALL {
            std::fs::write(path(&folder, present, end), dump(&write_log(end))).unwrap();
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for format in 1..=present {
        for end in End::ALL {
            let path = path(&folder, format, end);
            let dump = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            println!("{path:?}");
            check(format, &disk_of(&dump));
        }
    }
}

#[test]
fn a_dump_holds_all_that_a_power_cut_leaves() {
    for end in End::ALL {
        let written = write_log(end);
        let dump = dump(&written);
        let again = disk_of(&dump);
        for path in written.list(Path::new(DIR)).unwrap() {
            if path.file_name().is_some_and(|name| name != RealDisk::LOCK_FILE) {
                assert_eq!(written.durable(&path), again.durable(&path));
            }
        }
        check(present_format(), &again);
    }
}
