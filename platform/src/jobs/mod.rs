//! What the modules have done in the background.
//!
//! | Queue | Job | Enqueued by | Does |
//! | --- | --- | --- | --- |
//! | `billing` | `billing.month` | the first of each month, at midnight in Berlin | has the invoices of all tenants written |
//! | `billing` | `billing.invoices` | that, for each tenant | writes a tenant's invoices, under its lock |
//! | `mail` | `billing.mail-invoice` | an invoice, through the outbox; or somebody | sends it to its user |
//! | `customers` | `customers.create-in-fortnox` | a new customer, through the outbox | has it in Fortnox, under a lock, with its fence |
//! | `images` | `generator.image` | its user | paints it, and tells how far it is |
//!
//! The queues are the deployment's, not a tenant's: one worker does the jobs of all tenants. Whose a job is, it says
//! itself; its key begins with that, so that tenants take turns.
//!
//! # What it promises
//!
//! 1. **State and job never part.** An invoice is committed with the job that mails it, and a customer with the one that
//!    makes it known to Fortnox.
//! 2. **Once, for whoever knows ids.** A job may be run more than once. What it asks of others has the same name
//!    each time: a letter its job's id, a customer its own reference.
//! 3. **Who is asked is left alone** for as long as he says, or for longer each time. What was refused, or was tried
//!    ten times, is dead, and waits for people.

use sinew::job::{FromRef, JobError, Queue, RunningWorker, Worker};
use sinew::{Result, Sinew, Tenant};

use crate::billing::{self, Billing, Letters};
use crate::customers::{self, Books};
use crate::database::Database;
use crate::events::DRAIN;
use crate::generator::{self, Painting};
use crate::remote::Remote;

/// Each needs a connection of the database for a moment, and there are not many.
const CONCURRENCY: usize = 4;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Hands {
    billing: Billing,
    letters: Letters,
    books: Books,
    painting: Painting,
}

impl FromRef<Hands> for Billing {
    fn from_ref(hands: &Hands) -> Self {
        hands.billing.clone()
    }
}

impl FromRef<Hands> for Letters {
    fn from_ref(hands: &Hands) -> Self {
        hands.letters.clone()
    }
}

impl FromRef<Hands> for Books {
    fn from_ref(hands: &Hands) -> Self {
        hands.books.clone()
    }
}

impl FromRef<Hands> for Painting {
    fn from_ref(hands: &Hands) -> Self {
        hands.painting.clone()
    }
}

/// Starts the worker of this instance, for the jobs of all modules.
///
/// # Errors
/// `Rejected` for a kind that is there twice.
pub(crate) fn start(sinew: &Sinew, database: &Database, remote: &Remote) -> Result<RunningWorker> {
    let hands = Hands {
        billing: Billing::new(sinew.clone(), database.clone()),
        letters: Letters::new(database, remote),
        books: Books::new(sinew, database, remote),
        painting: Painting::new(database, remote),
    };
    let queue = |name: &str| Queue::new(name).concurrency(CONCURRENCY);
    let worker = Worker::new(&sinew.jobs())
        .queue(queue("billing"))
        .queue(queue("mail"))
        // A tenant's are under one lock.
        .queue(queue("customers").per_key(1))
        // Of one user's so many at a time, everywhere.
        .queue(queue("images").per_key(2))
        .drain(DRAIN);
    let worker = billing::register(worker)?;
    let worker = customers::register(worker)?;
    let worker = generator::register(worker)?;
    worker.with_state(hands).start()
}

/// Whose a job is; where nobody can tell, it is dead.
pub(crate) fn tenant_of(name: &str) -> std::result::Result<Tenant, JobError> {
    Tenant::new(name).map_err(|_| dead("it names no tenant"))
}

pub(crate) fn dead(reason: &str) -> JobError {
    JobError::Dead { reason: reason.to_owned() }
}
