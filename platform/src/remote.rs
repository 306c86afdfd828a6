//! What the platform asks of others, who may be slow, busy or gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sinew::job::JobError;

/// How long the stand-in paints at a part, so that one can look on.
const PART_TIME: Duration = Duration::from_millis(300);
/// Of how many parts an image is.
pub(crate) const PARTS: u64 = 4;

/// Those whom the platform asks. Unless said, stand-ins that run here, and ask nobody. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    /// Who sends letters.
    pub mail: Arc<dyn Mail>,
    /// Who keeps the books.
    pub fortnox: Arc<dyn Fortnox>,
    /// Who paints.
    pub painter: Arc<dyn Painter>,
}

impl Default for Remote {
    fn default() -> Self {
        let stand_in = Arc::new(StandIn);
        Self { mail: stand_in.clone(), fortnox: stand_in.clone(), painter: stand_in }
    }
}

/// Who sends letters.
#[async_trait]
pub trait Mail: Send + Sync {
    /// Sends a letter, once for each [`Letter::id`].
    ///
    /// # Errors
    /// Where it is not sent, or may not have been.
    async fn send(&self, letter: &Letter) -> Result<(), RemoteError>;
}

/// A letter.
#[derive(Clone)]
pub struct Letter {
    /// The same, however often it is sent.
    pub id: String,
    /// An address.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
}

/// Who keeps the books: as far as a customer is made known there.
#[async_trait]
pub trait Fortnox: Send + Sync {
    /// Makes a customer, or finds the one that was made with this reference. Its number there.
    ///
    /// # Errors
    /// Where there is none, or may be none.
    async fn create_customer(&self, customer: &NewCustomer) -> Result<i64, RemoteError>;
}

/// A customer, as the books have it.
#[derive(Clone)]
pub struct NewCustomer {
    /// What it is known by here.
    pub reference: String,
    /// Its name.
    pub name: String,
    /// An address.
    pub email: String,
}

/// Who paints images, part by part.
#[async_trait]
pub trait Painter: Send + Sync {
    /// A part of an image of these words, as an element of SVG for a field of 100 by 100.
    ///
    /// # Errors
    /// Where it is not painted.
    async fn paint(&self, words: &str, part: u64) -> Result<String, RemoteError>;
}

/// Why somebody did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// Not now, or nobody knows.
    #[error("{0}")]
    NotNow(String),
    /// Not before so much time is over.
    #[error("too much was asked of it")]
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// Never.
    #[error("{0}")]
    Refused(String),
}

impl RemoteError {
    /// What becomes of the job that asked.
    pub(crate) fn of_job(self) -> JobError {
        match self {
            Self::Busy { retry_after } => {
                JobError::RetryIn { after: retry_after, error: self.into() }
            }
            Self::Refused(reason) => JobError::Dead { reason },
            Self::NotNow(_) => self.into(),
        }
    }
}

struct StandIn;

#[async_trait]
impl Mail for StandIn {
    async fn send(&self, letter: &Letter) -> Result<(), RemoteError> {
        tracing::info!(id = %letter.id, "a letter that a stand-in sends to nobody");
        Ok(())
    }
}

#[async_trait]
impl Fortnox for StandIn {
    async fn create_customer(&self, customer: &NewCustomer) -> Result<i64, RemoteError> {
        Ok(i64::from(number_of(&customer.reference)))
    }
}

#[async_trait]
impl Painter for StandIn {
    async fn paint(&self, words: &str, part: u64) -> Result<String, RemoteError> {
        tokio::time::sleep(PART_TIME).await;
        let n = number_of(&format!("{part} {words}"));
        let (x, y, radius, hue) = (n % 100, n / 100 % 100, 10 + n / 10_000 % 30, n % 360);
        Ok(format!(r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="hsl({hue} 70% 60%)"/>"#))
    }
}

/// Of the same text the same one, below a million.
fn number_of(text: &str) -> u32 {
    text.bytes().fold(7, |n: u32, byte| n.wrapping_mul(31).wrapping_add(u32::from(byte)))
        % 1_000_000
}
