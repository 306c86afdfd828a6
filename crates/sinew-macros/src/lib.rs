//! The macros of the `sinew` crate, which re-exports them: `#[cached]`, `#[evicts]`, `#[locked]`, `flags!` and
//! `#[derive(Job)]`.
//!
//! The attributes write the call to the cache or the lock that you would write by hand around the body of
//! an `async fn`, and nothing else: what they promise is what `sinew::Cache` and `sinew::Locks` promise.
//! `flags!` writes a method for each flag, which evaluates it as `sinew::flag::Flags` does. `#[derive(Job)]` writes what a
//! `sinew::job::Job` is.
//!
//! | Attribute | When the body runs | What it does to the cache | What the function returns |
//! | --- | --- | --- | --- |
//! | `#[cached(cache = …, key = …)]` | on a miss, as a load | `get_or_load` | `Result<Arc<V>, LoadError<E>>` |
//! | `#[cached(cache = …, key = …, put)]` | always | `put`, after `Ok` | what is written |
//! | `#[evicts(cache = …, key = …)]` | always | `invalidate`, after `Ok` | what is written |
//!
//! | Attribute | When the body runs | Where someone else holds the lock |
//! | --- | --- | --- |
//! | `#[locked(locks = …, name = …)]` | under the lock | an error of kind `Conflict` |
//! | `#[locked(locks = …, name = …, skip_if_held)]` | under the lock | `Ok(None)`; the function returns `Result<Option<V>, E>` |
//!
//! What is wrong is told at the line that you wrote.

mod arguments;
mod cached;
mod calls;
mod evicts;
mod flags;
mod function;
mod job;
mod load;
mod locked;
mod mentions;
mod receiver;

use proc_macro::TokenStream;
use quote::ToTokens as _;
use syn::{DeriveInput, ItemFn};

/// Answers from a cache, and runs the function only on a miss.
///
/// ```text
/// #[cached(cache = users, key = id)]
/// async fn user(users: &Cache<u64, User>, db: Db, id: u64) -> Result<User, DbError> {
///     db.user(id).await
/// }
/// ```
///
/// # What it returns
/// **The return type changes.** From what is written, `Result<V, E>`, the function is made to
/// return `Result<Arc<V>, LoadError<E>>`: callers that missed together share one value and one
/// error. An alias such as `io::Result<V>` will do, as long as its name ends in `Result`.
///
/// # Arguments
/// - `cache`: an expression for the `Cache<K, V>`, a reference to it, or what dereferences to it:
///   `users`, `self.users`, `&USERS`.
/// - `key`: an expression for the key, which is borrowed: `id`, `(tenant, "list")`, `user.id`. The
///   value is a function of the key alone, so whatever the result depends on belongs in it.
/// - `put`: writes through instead; see below.
///
/// Both expressions are evaluated at each call, where the function's arguments are in scope.
///
/// # What the body uses, it owns
/// The body is the load, and loads run in a task of their own: a caller that goes away must not
/// end what others wait for. So everything that the body uses has to be owned and `Send`, as for
/// `tokio::spawn`:
/// - An argument moves into the load. One that `cache` or `key` names as well is cloned for it.
/// - A borrowed argument that the body uses is a compile error that names the fix: take it owned,
///   e.g. an `Arc<Db>` for a `&Db`. One that only `cache` and `key` use may be borrowed.
/// - In a method, `self` is cloned for the load, at hits too: with `&self`, the service has to be
///   `Clone + Send + Sync + 'static`, and should be cheap to clone. `self: Arc<Self>` always is.
/// - An argument is a plain name; take patterns apart inside the function.
///
/// # Errors
/// As `Cache::get_or_load`: `LoadError::Source` with the function's own error, which is not kept.
///
/// # Cancellation
/// Dropping the future leaves a body that has begun running: it still fills the cache.
///
/// # Write-through
/// With `put`, the body runs at each call, and the value of an `Ok` is stored:
///
/// ```text
/// #[cached(cache = users, key = result.id, put)]
/// async fn rename(users: &Cache<u64, User>, db: &Db, id: u64, name: &str) -> Result<User, DbError> {
///     db.rename(id, name).await
/// }
/// ```
///
/// - The return type stays as it is written, and arguments may be borrowed.
/// - `cache` and `key` are evaluated after the body, which must not move the arguments that they
///   name; `result` is a reference to the value, and hides an argument of that name.
/// - The write has been done, so a value that cannot be stored does not fail the call: its key is
///   invalidated instead.
/// - A caller that goes away between the write and the `put` leaves the old entry until its TTL;
///   spawn the call where that matters. Where writers race each other, `#[evicts]` is the safe choice.
#[proc_macro_attribute]
pub fn cached(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(cached::expand, arguments, function)
}

