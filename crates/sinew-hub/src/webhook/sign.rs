//! Signatures as Standard Webhooks has them: HMAC-SHA256 over id, time and body.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sinew::stream::Secret;

const USER_AGENT: &str = concat!("sinew/", env!("CARGO_PKG_VERSION"));

/// Adds the headers of a message: its id, which is the same at each attempt, its time, and its signatures.
pub(crate) fn sign(
    headers: &mut HeaderMap,
    secrets: &[Secret],
    id: String,
    attempt: u32,
    body: &[u8],
) {
    let at_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signed = signatures(secrets, &id, at_s, body);
    for (name, text) in [
        ("webhook-id", id),
        ("webhook-timestamp", at_s.to_string()),
        ("webhook-signature", signed),
        ("sinew-attempt", attempt.to_string()),
        ("user-agent", USER_AGENT.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// One signature for each secret, the newest secret first, with spaces between.
fn signatures(secrets: &[Secret], id: &str, at_s: u64, body: &[u8]) -> String {
    let signed = secrets.iter().filter_map(|secret| {
        // Of any length: no key is refused.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        mac.update(format!("{id}.{at_s}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_signs_id_time_and_body() {
        // printf 'msg_1.1700000000.{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:…
        let secret = Secret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").unwrap();
        let other = Secret::parse("whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA").unwrap();
        let signed = signatures(&[secret.clone(), other], "msg_1", 1_700_000_000, b"{\"a\":1}");
        let parts: Vec<&str> = signed.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], "v1,YOREwC5BRUvI4ezImQEgEteB7JbPr/Iy2YCZe049/5g=");
        assert_eq!(parts[1], "v1,RC5gFPBSAcCrlbqFRpFMJ5P0TmjVDfnbJcs8UETBIAU=");
        let changed = signatures(&[secret], "msg_1", 1_700_000_001, b"{\"a\":1}");
        assert_ne!(changed, parts[0]);
    }
}
