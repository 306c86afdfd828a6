//! `laws!`: one test a law and store, named `cache::memory::…`, `cache::redis::…`.
//!
//! `SINEW_TEST_STORES=memory,redis` runs those on some stores only; the tests of the others say so.

use std::time::Duration;

/// No law takes longer, however slow the machine.
pub const LAW_MAX: Duration = Duration::from_secs(60);

/// Makes a test of each law on every store:
///
/// ```ignore
/// laws! {
///     async fn a_put_value_is_found(store: Store) { … }
/// }
/// ```
macro_rules! laws {
    ($(async fn $law:ident($store:ident: Store) $body:block)*) => {
        $(async fn $law($store: $crate::world::Store) $body)*

        laws!(@on memory $($law)*);
        laws!(@on redis $($law)*);
        laws!(@on cluster $($law)*);
        laws!(@on valkey $($law)*);
    };
    (@on $kind:ident $($law:ident)*) => {
        mod $kind { $(
            #[test]
            fn $law() {
                if $crate::laws::is_wanted(stringify!($kind)) {
                    $crate::laws::keep(|| async {
                        super::$law($crate::world::Store::$kind().await).await
                    })
                }
            }
        )* }
    };
}

/// Whether laws are to run on a store: on all, unless someone narrows it on purpose.
pub fn is_wanted(store: &str) -> bool {
    let Ok(wanted) = std::env::var("SINEW_TEST_STORES") else { return true };
    let is_wanted = wanted.split(',').any(|one| one.trim() == store);
    if !is_wanted {
        println!("not run: SINEW_TEST_STORES is {wanted}");
    }
    is_wanted
}

/// Runs a law to its end, on a runtime of its own.
pub fn keep<F: Future<Output = ()>>(law: impl FnOnce() -> F) {
    keep_for(LAW_MAX, law);
}

/// The same, for what takes its time.
pub fn keep_for<F: Future<Output = ()>>(time_max: Duration, law: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(time_max, law())
            .await
            .expect("the law did not come to its end in time");
    });
}

/// Waits until something holds, and says what when it never does.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(LAW_MAX / 3, wait).await;
    assert!(done.is_ok(), "never happened: {what}");
}
