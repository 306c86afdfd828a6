//! The keys of jobs.

use std::fmt;
use std::sync::Arc;

use super::Scope;
use crate::kernel::name::QueueName;

/// The keys of one partition of a queue: one hash tag, hence one slot. Cheap to clone.
///
/// Scripts are given [`QueueKeys::meta`], and derive the others within its tag: a step has to do with up to a thousand
/// shards of jobs, which it learns as it goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct QueueKeys(Arc<Queue>);

#[derive(PartialEq, Eq)]
struct Queue {
    name: QueueName,
    partition: u16,
    meta: String,
    wake: String,
    ended: String,
}

impl Scope {
    /// The keys of a queue's partition.
    pub(crate) fn job(&self, queue: &QueueName, partition: u16) -> QueueKeys {
        let (scope, name) = (self.as_str(), queue.as_str());
        let root = format!("{scope}job:{{{scope}{name}:p{partition}}}");
        QueueKeys(Arc::new(Queue {
            name: queue.clone(),
            partition,
            meta: format!("{root}:meta"),
            wake: format!("{root}:wake"),
            ended: format!("{root}:ended"),
        }))
    }

    /// Which queues there are.
    pub(crate) fn job_queues(&self) -> String {
        format!("{}job:queues", self.as_str())
    }

    /// In which queue each recurring job is defined.
    pub(crate) fn job_recurring(&self) -> String {
        format!("{}job:recurring", self.as_str())
    }

    /// Where the webhooks of queues are defined.
    pub(crate) fn job_webhooks(&self) -> String {
        format!("{}job:webhooks", self.as_str())
    }
}

impl QueueKeys {
    pub(crate) fn queue(&self) -> &QueueName {
        &self.0.name
    }

    pub(crate) fn partition(&self) -> u16 {
        self.0.partition
    }

    /// How it was declared, and what is counted. Its text up to `meta` is what all keys of the partition begin with.
    pub(crate) fn meta(&self) -> &str {
        &self.0.meta
    }

    /// Tokens for those who wait for jobs.
    pub(crate) fn wake(&self) -> &str {
        &self.0.wake
    }

    /// Where it is told that a job has ended which someone waits for.
    pub(crate) fn ended(&self) -> &str {
        &self.0.ended
    }
}

impl fmt::Debug for QueueKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueKeys").field(&self.0.meta).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::name::{Prefix, Tenant};

    #[test]
    fn the_keys_of_a_partition_are_in_one_slot_and_no_other_has_them() {
        let scope =
            |tenant| Scope::tenant(&Prefix::new("p_").unwrap(), &Tenant::new(tenant).unwrap());
        let mail = QueueName::new("mail").unwrap();
        let keys = scope("t").job(&mail, 3);
        for key in [keys.meta(), keys.wake(), keys.ended()] {
            assert!(key.starts_with("p_t:job:{p_t:mail:p3}:"), "{key}");
        }
        assert_ne!(keys, scope("u").job(&mail, 3));
        assert_ne!(keys, scope("t").job(&mail, 4));
        // A queue's name has no braces, hence none of its keys is one of these.
        assert_eq!(scope("t").job_queues(), "p_t:job:queues");
        assert_eq!(scope("t").job_recurring(), "p_t:job:recurring");
        assert_eq!(scope("t").job_webhooks(), "p_t:job:webhooks");
    }
}
