//! Secrets and the files they come from.
//!
//! A secret is a type whose `Debug` says nothing and which is wiped on drop. Where it was given as a file, the file is
//! read again each time the secret is needed anew, so a replaced password works without a restart.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

/// Why a secret cannot be used. The messages name files, never contents.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Everybody on the machine can read the file.
    #[error(
        "{path} can be read by everybody on this machine: run `chmod 600 {path}` (Kubernetes: defaultMode 0440, fsGroup \
         and insecure.allow_group_readable_secrets = true)"
    )]
    WorldReadable {
        /// The file.
        path: PathBuf,
    },
    /// The file's group can read or change it.
    #[error(
        "{path} can be read by its group: run `chmod 600 {path}`; where it has to be so (Kubernetes with fsGroup), set \
         insecure.allow_group_readable_secrets = true"
    )]
    GroupReadable {
        /// The file.
        path: PathBuf,
    },
    /// The file's group may read it, but can change it, too.
    #[error("{path} can be changed by its group: run `chmod 640 {path}`")]
    GroupWritable {
        /// The file.
        path: PathBuf,
    },
    /// It is a folder, a device or a pipe.
    #[error("{path} is not a regular file: give the path of one")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing in the file.
    #[error("{path} is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Where a secret is kept: in the configuration itself or in a file.
#[derive(Debug, Clone)]
pub enum Secret {
    /// The secret itself.
    Inline(SecretString),
    /// A file that holds it.
    File {
        /// Its path.
        path: PathBuf,
        /// Who else may read it.
        readers: Readers,
    },
}

impl Secret {
    /// The secret as it is now.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or is readable by others than [`Readers`] says.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File { path, readers } => read_secret_file(path, *readers),
        }
    }
}

/// Who may read a secret file, besides root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner.
    Owner,
    /// Its owner and its group (`insecure.allow_group_readable_secrets`). The group still may not change it.
    OwnerAndGroup,
    /// The one user whom systemd gave it to, as a credential of the service (systemd.exec(5), `LoadCredential=`): the file is
    /// root's, and an access control list lets that user read it. What stands in the place of the group's rights is then the
    /// most that the list may give (acl(5)), and no right of the group. Nobody may change it.
    Credential,
}

/// Where systemd puts the credentials of a service, in its environment (systemd.exec(5)).
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Whether a file lies in the folder that systemd made for the credentials of this service: right in it, links followed, and
/// only if nobody but the folder's owner can put files there.
pub fn is_credential(path: &Path, directory: &Path) -> bool {
    let (Ok(file), Ok(directory)) = (path.canonicalize(), directory.canonicalize()) else { return false };
    let closed = fs::metadata(&directory).is_ok_and(|metadata| metadata.permissions().mode() & WRITE_OF_OTHERS == 0);
    closed && file.parent() == Some(&directory)
}

/// Reads a secret file, less the one line end that editors and `echo` put after it.
///
/// # Errors
/// The file cannot be read, is empty, or is readable by others.
pub fn read_secret_file(path: &Path, readers: Readers) -> Result<SecretString, SecretError> {
    // Looked at by path first, because opening a pipe waits; then once more through the open file, which nobody can
    // exchange any more.
    refuse_readable_by_others(path, readers)?;
    let unreadable = |error| SecretError::Read { path: path.to_owned(), error };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    refuse(path, &file.metadata().map_err(unreadable)?, readers)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unreadable)?;
    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
    let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
    if trimmed.is_empty() {
        return Err(SecretError::Empty { path: path.to_owned() });
    }
    Ok(SecretString::from(trimmed))
}

/// Refuses a file whose mode lets others read it, and what is no regular file.
///
/// # Errors
/// It is such a one, or cannot be looked at.
pub fn refuse_readable_by_others(path: &Path, readers: Readers) -> Result<(), SecretError> {
    refuse(path, &look_at(path)?, readers)
}

/// The same where the setting is not known: whoever comes later than the start, which asked for all of it.
///
/// # Errors
/// Everybody can read the file, it is no regular one, or cannot be looked at.
pub fn refuse_world_readable(path: &Path) -> Result<(), SecretError> {
    refuse_readable_by_others(path, Readers::OwnerAndGroup)
}

/// Whether a file's group can read it; not, if it cannot be looked at.
pub fn is_group_readable(path: &Path) -> bool {
    look_at(path).is_ok_and(|metadata| metadata.permissions().mode() & GROUP != 0)
}

/// What the mode of a file gives to its group, and of that what changes the file, and what it gives to everybody else.
const GROUP: u32 = 0o070;
const GROUP_WRITE: u32 = 0o020;
const OTHERS: u32 = 0o007;
/// What the mode of a folder gives to its group and everybody else to put files into it.
const WRITE_OF_OTHERS: u32 = 0o022;

