//! `#[cached]` and `#[evicts]`: what the functions under them promise.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sinew::{Cache, LoadError, Sinew, cached, evicts};

use crate::laws::keep;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    team: u64,
}

struct Team(u64);

impl fmt::Display for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "team:{}", self.0)
    }
}

#[derive(Debug, PartialEq)]
struct NoSuchUser(u64);

/// A source whose reads are counted.
#[derive(Clone, Default)]
struct Database {
    users: Arc<Mutex<BTreeMap<u64, User>>>,
    reads: Arc<AtomicUsize>,
}

impl Database {
    /// With Ada, who is number 7, in team 3.
    fn open() -> Self {
        let database = Self::default();
        database.users.lock().insert(7, ada());
        database
    }

    async fn user(&self, id: u64) -> Result<User, NoSuchUser> {
        tokio::task::yield_now().await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.users.lock().get(&id).cloned().ok_or(NoSuchUser(id))
    }

    async fn rename(&self, id: u64, name: &str) -> Result<User, NoSuchUser> {
        tokio::task::yield_now().await;
        let mut users = self.users.lock();
        let user = users.get_mut(&id).ok_or(NoSuchUser(id))?;
        name.clone_into(&mut user.name);
        Ok(user.clone())
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

fn ada() -> User {
    User { id: 7, name: "Ada".to_owned(), team: 3 }
}

fn acme() -> Sinew {
    Sinew::embedded().tenant("acme").expect("a tenant")
}

fn users() -> Cache<u64, User> {
    acme().cache("user").tagged().build().expect("a cache")
}

#[cached(cache = users, key = id)]
async fn user(users: &Cache<u64, User>, db: Database, id: u64) -> Result<User, NoSuchUser> {
    db.user(id).await
}

#[cached(cache = users, key = result.id, put)]
async fn write_name(
    users: &Cache<u64, User>,
    db: &Database,
    id: u64,
    name: &str,
) -> Result<User, NoSuchUser> {
    db.rename(id, name).await
}

#[evicts(cache = users, key = id)]
async fn rename(
    users: &Cache<u64, User>,
    db: &Database,
    id: u64,
    name: &str,
) -> Result<User, NoSuchUser> {
    db.rename(id, name).await
}

#[test]
fn a_cached_function_runs_once_until_it_is_evicted() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        for _ in 0..3 {
            assert_eq!(*user(&users, db.clone(), 7).await.unwrap(), ada());
        }
        assert_eq!(db.reads(), 1);
        rename(&users, &db, 7, "Ada Lovelace").await.unwrap();
        let renamed: Arc<User> = user(&users, db.clone(), 7).await.unwrap();
        assert_eq!(renamed.name, "Ada Lovelace");
        assert_eq!(db.reads(), 2);
    });
}

#[test]
fn a_cached_function_hands_on_its_own_error_and_keeps_none() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        for reads in 1..3 {
            let error = user(&users, db.clone(), 8).await.unwrap_err();
            assert!(matches!(error, LoadError::Source(error) if *error == NoSuchUser(8)));
            assert_eq!(db.reads(), reads);
        }
    });
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cached(cache = sums, key = text)]
async fn sum(sums: &Cache<str, u64>, text: String) -> Result<u64, BoxError> {
    if text.is_empty() {
        return Err(Box::new(fmt::Error));
    }
    let mut sum = 0;
    for part in text.split('+') {
        sum += part.parse::<u64>()?;
    }
    // It may do with its argument what it wants.
    drop(text);
    Ok(sum)
}

#[test]
fn a_body_returns_early_and_converts_errors_as_without_the_cache() {
    keep(|| async {
        let sums: Cache<str, u64> = acme().cache("sum").build().unwrap();
        assert_eq!(*sum(&sums, "1+2".to_owned()).await.unwrap(), 3);
        assert_eq!(sums.get("1+2").await.unwrap().as_deref(), Some(&3));
        for nonsense in ["", "1+x"] {
            let error = sum(&sums, nonsense.to_owned()).await.unwrap_err();
            assert!(matches!(error, LoadError::Source(_)));
        }
    });
}

