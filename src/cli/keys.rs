//! `stratus key new|add|retire`.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::{Failed, complain, fail, say};
use crate::crypto::{KeyFault, Keyring, generate_key_line, key_ids};

pub(super) fn new() -> Result<(), Failed> {
    let line = generate_key_line().map_err(|error| fail(1, error))?;
    say(line.as_str());
    Ok(())
}

pub(super) fn add(file: &Path) -> Result<(), Failed> {
    let old = match fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Zeroizing::new(String::new()),
        Err(error) => return Err(fail(1, format!("cannot read {}: {error}", file.display()))),
    };
    // Before the new line comes on top, so that the faults name the lines that the user sees.
    match Keyring::parse(&old) {
        Err(faults) if faults != [KeyFault::Empty] => return Err(broken(file, &faults)),
        _ => {}
    }
    let line = generate_key_line().map_err(|error| fail(1, error))?;
    replace(file, &Zeroizing::new(format!("{}\n{}", line.as_str(), old.as_str())))?;
    let id = line.split(':').next().unwrap_or_default();
    say(format!("added {id} at the head of {}: it seals once the service has read the file again", file.display()));
    Ok(())
}

pub(super) fn retire(file: &Path, id: &str) -> Result<(), Failed> {
    let text = fs::read_to_string(file).map_err(|error| fail(1, format!("cannot read {}: {error}", file.display())))?;
    let text = Zeroizing::new(text);
    // First, because what stands before a colon in a broken file may be anything, even a key, and ids are printed.
    Keyring::parse(&text).map_err(|faults| broken(file, &faults))?;
    let ids = key_ids(&text);
    let Some(position) = ids.iter().position(|(_, known)| *known == id) else {
        let known: Vec<_> = ids.iter().map(|(_, id)| *id).collect();
        return Err(fail(1, format!("{} has no key `{id}`; it has: {}", file.display(), known.join(", "))));
    };
    if position == 0 {
        return Err(fail(
            1,
            format!("`{id}` is the key that seals: put a new one before it first, with `stratus key add`"),
        ));
    }
    let line_number = ids[position].0;
    let kept: Zeroizing<String> = Zeroizing::new(
        text.lines()
            .enumerate()
            .filter(|(index, _)| index + 1 != line_number)
            .flat_map(|(_, line)| [line, "\n"])
            .collect(),
    );
    replace(file, &kept)?;
    say(format!(
        "retired {id}: records that it sealed count as absent once the service has read {} again",
        file.display()
    ));
    Ok(())
}

/// Tells every fault of a key file.
fn broken(file: &Path, faults: &[KeyFault]) -> Failed {
    for fault in faults {
        complain(format!("stratus: {}: {fault}", file.display()));
    }
    Failed(1)
}

/// Writes the file anew beside the old one and moves it into place, so that a crash leaves one of the two, whole. It keeps
/// owner, group and mode, but never lets others read it; a new one can be read by its owner only. A text that the service would refuse is not written.
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
            new.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o770))?;
        }
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| fail(1, format!("cannot write {}: {error}", file.display())))
}
