//! What the configuration says of webhooks.

use ipnet::IpNet;

use super::address::Addresses;

/// What the configuration says of webhooks.
#[derive(Clone, Debug)]
pub(crate) struct WebhookSettings {
    /// Whether this hub delivers any.
    pub(crate) enabled: bool,
    /// Networks that may be delivered to, though they are not on the internet.
    pub(crate) allow: Vec<IpNet>,
    /// Whether an endpoint may do without TLS.
    pub(crate) allow_http: bool,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { enabled: true, allow: Vec::new(), allow_http: false }
    }
}

impl WebhookSettings {
    /// Where webhooks may be delivered to.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::new(self.allow.clone(), self.allow_http)
    }
}