/// Evicts from a cache after the function has returned `Ok`, and not after an `Err`.
///
/// ```text
/// #[evicts(cache = users, key = id, tags = [Team(result.team)])]
/// async fn rename(users: &Cache<u64, User>, db: &Db, id: u64, name: &str) -> Result<User, DbError> {
///     db.rename(id, name).await
/// }
/// ```
///
/// The function returns what is written. The change has to be committed when it does: in between,
/// another process could load and keep the old value.
///
/// # Arguments
/// - `cache`: an expression for the cache, a reference to it, or what dereferences to it.
/// - `key`: the key of an entry to invalidate. It is borrowed.
/// - `keys`: several, as an array, a slice or a `Vec`: `[from, to]`, `result.ids`.
/// - `tags`: a list of tags to invalidate, each anything that can be displayed. It needs a cache
///   that is tagged.
///
/// At least one of the last three. All are evaluated after the body, which must not move the
/// arguments that they name; `result` is a reference to the value, and hides an argument of that
/// name.
///
/// For several caches, write the attribute several times. It goes with `#[cached(…, put)]` too.
///
/// # Errors
/// Only the function's own. The write has been done, so an eviction that fails (an impossible key,
/// a permission that is missing) is traced and changes nothing of what is returned.
///
/// # Cancellation
/// A caller that goes away between the commit and the eviction leaves the old entry until its TTL.
/// Where that matters, spawn the call.
///
/// # When Redis is down
/// As `Cache::invalidate`: the invalidation is kept, and sent as soon as it can be.
#[proc_macro_attribute]
pub fn evicts(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(evicts::expand, arguments, function)
}

/// Runs the function under a lock, as `LockBuilder::run` does: one at a time in the fleet.
///
/// ```text
/// #[locked(locks = self.locks, name = "invoices:{month}", ttl = "30s", wait = "10s")]
/// async fn invoice(&self, month: u32) -> Result<u64, InvoiceError> {
///     self.db.write_invoices(month, fence).await
/// }
/// ```
///
/// # What it returns
/// What is written, `Result<V, E>`, where `E` can be made from a `sinew::Error` (`E: From<sinew::Error>`).
/// If the body does not run, or not to its end, the error is made from one of these:
/// - `Conflict`: someone else holds the lock, at the end of `wait`. Nothing was done.
/// - `Unavailable` or `Timeout`: Redis does not answer. Nothing was done.
/// - `Unavailable { maybe_applied: true }`: the lock was lost, and the body dropped where it stood.
/// - `Rejected`: a name or a time out of bounds.
///
/// With `skip_if_held`, **the return type changes**: from `Result<V, E>` to `Result<Option<V>, E>`, which is
/// `Ok(None)` where someone else holds the lock. That is for jobs that are started everywhere and are to
/// run once.
///
/// # Arguments
/// - `locks`: an expression for the `Locks`, a reference to them, or what dereferences to them:
///   `locks`, `self.locks`, `sinew.locks()`.
/// - `name`: a string, in which `{month}` stands for an argument, as in `format!`; or an expression for a
///   string: `key`, `format!("invoices:{}", self.month)`.
/// - `ttl`: how long others wait for a process that died, `"30s"` unless said: a number with `ms`, `s`, `m`
///   or `h`, or an expression for a `Duration`. The lock is renewed for as long as the body runs.
/// - `wait`: for how long to wait in line, likewise. Not at all unless said.
/// - `skip_if_held`: see above.
///
/// All are evaluated before the body, which may move the arguments that they name.
///
/// # The body
/// It runs where it is called, so it may borrow its arguments, and `self` in any form. `fence` is the
/// `Fence` of the lock, to send along with what it writes; it hides an argument of that name.
/// It is not granted its lock twice: a locked function that calls itself waits for itself.
///
/// For readers, permits, and work that outlives a call, use `Locks` itself.
///
/// # Cancellation
/// Dropping the future drops the body, and frees the lock in the background.
///
/// # When Redis is down
/// The body does not run. Where it runs already, it goes on until the lock's TTL has run out.
#[proc_macro_attribute]
pub fn locked(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(locked::expand, arguments, function)
}

