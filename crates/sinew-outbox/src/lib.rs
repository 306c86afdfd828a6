//! State and event that never part: an outbox and an inbox in the database of a service.
//!
//! - [`Outbox`]: the transaction that changes a row also writes down the event of it, or the job that follows. A
//!   [`Relay`] publishes what was written, after the commit, however often a process dies in between.
//! - [`Inbox`]: the transaction that holds the effect of an event also notes that it was had. An event that
//!   is delivered again finds the note, and has no effect.
//!
//! Together they are exactly-once effects over at-least-once delivery. SQLite and PostgreSQL, on `sqlx`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sinew::job::NewJob;
//! use sinew::stream::NewEvent;
//! use sinew_outbox::{Outbox, Relay};
//!
//! let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! let outbox = Outbox::new();
//! outbox.migrate_sqlite(&pool).await?;
//!
//! // State and event, or neither.
//! let mut transaction = pool.begin().await?;
//! // … insert the invoice …
//! let event = NewEvent { key: Some("ada".to_owned()), ..NewEvent::json(&"invoice 7")? };
//! outbox.row("invoices", event)?.insert(&mut *transaction).await?;
//! let mail = NewJob { queue: "mail".to_owned(), ..NewJob::new("invoice.mail", "7") };
//! outbox.job(mail)?.insert(&mut *transaction).await?;
//! transaction.commit().await?;
//!
//! // In the background, for as long as the service runs.
//! let acme = sinew::Sinew::embedded();
//! let until = tokio::time::sleep(std::time::Duration::from_millis(300));
//! let relayed = Relay::sqlite(pool).run(move |_tenant| Ok(acme.clone()), until).await?;
//! assert_eq!(relayed.published, 2);
//! # Ok(()) }
//! ```

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
compile_error!("expected the feature `sqlite`, `postgres` or both");

mod error;
mod event;
mod inbox;
mod item;
mod job;
#[cfg(feature = "postgres")]
mod postgres;
mod publish;
mod relay;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;

pub use error::OutboxError;
pub use inbox::{Inbox, name_of};
pub use relay::{Relay, Relayed, Waker};
pub use row::{OutboxConnection, OutboxRow, OutboxValue};
pub use table::{Dialect, Outbox};

// The guide's examples are tests like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/outbox.md")]
struct OutboxGuide;
