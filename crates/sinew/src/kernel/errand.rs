//! What goes on although its caller goes away.

use super::error::{Error, ErrorKind, Result};

/// Runs to its end even if the caller goes away.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                "the runtime is stopping",
            )),
        },
    }
}
