//! What a request asks: how much is charged to which limits, and whose.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sinew::limit::Limit;
use sinew::{CacheKey, Segments, Tenant};
use tonic::Status;

use super::message::{Descriptor, Override, RateLimitRequest};
use super::rules::Rules;
use super::{failed, unit};
use crate::hub::Hub;
use crate::limit::body::{LimitBody, limit_of};

/// Envoy sends one for each of its rules that applies.
const DESCRIPTORS_MAX: usize = 64;
/// More than any limit admits: charged in place of the hits where a quota is to be 0, as no limit's is.
const NEVER: u64 = u64::MAX;
/// Of a subject's part of a key, in bytes: what is left beside the longest prefix, tenant and limit.
const SUBJECT_LEN_MAX: usize = 800;

/// A request, understood.
pub(super) struct Plan {
    pub(super) tenant: Option<Tenant>,
    /// Each limit of each subject once.
    pub(super) charges: Vec<Charge>,
    /// For each descriptor, in order, the place of its charge: none where no rule takes it.
    pub(super) places: Vec<Option<usize>>,
}

/// What is charged to a subject under a limit.
pub(super) struct Charge {
    pub(super) limit: Limit,
    pub(super) subject: Subject,
    /// 0 is to be looked at only.
    pub(super) hits: u64,
}

/// The parts of a subject, at least one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subject(Vec<String>);