#[cached(cache = halves, key = number)]
async fn half(halves: Cache<u64, u64>, mut number: u64) -> std::io::Result<u64> {
    number /= 2;
    Ok(number)
}

#[cached(cache = cache, key = (key, "doubled"))]
async fn double(cache: Cache<(u64, &'static str), u64>, key: u64) -> Result<u64, Infallible> {
    let outcome = key * 2;
    Ok(outcome)
}

#[test]
fn names_and_changes_of_the_body_are_its_own() {
    keep(|| async {
        let halves: Cache<u64, u64> = acme().cache("half").build().unwrap();
        assert_eq!(*half(halves.clone(), 8).await.unwrap(), 4);
        assert_eq!(halves.get(&8).await.unwrap().as_deref(), Some(&4));
        let doubles: Cache<(u64, &'static str), u64> = acme().cache("double").build().unwrap();
        assert_eq!(*double(doubles.clone(), 4).await.unwrap(), 8);
        assert_eq!(doubles.get(&(4, "doubled")).await.unwrap().as_deref(), Some(&8));
    });
}

#[cached(cache = users, key = id)]
async fn user_of<S>(users: &Cache<u64, User>, source: S, id: u64) -> Result<User, NoSuchUser>
where
    S: FnOnce(u64) -> Result<User, NoSuchUser> + Send + 'static,
{
    source(id)
}

#[test]
fn what_only_the_body_uses_moves_into_the_load() {
    keep(|| async {
        let (users, ada) = (users(), ada());
        // Holds what cannot be cloned.
        let held = Mutex::new(ada.clone());
        let source = move |_| Ok(held.into_inner());
        assert_eq!(*user_of(&users, source, 7).await.unwrap(), ada);
        let unneeded = |id| Err(NoSuchUser(id));
        assert_eq!(*user_of(&users, unneeded, 7).await.unwrap(), ada);
    });
}

/// A service, as most are written.
#[derive(Clone)]
struct Users {
    db: Database,
    cache: Cache<u64, User>,
    title: &'static str,
}

impl Users {
    #[cached(cache = self.cache, key = id)]
    async fn user(&self, id: u64) -> Result<User, NoSuchUser> {
        let user = self.db.user(id).await?;
        let titled = |name: &str| format!("{} {name}", self.title);
        Ok(User { name: titled(&user.name), ..user })
    }

    #[cached(cache = self.cache, key = id)]
    async fn shared_user(self: Arc<Self>, id: u64) -> Result<User, NoSuchUser> {
        self.db.user(id).await
    }

    #[evicts(cache = self.cache, key = id)]
    async fn rename(&self, id: u64, name: &str) -> Result<User, NoSuchUser> {
        self.db.rename(id, name).await
    }
}

#[test]
fn a_service_caches_its_methods() {
    keep(|| async {
        let service = Users { db: Database::open(), cache: users(), title: "Lady" };
        let elsewhere = service.clone();
        // As a server runs it, which a future must be `Send` for.
        let found = tokio::spawn(async move { elsewhere.user(7).await }).await.unwrap();
        assert_eq!(found.unwrap().name, "Lady Ada");
        assert_eq!(service.user(7).await.unwrap().name, "Lady Ada");
        assert_eq!(service.db.reads(), 1);
        let evicting = service.clone();
        let renamed = tokio::spawn(async move { evicting.rename(7, "Lovelace").await });
        assert_eq!(renamed.await.unwrap().unwrap().name, "Lovelace");
        assert_eq!(service.user(7).await.unwrap().name, "Lady Lovelace");
        assert_eq!(Arc::new(service).shared_user(7).await.unwrap().name, "Lady Lovelace");
    });
}

#[test]
fn an_eviction_follows_an_ok_and_no_error() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        users.put(&7, &ada()).await.unwrap();
        users.put(&8, &ada()).await.unwrap();
        assert_eq!(rename(&users, &db, 8, "Nobody").await.unwrap_err(), NoSuchUser(8));
        assert!(users.exists(&8).await.unwrap());
        rename(&users, &db, 7, "Ada Lovelace").await.unwrap();
        assert!(!users.exists(&7).await.unwrap());
    });
}

