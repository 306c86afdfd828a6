//! Checkpoints in a file: a line a partition, the newest first.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use super::checkpoint::CHECKPOINTS_MAX;
use super::model::Checkpoint;
use crate::kernel::error::{Error, Result};

const HEADER: &str = "sinew checkpoints 1";
/// Longer ones are not ours.
const FILE_LEN_MAX: u64 = 1 << 20;

/// The file of one group.
pub(super) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// The file of a group in a folder that many may share. `scope` is what tells tenants apart.
    ///
    /// # Errors
    /// `Misconfigured` where the folder cannot be made.
    pub(super) fn open(folder: &Path, scope: &str, topic: &str, group: &str) -> Result<Self> {
        let folder = folder.join(file_name_of(scope));
        std::fs::create_dir_all(&folder).map_err(|error| {
            let told = format!("no folder for checkpoints at {}", folder.display());
            Error::misconfigured(told).with_source(error)
        })?;
        // Neither name has a tilde in it.
        Ok(Self { path: folder.join(format!("{topic}~{group}")) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was written last; nothing where nothing was, or what is there cannot be read.
    pub(super) fn read(&self) -> HashMap<u16, Vec<Checkpoint>> {
        let text = std::fs::metadata(&self.path).and_then(|file| match file.len() {
            ..=FILE_LEN_MAX => std::fs::read_to_string(&self.path),
            _ => Err(io::Error::other("the file is too long")),
        });
        match text {
            Ok(text) => parse(&text).unwrap_or_else(|| {
                let path = self.path.display();
                tracing::warn!(%path, "the checkpoints of a group are damaged, and left out");
                HashMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the checkpoints of a group could not be read");
                HashMap::new()
            }
        }
    }

    /// Writes those of some partitions beside what is there, or leaves what is there. One that has none is removed.
    pub(super) fn write(&self, some: &HashMap<u16, Vec<Checkpoint>>) -> io::Result<()> {
        // Other processes own the other partitions. Of two that write at once the later one's next write mends it.
        let mut all = self.read();
        all.extend(some.iter().map(|(partition, its)| (*partition, its.clone())));
        all.retain(|_, its| !its.is_empty());
        // A name of its own: in containers that share a folder every process has the same number.
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!("~{:016x}", fastrand::u64(..)));
        let aside = PathBuf::from(aside);
        let written = std::fs::File::create(&aside).and_then(|mut file| {
            file.write_all(told(&all).as_bytes())?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| std::fs::rename(&aside, &self.path));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        renamed
    }
}

/// A name that every file system takes, another one for each text.
fn file_name_of(scope: &str) -> String {
    let mut name = String::from("of-");
    for byte in scope.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                name.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    name
}

fn told(all: &HashMap<u16, Vec<Checkpoint>>) -> String {
    let mut text = format!("{HEADER}\n");
    for (partition, checkpoints) in all {
        let _ = write!(text, "{partition}");
        for checkpoint in checkpoints {
            let _ = write!(text, " {checkpoint}");
        }
        text.push('\n');
    }
    text
}

fn parse(text: &str) -> Option<HashMap<u16, Vec<Checkpoint>>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return None;
    }
    let of_line = |line: &str| {
        let mut words = line.split(' ');
        let partition = words.next()?.parse().ok()?;
        let checkpoints: Option<Vec<_>> =
            words.take(CHECKPOINTS_MAX).map(|word| Checkpoint::from_str(word).ok()).collect();
        Some((partition, checkpoints?))
    };
    lines.map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::EntryId;
    use super::*;

    fn some() -> HashMap<u16, Vec<Checkpoint>> {
        let id = |ms, seq| EntryId { ms, seq };
        HashMap::from([
            (0, vec![Checkpoint::UpTo(id(7, 1)), Checkpoint::Below(id(5, 0))]),
            (13, vec![Checkpoint::Below(id(1_700_000_000_000, u64::MAX))]),
        ])
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), "Shop_acme:", "orders", "billing").unwrap();
        assert_eq!(disk.read(), HashMap::new());
        disk.write(&some()).unwrap();
        assert_eq!(disk.read(), some());
        let again = Disk::open(folder.path(), "Shop_acme:", "orders", "billing").unwrap();
        assert_eq!(again.read(), some());
        for (scope, topic, group) in
            [("Shop_b:", "orders", "billing"), ("Shop_acme:", "orders", "mail")]
        {
            let other = Disk::open(folder.path(), scope, topic, group).unwrap();
            assert_eq!(other.read(), HashMap::new());
        }
    }

    #[test]
    fn what_others_wrote_of_other_partitions_stays() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), "", "orders", "billing").unwrap();
        let at = |ms| vec![Checkpoint::UpTo(EntryId { ms, seq: 0 })];
        disk.write(&HashMap::from([(0, at(1)), (1, at(2))])).unwrap();
        disk.write(&HashMap::from([(1, at(5)), (2, at(3))])).unwrap();
        assert_eq!(disk.read(), HashMap::from([(0, at(1)), (1, at(5)), (2, at(3))]));
        disk.write(&HashMap::from([(1, Vec::new())])).unwrap();
        assert_eq!(disk.read(), HashMap::from([(0, at(1)), (2, at(3))]));
    }

    #[test]
    fn what_is_damaged_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), "", "orders", "billing").unwrap();
        let whole = told(&some());
        for damaged in ["", "sinew checkpoints 2\n0 =1-0\n", "x", &whole.replace('=', "?")] {
            std::fs::write(disk.path(), damaged).unwrap();
            assert_eq!(disk.read(), HashMap::new(), "{damaged:?}");
        }
        std::fs::write(disk.path(), [0xff_u8, 0xfe]).unwrap();
        assert_eq!(disk.read(), HashMap::new());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = Disk::open(&file, "", "orders", "billing").err().unwrap();
        assert!(refused.to_string().contains("no folder for checkpoints"), "{refused}");
    }
}
