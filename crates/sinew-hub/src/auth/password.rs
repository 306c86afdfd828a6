//! Passwords of users, hashed so that guessing is slow.

use std::fmt;
use std::sync::Arc;

use argon2::{Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _};

/// Shorter ones are guessed.
pub(crate) const CHARS_MIN: usize = 8;
/// Longer ones only take time.
pub(crate) const LEN_MAX: usize = 1 << 10;
/// What checking one password may take at most: a slip would take all memory.
const MEMORY_KIB_MAX: u32 = 256 << 10;
const PASSES_MAX: u32 = 32;
const LANES_MAX: u32 = 16;

/// What a password is compared with. Its text never shows it.
#[derive(Clone)]
pub(crate) struct Hashed(Arc<str>);

impl Hashed {
    /// From a PHC string.
    ///
    /// # Errors
    /// A sentence that says what was expected, and nothing of what is there.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let is_one = PasswordHash::new(text).is_ok_and(|hash| {
            let is_whole = hash.salt.is_some() && hash.hash.is_some();
            is_whole && hash.algorithm.as_str() == "argon2id" && is_affordable(&hash)
        });
        match is_one {
            true => Ok(Self(text.into())),
            false => Err(format!(
                "invalid password: expected what `sinew user hash` prints, like $argon2id$v=19$m=19456,t=2,p=1$…, of at most {} MiB, {PASSES_MAX} passes and {LANES_MAX} lanes",
                MEMORY_KIB_MAX >> 10
            )),
        }
    }

    /// Of a password, with a salt of its own.
    ///
    /// # Errors
    /// Where the system has nothing random to give.
    pub(crate) fn make(password: &str) -> Result<Self, String> {
        let hash = Argon2::default().hash_password(password.as_bytes());
        let hash = hash.map_err(|error| format!("cannot hash the password: {error}"))?;
        Ok(Self(hash.to_string().into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of this password. It takes a while, and megabytes.
    pub(crate) fn is_of(&self, password: &str) -> bool {
        password.len() <= LEN_MAX
            && PasswordHash::new(&self.0).is_ok_and(|hash| {
                // In constant time, by the parameters of the hash.
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            })
    }
}

fn is_affordable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MEMORY_KIB_MAX
            && params.t_cost() <= PASSES_MAX
            && params.p_cost() <= LANES_MAX
    })
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_another_is_not() {
        let hashed = Hashed::make("correct horse").unwrap();
        let read = Hashed::read(hashed.as_str()).unwrap();
        assert!(read.is_of("correct horse"));
        for wrong in ["", "correct horsf", "correct horse "] {
            assert!(!read.is_of(wrong), "{wrong:?}");
        }
        assert!(hashed.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(hashed.as_str(), Hashed::make("correct horse").unwrap().as_str());
        assert_eq!(format!("{hashed:?}"), "Hashed");
    }

    #[test]
    fn what_is_no_argon2id_or_costs_too_much_is_refused_without_telling_it() {
        let (salt, hash) = ("c2VjcmV0c2FsdA", "YmVmb3JldGhlZW5kb2ZhbGx0aW1lc2l0aXMx");
        let of = |start: &str| format!("{start}${salt}${hash}");
        Hashed::read(&of("$argon2id$v=19$m=64,t=1,p=1")).unwrap();
        for bad in [
            "hunter2".to_owned(),
            String::new(),
            of("$argon2i$v=19$m=64,t=1,p=1"),
            of("$argon2id$v=19$m=4194304,t=1,p=1"),
            of("$argon2id$v=19$m=64,t=1000,p=1"),
            of("$argon2id$v=19$m=1024,t=1,p=64"),
            format!("$argon2id$v=19$m=64,t=1,p=1${salt}"),
        ] {
            let told = Hashed::read(&bad).unwrap_err();
            assert!(told.contains("expected what `sinew user hash` prints"), "{told}");
            assert!(!told.contains("hunter2") && !told.contains(salt), "{told}");
        }
    }
}