impl Subject {
    /// A subject that may be too long for a key is its digest. Clients choose what is in it: a call that
    /// failed for that would have Envoy let them pass, by no limit at all.
    fn of(parts: Vec<String>) -> Self {
        let len: usize = parts.iter().map(|part| 1 + key_len_max(part)).sum();
        if len <= SUBJECT_LEN_MAX {
            return Self(parts);
        }
        let mut digest = Sha256::new();
        for part in &parts {
            // With its length, so that "a", "bc" is not "ab", "c".
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut text = "sha256-".to_owned();
        for byte in digest.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(vec![text])
    }
}

/// In a key, a byte that is no letter or digit may take three.
fn key_len_max(part: &str) -> usize {
    part.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

impl CacheKey for Subject {
    fn segments(&self, into: &mut Segments<'_>) {
        for part in &self.0 {
            part.segments(into);
        }
    }
}

impl Plan {
    /// # Errors
    /// `INVALID_ARGUMENT` for what no Envoy sends, and for descriptors of two tenants.
    /// `UNIMPLEMENTED` for hits that are to be given back. `FAILED_PRECONDITION` where a rule names a
    /// limit that is not defined; `UNAVAILABLE` where no one knows whether it is.
    pub(super) async fn of(
        request: &RateLimitRequest,
        rules: &Rules,
        hub: &Hub,
    ) -> Result<Self, Status> {
        check(request)?;
        let mut plan = Self { tenant: None, charges: Vec::new(), places: Vec::new() };
        let mut whose = None;
        for descriptor in &request.descriptors {
            let Some(rule) = rules.find(&request.domain, &descriptor.entries) else {
                plan.places.push(None);
                continue;
            };
            let tenant = rule.tenant(&descriptor.entries);
            if *whose.get_or_insert_with(|| tenant.clone()) != tenant {
                return Err(Status::invalid_argument(
                    "descriptors of two tenants in one request: expected all of one, or of none",
                ));
            }
            let mut hits = hits(request, descriptor)?;
            let mut limit = defined(hub, &rule.limit).await?;
            let mut subject = rule.subject(&descriptor.entries);
            if let Some(by) = &descriptor.limit {
                limit = overridden(&limit, by, &mut subject)?;
                if by.requests_per_unit == 0 {
                    hits = NEVER;
                }
            }
            let place = plan.charge(limit, Subject::of(subject), hits);
            plan.places.push(Some(place));
        }
        let tenant = whose.flatten().map(Tenant::new).transpose();
        plan.tenant = tenant.map_err(|error| failed(&error))?;
        Ok(plan)
    }

    /// Adds to what is charged already, because a check names a limit of a subject once.
    fn charge(&mut self, limit: Limit, subject: Subject, hits: u64) -> usize {
        // By its name: it may have been defined anew since the last descriptor.
        let place = self
            .charges
            .iter()
            .position(|charge| charge.limit.name() == limit.name() && charge.subject == subject);
        if let Some(place) = place {
            let charge = &mut self.charges[place];
            charge.hits = charge.hits.saturating_add(hits);
            return place;
        }
        self.charges.push(Charge { limit, subject, hits });
        self.charges.len() - 1
    }
}

fn check(request: &RateLimitRequest) -> Result<(), Status> {
    let descriptors = &request.descriptors;
    if request.domain.is_empty() {
        return Err(Status::invalid_argument("no domain: expected the one of a rule"));
    }
    if descriptors.is_empty() || descriptors.len() > DESCRIPTORS_MAX {
        return Err(Status::invalid_argument(format!(
            "{} descriptors: expected 1 to {DESCRIPTORS_MAX}",
            descriptors.len()
        )));
    }
    let is_empty = |descriptor: &Descriptor| {
        descriptor.entries.is_empty() || descriptor.entries.iter().any(|entry| entry.key.is_empty())
    };
    if descriptors.iter().any(is_empty) {
        return Err(Status::invalid_argument(
            "a descriptor without an entry, or an entry without a key: expected both",
        ));
    }
    Ok(())
}

fn hits(request: &RateLimitRequest, descriptor: &Descriptor) -> Result<u64, Status> {
    if descriptor.is_negative_hits {
        // No one knows which charges they were, hence what of them would still count.
        return Err(Status::unimplemented("hits are not given back: expected no is_negative_hits"));
    }
    let of_all = u64::from(request.hits_addend.max(1));
    Ok(descriptor.hits_addend.unwrap_or(of_all))
}

async fn defined(hub: &Hub, name: &str) -> Result<Limit, Status> {
    let limit = hub.limits().get(name).await.map_err(|error| failed(&error))?;
    limit.ok_or_else(|| {
        Status::failed_precondition(format!(
            "limit {name:?} is not defined: expected [limits.{name:?}] in the configuration, or PUT /v1/limits/{name}"
        ))
    })
}

/// The same limit under the quota that a descriptor brings. What is charged under it is counted by
/// itself: the subject has one part more.
fn overridden(limit: &Limit, by: &Override, subject: &mut Vec<String>) -> Result<Limit, Status> {
    let period = unit::period(by.unit).ok_or_else(|| {
        Status::invalid_argument(format!(
            "an override per unit {}: expected SECOND, MINUTE, HOUR, DAY, MONTH, YEAR or WEEK",
            by.unit
        ))
    })?;
    let (quota, per) = (u64::from(by.requests_per_unit), format!("{}s", period.as_secs()));
    subject.push(format!("{quota}-per-{per}"));
    let (own, quota) = (LimitBody::from(limit), quota.max(1));
    // No process can take more at a time than there is.
    let body = LimitBody { quota, per, burst: None, lease: own.lease.min(quota), ..own };
    limit_of(&body).map_err(Status::invalid_argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> Subject {
        Subject::of(parts.iter().map(|part| (*part).to_owned()).collect())
    }

    #[test]
    fn a_subject_that_may_not_fit_into_a_key_is_its_digest_and_no_other() {
        let (fits, long) = ("a".repeat(799), "a".repeat(800));
        assert_eq!(of(&[&fits]).0, [fits.as_str()]);
        let digest = of(&[&long]);
        assert_eq!(digest, of(&[&long]));
        assert_eq!(digest.0.len(), 1);
        assert_eq!(digest.0[0].len(), "sha256-".len() + 64);
        for other in [&[&*long, ""][..], &["", &*long], &[&*fits, "a"], &[&*"é".repeat(400)]] {
            assert_ne!(of(other), digest, "{other:?}");
            assert_eq!(of(other).0.len(), 1, "{other:?}");
        }
    }
}