fn look_at(path: &Path) -> Result<fs::Metadata, SecretError> {
    fs::metadata(path).map_err(|error| SecretError::Read { path: path.to_owned(), error })
}

fn refuse(path: &Path, metadata: &fs::Metadata, readers: Readers) -> Result<(), SecretError> {
    let (mode, path) = (metadata.permissions().mode(), path.to_owned());
    if !metadata.is_file() {
        return Err(SecretError::NotAFile { path });
    }
    if mode & OTHERS != 0 {
        return Err(SecretError::WorldReadable { path });
    }
    match readers {
        Readers::Owner if mode & GROUP != 0 => Err(SecretError::GroupReadable { path }),
        Readers::OwnerAndGroup | Readers::Credential if mode & GROUP_WRITE != 0 => {
            Err(SecretError::GroupWritable { path })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn file(contents: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), contents).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn one_line_end_is_cut_and_nothing_else() {
        for (contents, expected) in [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s \n\n", " s \n")] {
            let file = file(contents, 0o600);
            assert_eq!(read_secret_file(file.path(), Readers::Owner).unwrap().expose_secret(), expected);
        }
    }

    #[test]
    fn a_world_readable_an_empty_and_a_missing_file_are_refused_with_the_fix() {
        let open = file("s3cret", 0o644);
        let error = read_secret_file(open.path(), Readers::Owner).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        assert!(matches!(read_secret_file(file("\n", 0o600).path(), Readers::Owner), Err(SecretError::Empty { .. })));
        assert!(matches!(read_secret_file(Path::new("/nonexistent/x"), Readers::Owner), Err(SecretError::Read { .. })));
        for path in ["/dev/null", "/tmp"] {
            assert!(
                matches!(read_secret_file(Path::new(path), Readers::Owner), Err(SecretError::NotAFile { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn a_group_reads_only_where_that_is_allowed_and_never_writes() {
        use SecretError::{GroupReadable, GroupWritable, WorldReadable};
        for mode in [0o640, 0o440, 0o610, 0o660] {
            let read = read_secret_file(file("s3cret", mode).path(), Readers::Owner);
            assert!(matches!(read, Err(GroupReadable { .. })), "{mode:o}: {read:?}");
        }
        for mode in [0o600, 0o400, 0o640, 0o440] {
            let read = read_secret_file(file("s3cret", mode).path(), Readers::OwnerAndGroup);
            assert_eq!(read.expect("allowed").expose_secret(), "s3cret", "{mode:o}");
        }
        let allowed = |mode| read_secret_file(file("s3cret", mode).path(), Readers::OwnerAndGroup);
        assert!(matches!(allowed(0o660), Err(GroupWritable { .. })));
        assert!(matches!(allowed(0o644), Err(WorldReadable { .. })));
    }

    #[test]
    fn a_credential_of_systemd_shows_what_its_list_gives_and_nobody_may_change_it() {
        for mode in [0o400, 0o440, 0o600] {
            assert!(read_secret_file(file("s3cret", mode).path(), Readers::Credential).is_ok(), "{mode:o}");
        }
        for mode in [0o460, 0o660, 0o444, 0o404] {
            assert!(read_secret_file(file("s3cret", mode).path(), Readers::Credential).is_err(), "{mode:o}");
        }
    }

    #[test]
    fn a_credential_lies_right_in_its_folder_which_only_its_owner_fills() {
        let around = tempfile::tempdir().unwrap();
        let (given, below, beside) = (around.path().join("given"), around.path().join("given/below"), "given-too");
        let beside = around.path().join(beside);
        for folder in [&given, &below, &beside] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("secret"), "s3cret").unwrap();
        }
        std::os::unix::fs::symlink(beside.join("secret"), given.join("link")).unwrap();
        std::os::unix::fs::symlink(given.join("secret"), beside.join("link")).unwrap();
        let is = |path: &Path| is_credential(path, &given);
        assert!(is(&given.join("secret")) && is(&below.join("../secret")) && is(&beside.join("link")));
        assert!(is_credential(&given.join("secret"), &below.join("..")), "however the folder is written");
        for other in
            [below.join("secret"), beside.join("secret"), given.join("link"), given.join("none"), given.clone()]
        {
            assert!(!is(&other), "{other:?}");
        }
        fs::set_permissions(&given, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(!is(&given.join("secret")), "its group can put files there");
    }

    #[test]
    fn a_replaced_file_is_read_anew_and_debug_shows_nothing() {
        let file = file("one", 0o600);
        let secret = Secret::File { path: file.path().to_owned(), readers: Readers::Owner };
        assert_eq!(secret.read().unwrap().expose_secret(), "one");
        fs::write(file.path(), "two").unwrap();
        assert_eq!(secret.read().unwrap().expose_secret(), "two");
        let inline = Secret::Inline(SecretString::from("hidden"));
        assert!(!format!("{inline:?}").contains("hidden"));
    }
}
