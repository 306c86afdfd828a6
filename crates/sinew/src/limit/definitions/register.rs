//! Definitions in process, for the embedded store: the twin of `scripts/define.lua`.

use std::collections::VecDeque;

use bytes::Bytes;

use super::written::{entry, split};
use super::{CHANGES_MAX, DEFINITIONS_MAX, Edit, Edited, Rows};
use crate::kernel::clock::UnixMillis;

/// All definitions, and how they came about.
#[derive(Default)]
pub(crate) struct Register {
    rows: Rows,
    last_revision: u64,
    /// The newest first.
    changes: VecDeque<Bytes>,
}

impl Register {
    pub(crate) fn rows(&self) -> Rows {
        self.rows.clone()
    }

    pub(crate) fn changes(&self, count: usize) -> Vec<Bytes> {
        self.changes.iter().take(count).cloned().collect()
    }

    pub(crate) fn make(&mut self, edit: &Edit<'_>, at: UnixMillis) -> Edited {
        let found = self.rows.get(edit.name.as_bytes());
        let (revision, before) = found.and_then(|row| split(row)).unzip();
        let before = before.map(Bytes::copy_from_slice);
        let revision = revision.unwrap_or(0);
        if edit.expected.revision().is_some_and(|expected| expected != revision) {
            return Edited::Conflict(revision);
        }
        if found.is_none() {
            if edit.definition.is_none() {
                return Edited::Done { revision: 0, before: None };
            }
            if self.rows.len() >= DEFINITIONS_MAX {
                return Edited::Full;
            }
        }
        self.last_revision += 1;
        let revision = self.last_revision;
        let change = entry(at.0, edit.by, edit.name, before.as_deref(), edit.definition.as_deref());
        self.changes.push_front(change.into());
        self.changes.truncate(CHANGES_MAX);
        match &edit.definition {
            Some(definition) => {
                let row = format!("{revision} {definition}").into();
                self.rows.insert(edit.name.as_bytes().to_vec(), row);
            }
            None => {
                self.rows.remove(edit.name.as_bytes());
            }
        }
        Edited::Done { revision, before }
    }
}
