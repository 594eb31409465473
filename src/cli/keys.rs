//! `stratus key new|add|promote|retire`.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::{Failed, complain, fail, say};
use crate::crypto::{KeyFault, Keyring, generate_key_line, key_ids};

/// What a key file keeps of its mode: all else the service refuses.
const KEPT_MODE: u32 = 0o640;

pub(super) fn new() -> Result<(), Failed> {
    let line = generate_key_line().map_err(|error| fail(1, error))?;
    say(line.as_str());
    Ok(())
}

pub(super) fn add(file: &Path, standby: bool) -> Result<(), Failed> {
    let old = match fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Zeroizing::new(String::new()),
        Err(error) => return Err(fail(1, format!("cannot read {}: {error}", file.display()))),
    };
    // Before the new line comes in, so that the faults name the lines that the user sees.
    match Keyring::parse(&old) {
        Err(faults) if faults != [KeyFault::Empty] => return Err(broken(file, &faults)),
        _ => {}
    }
    // Behind the line of the key that seals, if there is one to stand by for.
    let before = key_ids(&old).first().map_or(0, |(number, _)| if standby { *number } else { 0 });
    let line = generate_key_line().map_err(|error| fail(1, error))?;
    let mut lines: Vec<_> = old.lines().collect();
    lines.insert(before, &line);
    replace(file, &joined(&lines))?;
    let (id, file) = (line.split(':').next().unwrap_or_default(), file.display());
    say(match before {
        0 => format!("added {id} at the head of {file}: it seals once the service has read the file again"),
        _ => format!(
            "added {id} to {file}: it opens once every replica has read the file again, and seals once promoted"
        ),
    });
    Ok(())
}

pub(super) fn promote(file: &Path, id: &str) -> Result<(), Failed> {
    let text = read_good(file)?;
    let ids = key_ids(&text);
    let number = line_of(file, &ids, id)?;
    let head = ids[0].0;
    if number == head {
        return Err(fail(1, format!("`{id}` is the key that seals already")));
    }
    let mut lines: Vec<_> = text.lines().collect();
    let promoted = lines.remove(number - 1);
    lines.insert(head - 1, promoted);
    replace(file, &joined(&lines))?;
    let file = file.display();
    say(format!("promoted {id} in {file}: it seals once the service has read the file again, the others still open"));
    Ok(())
}

pub(super) fn retire(file: &Path, id: &str) -> Result<(), Failed> {
    let text = read_good(file)?;
    let ids = key_ids(&text);
    let number = line_of(file, &ids, id)?;
    if number == ids[0].0 {
        return Err(fail(
            1,
            format!("`{id}` is the key that seals: put a new one before it first, with `stratus key add`"),
        ));
    }
    let mut lines: Vec<_> = text.lines().collect();
    lines.remove(number - 1);
    replace(file, &joined(&lines))?;
    say(format!(
        "retired {id}: records that it sealed count as absent once the service has read {} again",
        file.display()
    ));
    Ok(())
}

/// The text of a key file without faults. With them what stands before a colon may be anything, even a key, and ids are
/// printed.
fn read_good(file: &Path) -> Result<Zeroizing<String>, Failed> {
    let text = fs::read_to_string(file).map_err(|error| fail(1, format!("cannot read {}: {error}", file.display())))?;
    let text = Zeroizing::new(text);
    Keyring::parse(&text).map_err(|faults| broken(file, &faults))?;
    Ok(text)
}

/// The number of the line, from 1, of the key `id`.
fn line_of(file: &Path, ids: &[(usize, &str)], id: &str) -> Result<usize, Failed> {
    ids.iter().find(|(_, known)| *known == id).map(|(number, _)| *number).ok_or_else(|| {
        let known: Vec<_> = ids.iter().map(|(_, id)| *id).collect();
        fail(1, format!("{} has no key `{id}`; it has: {}", file.display(), known.join(", ")))
    })
}

fn joined(lines: &[&str]) -> Zeroizing<String> {
    // Room for all: a growing String would leave parts of keys behind in memory.
    let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|line| line.len() + 1).sum()));
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Tells every fault of a key file.
fn broken(file: &Path, faults: &[KeyFault]) -> Failed {
    for fault in faults {
        complain(format!("stratus: {}: {fault}", file.display()));
    }
    Failed(1)
}

/// Writes the file anew beside the old one and moves it into place, so that a crash leaves one of the two, whole. It keeps
/// owner, group and who of them can read it, but never lets the group change it or others read it; a new one can be read
/// by its owner only. A text that the service would refuse is not written.
fn replace(file: &Path, text: &str) -> Result<(), Failed> {
    Keyring::parse(text).map_err(|faults| broken(file, &faults))?;
    // The file itself, not a link to it, which others may follow too.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = NamedTempFile::new_in(dir).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        // Whoever could read the old one has to be able to read the new one.
        if let Ok(old) = fs::metadata(file) {
            fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            new.as_file().set_permissions(Permissions::from_mode(old.mode() & KEPT_MODE))?;
        }
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| fail(1, format!("cannot write {}: {error}", file.display())))
}
