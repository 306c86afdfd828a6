//! The flags that are open in this hub: of a tenant, in an environment.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sinew::flag::Flags;
use sinew::{Sinew, Tenant};
use tokio::sync::OnceCell;

use super::env;

/// Each watches the store in tasks of its own, and knows all its rules.
const OPEN_MAX: usize = 1_000;
/// Of these, such as are of an environment that a client has named, and that has no flags: it may have been
/// made up.
const NAMED_EMPTY_MAX: usize = 32;

/// Flags, opened by whoever asks for them first and kept for the others.
pub(crate) struct FlagTable {
    /// Where none is named.
    env: String,
    // Held for a look-up, never while one is opened.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    kept: HashMap<Which, Kept>,
    asked: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Which {
    tenant: Option<String>,
    env: String,
}

struct Kept {
    flags: Arc<OnceCell<Flags>>,
    /// Greater than that of any that was asked for before.
    asked: u64,
}

impl FlagTable {
    /// `env`: the one that is meant where none is named.
    pub(crate) fn new(env: String) -> Self {
        Self { env, open: Mutex::default() }
    }

    /// The one that is meant where none is named.
    pub(crate) fn default_env(&self) -> &str {
        &self.env
    }

    /// The flags of a tenant, whose scope this is. Where too many are open, those that have none are closed,
    /// and then those that nobody has asked for the longest.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) async fn open(
        &self,
        scope: &Sinew,
        tenant: Option<&Tenant>,
        env: Option<&str>,
    ) -> Result<Flags, String> {
        let env = env.unwrap_or(&self.env);
        env::check(env)?;
        let tenant = tenant.map(|tenant| tenant.as_str().to_owned());
        let which = Which { tenant, env: env.to_owned() };
        let cell = self.open.lock().cell(which, &self.env);
        let flags = cell.get_or_try_init(|| scope.flags().env(env).open()).await;
        flags.cloned().map_err(|error| error.to_string())
    }
}

impl Open {
    /// `usual`: the environment that is meant where none is named.
    fn cell(&mut self, which: Which, usual: &str) -> Arc<OnceCell<Flags>> {
        self.asked += 1;
        if !self.kept.contains_key(&which) {
            let is_named = |which: &Which| which.env != usual;
            if is_named(&which) {
                self.make_room(NAMED_EMPTY_MAX, |which, kept| is_named(which) && !kept.has_flags());
            }
            self.make_room(OPEN_MAX, |_, _| true);
        }
        let kept =
            self.kept.entry(which).or_insert_with(|| Kept { flags: Arc::default(), asked: 0 });
        kept.asked = self.asked;
        Arc::clone(&kept.flags)
    }

    /// Closes one of these where there are so many. One without flags first: anyone can make up names, and
    /// what the others know is known nowhere else while the store is away.
    fn make_room(&mut self, max: usize, is_one: impl Fn(&Which, &Kept) -> bool) {
        let these: Vec<(&Which, &Kept)> =
            self.kept.iter().filter(|(which, kept)| is_one(which, kept)).collect();
        if these.len() < max {
            return;
        }
        let first = these.into_iter().min_by_key(|(_, kept)| (kept.has_flags(), kept.asked));
        if let Some(first) = first.map(|(which, _)| which.clone()) {
            self.kept.remove(&first);
        }
    }
}

impl Kept {
    fn has_flags(&self) -> bool {
        self.flags.get().is_some_and(|flags| flags.version() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(number: usize) -> Which {
        Which { tenant: Some(number.to_string()), env: env::DEFAULT.to_owned() }
    }

    #[test]
    fn what_nobody_has_asked_for_the_longest_gives_way() {
        let mut open = Open::default();
        for number in 0..OPEN_MAX {
            open.cell(which(number), env::DEFAULT);
        }
        let first = open.cell(which(0), env::DEFAULT);
        open.cell(which(OPEN_MAX), env::DEFAULT);
        assert_eq!(open.kept.len(), OPEN_MAX);
        assert!(!open.kept.contains_key(&which(1)), "the longest");
        assert!(
            Arc::ptr_eq(&first, &open.cell(which(0), env::DEFAULT)),
            "asked for since, and kept"
        );
    }

    async fn with_a_flag(flags: &Flags) -> u64 {
        let flag = serde_json::from_str(r#"{"type": "bool", "default": "on"}"#).unwrap();
        let written = flags.put("new-ui", flag, sinew::flag::Expected::Any, "test").await;
        written.unwrap().revision
    }

    #[tokio::test]
    async fn names_that_someone_makes_up_close_no_flags_that_there_are() {
        let sinew = Sinew::builder().embedded().unwrap();
        let table = FlagTable::new("prod".to_owned());
        let usual = table.open(&sinew, None, None).await.unwrap();
        let named = table.open(&sinew, None, Some("test")).await.unwrap();
        with_a_flag(&usual).await;
        with_a_flag(&named).await;
        for number in 0..NAMED_EMPTY_MAX + 8 {
            table.open(&sinew, None, Some(&format!("e{number}"))).await.unwrap();
        }
        assert_eq!(table.open.lock().kept.len(), NAMED_EMPTY_MAX + 2);
        for number in 0..OPEN_MAX + 8 {
            let tenant = Tenant::new(format!("t{number}")).unwrap();
            let scope = sinew.tenant(tenant.as_str()).unwrap();
            table.open(&scope, Some(&tenant), None).await.unwrap();
        }
        let open = table.open.lock();
        assert_eq!(open.kept.len(), OPEN_MAX);
        for env in ["prod", "test"] {
            let which = Which { tenant: None, env: env.to_owned() };
            assert!(open.kept.get(&which).is_some_and(Kept::has_flags), "{env}");
        }
    }

    #[tokio::test]
    async fn tenants_and_environments_have_flags_of_their_own() {
        let sinew = Sinew::builder().embedded().unwrap();
        let table = FlagTable::new("prod".to_owned());
        let open = |env| table.open(&sinew, None, env);
        let prod = open(None).await.unwrap();
        let version = with_a_flag(&prod).await;
        assert_eq!(open(Some("prod")).await.unwrap().version(), version);
        assert_eq!(open(Some("test")).await.unwrap().version(), 0);
        let acme = Tenant::new("acme").unwrap();
        let scope = sinew.tenant("acme").unwrap();
        assert_eq!(table.open(&scope, Some(&acme), None).await.unwrap().version(), 0);
        assert!(open(Some("a b")).await.unwrap_err().contains("expected 1 to 64"));
    }
}
