//! Folders of earlier formats, restored from dumps; `tests/golden.rs` describes the dumps.

use std::path::Path;

use raftkit_disk::{Disk, OpenMode, SimulatedDisk, create_dir_all_durably};

use super::DIR;

/// The dump of a folder of this format, after this end.
pub(crate) fn text(format: u32, end: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read_to_string(folder.join(format!("format-{format}-{end}.hex"))).unwrap()
}

/// Creates a disk with the dumped folder.
pub(crate) fn disk_of(dump: &str) -> SimulatedDisk {
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    let disk = SimulatedDisk::new(1);
    create_dir_all_durably(&disk, Path::new(DIR)).unwrap();
    let mut file = None;
    for line in dump.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["file", name, length] => {
                let made = disk.open(&Path::new(DIR).join(name), OpenMode::New).unwrap();
                made.set_len(number(length)).unwrap();
                file = Some(made);
            }
            [offset, times, hex] => {
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
                let bytes = bytes.repeat(usize::try_from(number(times)).unwrap());
                file.as_ref().unwrap().write_at(number(offset), &bytes).unwrap();
            }
            _ => panic!("no line of a dump: {line}"),
        }
    }
    for path in disk.list(Path::new(DIR)).unwrap() {
        disk.open(&path, OpenMode::Existing).unwrap().sync().unwrap();
    }
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk
}
