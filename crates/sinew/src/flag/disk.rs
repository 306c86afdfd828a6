//! A copy of the document on disk, for a start without Redis. Plain keys are not in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::backend::Stored;

/// The longest copy, in bytes: a document, and a line before it.
const COPY_LEN_MAX: u64 = 8 << 20;

/// Where the copy is, and of which flags.
#[derive(Clone, Debug)]
pub(super) struct DiskCopy {
    pub(super) path: PathBuf,
    /// The key of the document: tenant and environment are in it.
    pub(super) key: String,
}

/// The first line. The document follows.
#[derive(Deserialize, Serialize)]
struct Head {
    flags_of: String,
    version: u64,
    sha256: String,
}

impl DiskCopy {
    /// What is there; `None` where nothing is.
    ///
    /// # Errors
    /// Why it is of no use.
    pub(super) fn read(&self) -> Result<Option<Stored>, String> {
        let mut copy = match File::open(&self.path) {
            Ok(file) => file.take(COPY_LEN_MAX + 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > COPY_LEN_MAX {
            return Err(format!("expected at most {COPY_LEN_MAX} bytes"));
        }
        let bytes = Bytes::from(bytes);
        let head_len = bytes.iter().position(|byte| *byte == b'\n').ok_or("expected two lines")?;
        let head: Head = serde_json::from_slice(&bytes[..head_len])
            .map_err(|_| "expected a first line that Sinew has written")?;
        let body = bytes.slice(head_len + 1..);
        if head.flags_of != self.key {
            return Err(format!("expected the flags of {}", self.key));
        }
        if head.sha256 != digest(&self.key, head.version, &body) {
            return Err("it is damaged: its digest is another".to_owned());
        }
        Ok(Some(Stored { version: head.version, body }))
    }

    /// Writes it aside, and puts it in place as a whole.
    fn write(&self, copy: &Stored) -> io::Result<()> {
        let head = Head {
            flags_of: self.key.clone(),
            version: copy.version,
            sha256: digest(&self.key, copy.version, &copy.body),
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        // Another process may write the same copy.
        let aside = self.path.with_file_name(format!(".{name}.{:016x}", fastrand::u64(..)));
        let written =
            write_new(&aside, &head, &copy.body).and_then(|()| fs::rename(&aside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }

    /// Writes what there is to write, the latest only, until no one brings more.
    pub(super) async fn keep(self, mut copies: watch::Receiver<Option<Stored>>) {
        let mut was_well = true;
        while copies.changed().await.is_ok() {
            let Some(copy) = copies.borrow_and_update().clone() else { continue };
            let disk = self.clone();
            let written = tokio::task::spawn_blocking(move || disk.write(&copy)).await;
            let written = written.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            if let (Err(error), true) = (&written, was_well) {
                let path = self.path.display();
                tracing::warn!(%path, %error, "flags cannot be copied to disk: a start without Redis will not know them");
            }
            was_well = written.is_ok();
        }
    }
}

fn write_new(path: &Path, head: &Head, body: &[u8]) -> io::Result<()> {
    // It may name users: for no one else to read.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(head)?)?;
    file.write_all(b"\n")?;
    file.write_all(body)?;
    file.sync_all()
}

fn digest(key: &str, version: u64, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::new().chain_update(key).chain_update(version.to_be_bytes());
    let mut text = String::with_capacity(64);
    for byte in digest.chain_update(body).finalize() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy_in(folder: &Path, key: &str) -> DiskCopy {
        DiskCopy { path: folder.join("flags"), key: key.to_owned() }
    }

    #[test]
    fn a_copy_is_read_as_it_was_written_and_by_its_own_flags_only() {
        let folder = tempfile::tempdir().unwrap();
        let copy = copy_in(folder.path(), "acme:flag:{acme:prod}:doc");
        assert_eq!(copy.read(), Ok(None));
        for version in [1, 2] {
            let stored = Stored { version, body: Bytes::from_static(b"{\"flags\":{}}\n\n") };
            copy.write(&stored).unwrap();
            assert_eq!(copy.read(), Ok(Some(stored)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
        let other = copy_in(folder.path(), "acme:flag:{acme:test}:doc");
        assert!(other.read().unwrap_err().contains("acme:flag:{acme:test}:doc"));
    }

    #[test]
    fn no_damage_to_a_copy_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let copy = copy_in(folder.path(), "k");
        copy.write(&Stored { version: 7, body: Bytes::from_static(b"{\"flags\":{}}") }).unwrap();
        let good = fs::read(&copy.path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&copy.path, bad).unwrap();
            assert!(copy.read().is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            fs::write(&copy.path, &good[..len]).unwrap();
            assert!(copy.read().is_err(), "{len} bytes");
        }
        fs::write(&copy.path, good).unwrap();
        assert!(copy.read().is_ok());
    }
}