#[evicts(
    cache = users,
    key = result.id,
    keys = [from, to],
    tags = [Team(result.team), format!("name:{}", result.name)],
)]
async fn merge(
    users: &Cache<u64, User>,
    db: &Database,
    from: u64,
    to: u64,
) -> Result<User, NoSuchUser> {
    db.users.lock().remove(&from);
    db.user(to).await
}

#[test]
fn keys_and_tags_are_evicted_together() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        for (id, tag) in [(1, "from"), (7, "to"), (10, "name:Ada"), (11, "team:3"), (12, "other")] {
            let load = users.get_or_load_with(&id, move |loading| async move {
                loading.tag(tag);
                Ok::<_, Infallible>(User { id, ..ada() })
            });
            load.await.unwrap();
        }
        merge(&users, &db, 1, 7).await.unwrap();
        for id in [1, 7, 10, 11] {
            assert_eq!(users.get(&id).await.unwrap(), None, "{id}");
        }
        assert!(users.get(&12).await.unwrap().is_some());
    });
}

#[test]
fn a_write_through_stores_after_an_ok_what_it_returns() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        let written: User = write_name(&users, &db, 7, "Ada Lovelace").await.unwrap();
        assert_eq!(*user(&users, db.clone(), 7).await.unwrap(), written);
        assert_eq!(db.reads(), 0);
        assert_eq!(write_name(&users, &db, 8, "Nobody").await.unwrap_err(), NoSuchUser(8));
        assert!(!users.exists(&8).await.unwrap());
    });
}

#[test]
fn a_write_that_cannot_be_stored_evicts_instead_of_failing() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        users.put(&7, &ada()).await.unwrap();
        let too_long = "a".repeat(2 << 20);
        assert_eq!(write_name(&users, &db, 7, &too_long).await.unwrap().name, too_long);
        assert_eq!(users.get(&7).await.unwrap(), None);
    });
}

#[evicts(cache = notes, key = name)]
async fn note(notes: &Cache<str, u64>, name: &str) -> Result<usize, Infallible> {
    Ok(name.len())
}

#[test]
fn a_write_whose_key_is_impossible_still_succeeds() {
    keep(|| async {
        let notes: Cache<str, u64> = acme().cache("note").build().unwrap();
        let name = "n".repeat(sinew::KEY_LEN_MAX + 1);
        assert_eq!(note(&notes, &name).await.unwrap(), name.len());
    });
}

#[evicts(cache = teams, key = (result.team, "members"))]
#[cached(cache = users, key = id, put)]
async fn join(
    users: &Cache<u64, User>,
    teams: &Cache<(u64, &'static str), Vec<u64>>,
    db: &Database,
    id: u64,
    team: u64,
) -> Result<User, NoSuchUser> {
    Ok(User { team, ..db.user(id).await? })
}

#[test]
fn attributes_of_several_caches_add_up() {
    keep(|| async {
        let (users, db) = (users(), Database::open());
        let teams: Cache<(u64, &'static str), Vec<u64>> = acme().cache("team").build().unwrap();
        teams.put(&(4, "members"), &Vec::new()).await.unwrap();
        join(&users, &teams, &db, 7, 4).await.unwrap();
        assert_eq!(users.get(&7).await.unwrap().map(|user| user.team), Some(4));
        assert_eq!(teams.get(&(4, "members")).await.unwrap(), None);
    });
}

#[test]
fn misuse_is_told_at_the_users_line() {
    trybuild::TestCases::new().compile_fail("tests/macros/*.rs");
}
