//! Writes the copy of the workspace that the mutants are woven into. Files that have not changed are not written again, so
//! that cargo does not build them again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::Failure;

/// Names that are not copied, in any folder; neither are names that begin with a dot.
const SKIPPED: &[&str] = &["target", "raftkit-data"];

/// Makes `folder` a copy of `root` in which the files of `woven` replace the original ones.
///
/// # Errors
/// A file cannot be read, written or removed.
pub(super) fn write(root: &Path, folder: &Path, woven: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut kept: BTreeSet<PathBuf> = woven.keys().map(PathBuf::from).collect();
    for (path, text) in woven {
        write_changed(&folder.join(path), text.as_bytes())?;
    }
    for path in files(root)? {
        if kept.insert(path.clone()) {
            let from = root.join(&path);
            let bytes = fs::read(&from).map_err(Failure::of(format!("cannot read {}", from.display())))?;
            write_changed(&folder.join(&path), &bytes)?;
        }
    }
    for path in files(folder)?.into_iter().filter(|path| !kept.contains(path)) {
        let path = folder.join(path);
        fs::remove_file(&path).map_err(Failure::of(format!("cannot remove {}", path.display())))?;
    }
    Ok(())
}

fn write_changed(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let failed = || Failure::of(format!("cannot write {}", path.display()));
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed())?;
    fs::write(path, bytes).map_err(failed())
}

/// Returns the paths of all files below a folder, relative to it.
fn files(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        let failed = || Failure::of(format!("cannot read {}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let path = entry.path();
            if entry.file_type().map_err(failed())?.is_dir() {
                open.push(path);
            } else if let Ok(path) = path.strip_prefix(root) {
                found.push(path.to_path_buf());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_like_its_original_but_for_what_is_woven() {
        let base = std::env::temp_dir().join(format!("raftkit-scratch-{}", std::process::id()));
        let (root, folder) = (base.join("root"), base.join("copy"));
        let put = |path: &str, text: &str| write_changed(&root.join(path), text.as_bytes()).expect("written");
        put("a/lib.rs", "a");
        put("a/b.rs", "b");
        put("target/c", "c");
        write(&root, &folder, &BTreeMap::from([("a/b.rs".to_owned(), "woven".to_owned())])).expect("copied");
        let read = |path: &str| fs::read_to_string(folder.join(path)).ok();
        assert_eq!(
            ["a/lib.rs", "a/b.rs", "target/c"].map(read),
            [Some("a"), Some("woven"), None].map(|it| it.map(str::to_owned))
        );
        let modified =
            |path: &str| fs::metadata(folder.join(path)).and_then(|it| it.modified()).expect("it is there");
        let before = modified("a/lib.rs");
        fs::remove_file(root.join("a/b.rs")).expect("removed");
        write(&root, &folder, &BTreeMap::new()).expect("copied");
        assert_eq!((read("a/b.rs"), modified("a/lib.rs")), (None, before));
        fs::remove_dir_all(base).expect("removed");
    }
}
