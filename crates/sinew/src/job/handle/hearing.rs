//! Hearing of the ends of jobs: one line for each partition, however many wait for its jobs.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::job::backend::{Ending, Endings, Store};
use crate::job::model::{JobId, Told};
use crate::kernel::key::QueueKeys;

/// What one who waits was told: nothing where he is to look himself.
type Bell = watch::Sender<Option<Told>>;

/// The lines of this process, by their channels. Each lasts as long as someone waits.
#[derive(Default)]
pub(in crate::job) struct Listeners(Mutex<HashMap<Box<str>, Weak<Line>>>);

struct Line {
    heard: Arc<Heard>,
    listening: AbortHandle,
}

/// Those who wait. Looked at for a few steps, never over an await.
#[derive(Default)]
struct Heard(Mutex<HashMap<JobId, Bell>>);

/// One who waits, until dropped.
pub(super) struct Waiting {
    line: Arc<Line>,
    id: JobId,
    /// There until this is dropped.
    told: Option<watch::Receiver<Option<Told>>>,
}

impl Listeners {
    /// What ends from now on is told, or it is told to look.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(super) fn enlist(&self, store: &Store, keys: &QueueKeys, id: JobId) -> Waiting {
        let line = self.line(store, keys);
        let told = {
            let mut waiting = line.heard.0.lock();
            waiting.entry(id).or_insert_with(|| Bell::new(None)).subscribe()
        };
        Waiting { line, id, told: Some(told) }
    }

    fn line(&self, store: &Store, keys: &QueueKeys) -> Arc<Line> {
        let mut lines = self.0.lock();
        let line = lines.get(keys.ended()).and_then(Weak::upgrade);
        // One whose runtime has ended hears nothing.
        if let Some(line) = line.filter(|line| !line.listening.is_finished()) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let heard = Arc::<Heard>::default();
        let listening = tokio::spawn(listen(store.endings(keys), Arc::clone(&heard)));
        let line = Arc::new(Line { heard, listening: listening.abort_handle() });
        lines.insert(keys.ended().into(), Arc::downgrade(&line));
        line
    }
}

async fn listen(mut endings: Endings, heard: Arc<Heard>) {
    while let Some(ending) = endings.next().await {
        match ending {
            Ending::Listening => heard.look(),
            Ending::Of(id, told) => heard.tell(id, told),
        }
    }
}

impl Heard {
    fn tell(&self, id: JobId, told: Told) {
        if let Some(bell) = self.0.lock().get(&id) {
            bell.send_replace(Some(told));
        }
    }

    /// What ended before may have been missed.
    fn look(&self) {
        for bell in self.0.lock().values() {
            bell.send_replace(None);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Waiting {
    /// How the job has ended; nothing where that is to be looked at. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let told = self.told.as_mut()?;
        if told.changed().await.is_err() {
            // It is there for as long as this is.
            std::future::pending::<()>().await;
        }
        told.borrow_and_update().clone()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.line.heard.0.lock();
        // Under the lock: of two that go at once, the last one is to see that it is.
        self.told = None;
        if waiting.get(&self.id).is_some_and(|bell| bell.receiver_count() == 0) {
            waiting.remove(&self.id);
        }
    }
}
