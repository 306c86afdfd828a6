//! Passwords, hashed so that guessing is slow.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::AuthError;

/// Longer ones only take time.
pub(super) const LEN_MAX: usize = 1 << 10;
/// So many are worked on at once: each takes a core, and 19 MiB.
const AT_ONCE: usize = 4;
/// How long one waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Compared with where there is no account, so that it takes as long. No password has it.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Where passwords are worked on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Passwords(Arc<Semaphore>);

impl Passwords {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    pub(super) async fn hash(&self, password: String) -> Result<String, AuthError> {
        self.work(move || hash_of(&password)).await?
    }

    /// Whether it is the password of this hash: never, where there is none.
    pub(super) async fn is_right(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, AuthError> {
        self.work(move || {
            let is_of = is_of(&password, hash.as_deref().unwrap_or(NOBODYS));
            is_of && hash.is_some()
        })
        .await
    }

    /// Off the threads that others' requests are answered on.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let place = timeout(WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(AuthError::Busy) };
        // It is taken until the work is done, whether or not the client is still there.
        let (done, _) = tokio::task::spawn_blocking(move || (work(), place)).await?;
        Ok(done)
    }
}

/// With a salt of its own. It takes a while.
pub(crate) fn hash_of(password: &str) -> Result<String, AuthError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash: PasswordHash| hash.to_string()).map_err(|_| AuthError::Unhashed)
}

fn is_of(password: &str, hash: &str) -> bool {
    // By the parameters of the hash, and in constant time.
    password.len() <= LEN_MAX
        && Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_another_is_not() {
        let hash = hash_of("correct horse").unwrap();
        assert!(is_of("correct horse", &hash));
        for wrong in ["", "correct horsf", "correct horse "] {
            assert!(!is_of(wrong, &hash), "{wrong:?}");
        }
        assert_ne!(hash, hash_of("correct horse").unwrap());
    }

    #[test]
    fn what_nobody_has_takes_as_long_as_what_somebody_has() {
        let cost = |hash: &str| {
            let parts: Vec<String> = hash.split('$').map(str::to_owned).collect();
            let lens: Vec<usize> = parts[4..].iter().map(String::len).collect();
            (parts[..4].to_vec(), lens)
        };
        assert_eq!(cost(NOBODYS), cost(&hash_of("correct horse").unwrap()));
        // It is read to its end: else comparing would end at once.
        assert!(PasswordHash::new(NOBODYS).is_ok_and(|hash| hash.hash.is_some()));
    }
}
