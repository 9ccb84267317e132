//! Files that are written whole or not at all.
//!
//! Not here: what is in them. Invariant: a full disk, or an end in the middle, leaves what was
//! there before and no other file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to `path`: all of them, durably, or nothing (if it is a file or none yet).
///
/// # Errors
/// What the file system says; nothing has changed then.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A pipe or a device is written to, never replaced by a file.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(temporary_name);
    let written = write_durably(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The half-written file helps nobody; a failure to remove it changes nothing for the user.
        let _ = std::fs::remove_file(&temporary);
        return written;
    }
    // The rename is durable once the directory is; not every file system can do it, so it may fail.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let _ = File::open(directory.unwrap_or_else(|| Path::new(".")))
        .and_then(|folder| folder.sync_all());
    Ok(())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_is_replaced_and_nothing_else_is_left() {
        let folder = std::env::temp_dir().join(format!("loadgen-whole-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        std::fs::write(&path, "older and longer").unwrap();
        write(&path, b"newer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        assert!(write_durably(Path::new("/dev/full"), b"x").is_err());
        // A device that refuses every byte, as a full disk does; behind a link, so that replacing
        // it by mistake would cost the link alone.
        let link = std::env::temp_dir().join(format!("loadgen-full-{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        assert!(write(&link, b"x").is_err());
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        std::fs::remove_file(&link).unwrap();
        assert!(write(Path::new("/nowhere/file"), b"x").is_err());
    }
}
