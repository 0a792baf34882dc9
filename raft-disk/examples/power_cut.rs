//! A store of one value, tested against power cuts at every call to the disk: once as it should be, and once without its
//! sync, to see the test notice. `cargo run -p raftkit-disk --example power_cut`

use std::io;
use std::path::Path;

use raftkit_disk::{Disk, OpenMode, SimulatedDisk, create_aside, replace_durably};

const VALUE: &str = "/value";
const ASIDE: &str = "/value.new";

/// Saves a value so that a power cut leaves either the old value or the new one.
fn save(disk: &dyn Disk, value: &[u8]) -> io::Result<()> {
    let file = create_aside(disk, Path::new(ASIDE))?;
    file.write_at(0, value)?;
    Ok(replace_durably(disk, &*file, Path::new(ASIDE), Path::new(VALUE))?)
}

/// Does the same, but renames the file before its bytes are durable.
fn save_without_sync(disk: &dyn Disk, value: &[u8]) -> io::Result<()> {
    let file = create_aside(disk, Path::new(ASIDE))?;
    file.write_at(0, value)?;
    disk.rename(Path::new(ASIDE), Path::new(VALUE))?;
    disk.sync_dir(Path::new("/"))
}

fn load(disk: &dyn Disk) -> io::Result<Vec<u8>> {
    let file = disk.open(Path::new(VALUE), OpenMode::Existing)?;
    let mut value = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(0, &mut value)?;
    Ok(value)
}

/// Returns the first seed and call at which a power cut leaves neither the old value nor the new one.
fn first_loss(save_new: fn(&dyn Disk, &[u8]) -> io::Result<()>) -> io::Result<Option<(u64, u64)>> {
    for seed in 0..100 {
        for call in 0.. {
            let disk = SimulatedDisk::new(seed);
            save(&disk, b"old")?;
            disk.crash_at_call(call);
            let saved = save_new(&disk, b"new").is_ok();
            disk.crash();
            let value = load(&disk)?;
            if value != b"new" && (saved || value != b"old") {
                return Ok(Some((seed, call)));
            }
            if saved {
                break;
            }
        }
    }
    Ok(None)
}

fn main() -> io::Result<()> {
    println!("with its sync: {:?}", first_loss(save)?);
    println!("without its sync, a value is lost at (seed, call): {:?}", first_loss(save_without_sync)?);
    Ok(())
}
