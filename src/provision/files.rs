//! Files that are put in place whole or not at all, and never over an existing one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::certificates::Pair;
use super::{Error, Report};

/// What will be written, and what stays. Nothing touches the disk before [`Plan::write`].
#[derive(Default)]
pub(super) struct Plan {
    new: Vec<(PathBuf, Zeroizing<String>)>,
    kept: Vec<PathBuf>,
}

impl Plan {
    pub(super) fn add(&mut self, path: PathBuf, content: Zeroizing<String>) {
        self.new.push((path, content));
    }

    pub(super) fn add_pair(&mut self, dir: &Path, name: &str, pair: Pair) {
        self.add(certificate_file(dir, name), Zeroizing::new(pair.certificate));
        self.add(key_file(dir, name), pair.key);
    }

    pub(super) fn add_unless_kept(
        &mut self,
        path: PathBuf,
        make: impl FnOnce() -> Result<Zeroizing<String>, Error>,
    ) -> Result<(), Error> {
        if exists(&path)? {
            self.keep(path);
        } else {
            self.add(path, make()?);
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, path: PathBuf) {
        self.kept.push(path);
    }

    pub(super) fn keep_pair(&mut self, dir: &Path, name: &str) {
        self.keep(certificate_file(dir, name));
        self.keep(key_file(dir, name));
    }

    /// Whether it is decided what becomes of the file.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.is_new(path) || self.kept.iter().any(|kept| kept == path)
    }

    pub(super) fn is_new(&self, path: &Path) -> bool {
        self.new.iter().any(|(new, _)| new == path)
    }

    /// What the file will hold after [`Plan::write`]: from the plan, or else from the disk.
    pub(super) fn content(&self, path: &Path) -> Result<Zeroizing<String>, Error> {
        match self.new.iter().find(|(new, _)| new == path) {
            Some((_, content)) => Ok(content.clone()),
            None => read(path),
        }
    }

    /// Writes everything under temporary names first, where a full disk does no harm, and then gives each file its
    /// name, which either succeeds at once or fails because the name is taken.
    pub(super) fn write(self) -> Result<Report, Error> {
        let mut staged = Vec::with_capacity(self.new.len());
        for (path, content) in self.new {
            staged.push((stage(&path, content.as_bytes())?, path));
        }
        let mut written: Vec<PathBuf> = Vec::with_capacity(staged.len());
        for (file, path) in staged {
            if let Err(refusal) = file.persist_noclobber(&path) {
                // Half a set would be kept by the next run, so what this run made goes again.
                for path in &written {
                    let _ = fs::remove_file(path);
                }
                return Err(failed("create", &path)(refusal.error));
            }
            written.push(path);
        }
        let mut folders: Vec<&Path> = written.iter().map(|path| folder_of(path)).collect();
        folders.dedup();
        for folder in folders {
            // A new name is durable once its folder is.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("flush", folder))?;
        }
        Ok(Report { written, kept: self.kept })
    }
}

/// A flushed temporary file, mode 0600, in the folder where it will get its name; gone when dropped.
fn stage(path: &Path, content: &[u8]) -> Result<NamedTempFile, Error> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create the folder", folder))?;
    let mut file = tempfile::Builder::new()
        .prefix(".stratus-init-")
        .tempfile_in(folder)
        .map_err(failed("create a file in", folder))?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(failed("write", path))?;
    Ok(file)
}

/// Whether the name is taken, be it by a symbolic link that leads nowhere.
pub(super) fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(false),
        Err(fault) => Err(failed("look at", path)(fault)),
    }
}

/// Whether `name.crt` and `name.key` exist, which they must both or neither.
pub(super) fn pair_exists(dir: &Path, name: &str) -> Result<bool, Error> {
    let (certificate, key) = (certificate_file(dir, name), key_file(dir, name));
    match (exists(&certificate)?, exists(&key)?) {
        (true, false) => Err(Error::HalfPair { present: certificate, missing: key }),
        (false, true) => Err(Error::HalfPair { present: key, missing: certificate }),
        (both, _) => Ok(both),
    }
}

pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed("read", path))
}

/// Whether two paths lead to one folder, which need not exist yet.
pub(super) fn same_folder(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    a == b || real(a).is_some_and(|real_a| real(b) == Some(real_a))
}

fn certificate_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.crt"))
}

fn key_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

/// The folder of a file; a bare file name lies in the working directory.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_name_taken_meanwhile_is_not_overwritten_and_the_rest_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = Plan::default();
        plan.add(dir.path().join("first"), secret("1"));
        plan.add(dir.path().join("second"), secret("2"));
        fs::write(dir.path().join("second"), "theirs").unwrap();

        let message = plan.write().unwrap_err().to_string();

        assert!(message.contains("second"), "{message}");
        assert_eq!(fs::read_to_string(dir.path().join("second")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_dangling_link_takes_a_name_and_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(exists(&link).unwrap());

        let mut plan = Plan::default();
        plan.add(link, secret("1"));
        plan.write().unwrap_err();
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn one_folder_is_recognised_under_two_names() {
        let dir = tempfile::tempdir().unwrap();
        assert!(same_folder(dir.path(), &dir.path().join(".")));
        assert!(same_folder(&dir.path().join("new"), &dir.path().join("./new")));
        assert!(!same_folder(dir.path(), &dir.path().join("new")));
    }
}
