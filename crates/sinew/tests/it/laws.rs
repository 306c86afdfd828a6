//! `laws!`: one test a law and store, named `cache::memory::…`, `cache::redis::…`.

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

        mod memory { $(
            #[test]
            fn $law() {
                $crate::laws::keep(|| async { super::$law($crate::world::Store::memory()).await })
            }
        )* }

        mod redis { $(
            #[test]
            fn $law() {
                $crate::laws::keep(|| async { super::$law($crate::world::Store::redis().await).await })
            }
        )* }
    };
}

/// Runs a law to its end, on a runtime of its own.
pub fn keep<F: Future<Output = ()>>(law: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(LAW_MAX, law())
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