/// Makes a struct with a method for each flag, so that no key is written twice and each has one type and one
/// default.
///
/// ```text
/// sinew::flags! {
///     /// What this service may do.
///     pub struct Features {
///         /// Answers by the larger models.
///         advanced_ai_models: bool = false,
///         /// How results are ordered.
///         #[expires("2027-01-01")]
///         algo: Algo = Algo::Relevance,
///     }
/// }
///
/// let features = Features::new(acme.flags().open().await?);
/// if features.advanced_ai_models(&EvalContext::user("u1")) { … }
/// ```
///
/// # What it makes
/// - `Features::new(flags: Flags)`. It tells in the log which flags are overdue. A clone is as cheap as one
///   of `Flags`.
/// - A method for each flag: `fn advanced_ai_models(&self, cx: &EvalContext) -> bool`. It never fails: where
///   there is no such flag, or its value is of another type, it answers the default, an expression that is
///   evaluated with each call.
/// - `Features::KEYS`: the keys of all.
/// - `Features::overdue(today: &str)`: the keys of those whose `#[expires]` has come, for a test of your own.
///
/// All are as visible as the struct, and attributes go where they are written. A type is `bool`, or any that
/// is `serde::de::DeserializeOwned`.
///
/// # Attributes of a flag
/// - `#[key("…")]`: its key, which otherwise is its name with `-` for `_`.
/// - `#[expires("2027-01-01")]`: from that day on, it is to be removed from the code.
#[proc_macro]
pub fn flags(tokens: TokenStream) -> TokenStream {
    let expanded = flags::expand(tokens.into());
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type a kind of job, as `sinew::job::Job` says it.
///
/// ```text
/// #[derive(Job, Serialize, Deserialize)]
/// #[job(name = "email.send", queue = "mail", attempts = 10, backoff = "exp(1s..1h)", timeout = "5m", retain = "7d")]
/// struct SendEmail { to: String }
/// ```
///
/// # Arguments
/// - `name`: what the kind is called in the store, for ever: 1 to 128 of `[A-Za-z0-9._-]`. It has to be said, so that no type's
///   new name loses the jobs that wait.
/// - `queue`: where its jobs go, `"default"` unless said.
/// - `attempts`: how often a handler is called for a job that it fails: 1 to 1,000, 10 unless said.
/// - `backoff`: the pauses in between: `"exp(1s..1h)"`, which doubles from the first to the last, each drawn between half of it
///   and all; or `"fixed(5s)"`. `"exp(1s..1h)"` unless said.
/// - `timeout`: for how long a handler may run: 1 ms to 30 days, 30 min unless said.
/// - `retain`: for how long a done job is kept: up to 365 days. Not at all unless said.
/// - `priority`: 0 to 9, 9 is first; 5 unless said.
///
/// A time is a number with `ms`, `s`, `m`, `h` or `d`.
#[proc_macro_derive(Job, attributes(job))]
pub fn job(tokens: TokenStream) -> TokenStream {
    let expanded = syn::parse::<DeriveInput>(tokens).and_then(|input| job::expand(&input));
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}

type Attribute = fn(proc_macro2::TokenStream, ItemFn) -> syn::Result<ItemFn>;

fn expand(attribute: Attribute, arguments: TokenStream, function: TokenStream) -> TokenStream {
    let expanded = syn::parse(function.clone()).and_then(|item| attribute(arguments.into(), item));
    match expanded {
        Ok(item) => item.into_token_stream().into(),
        Err(error) => {
            let mut tokens = TokenStream::from(error.into_compile_error());
            // It stays as it is, so that one mistake does not become one at each caller.
            tokens.extend(function);
            tokens
        }
    }
}
