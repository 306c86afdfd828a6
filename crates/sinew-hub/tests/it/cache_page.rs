//! The pages of caches in a real browser.

use std::io::Write as _;

use reqwest::{Method, StatusCode};
use thirtyfour::prelude::*;

use crate::browser::{
    EVERY, WAIT, fill, in_a_browser, press, screenshot, seen, text_of, until_text,
};
use crate::hub::{Hub, blocking};
use crate::world::start_chromedriver;

const VALUE: &str = r#"{"name": "<script>document.title = 'taken over'</script>"}"#;

/// A hub with some entries.
async fn hub() -> Hub {
    let hub = blocking(|| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[caches.user]\ntagged = true\n[caches.named]\n").unwrap();
        Hub::serve(&["--config", file.path().to_str().unwrap()])
    })
    .await;
    let large = format!("\"{}\"", "v".repeat(6_000));
    for (path, tenant, value) in [
        ("7:a%20b?ttl=10m&tag=staff", Some("acme"), VALUE),
        ("large", Some("acme"), large.as_str()),
        ("7:a%20b", None, "1"),
    ] {
        let url = format!("{}/v1/cache/user/entries/{path}", hub.url);
        let put = hub.send(Method::PUT, &url, tenant, Some(value.to_owned())).await;
        assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text);
    }
    hub
}

async fn look_up(hub: &Hub, hits: usize, misses: usize) {
    let paths = std::iter::repeat_n("large", hits).chain(std::iter::repeat_n("none", misses));
    for path in paths {
        let url = format!("{}/v1/cache/user/entries/{path}", hub.url);
        hub.send(Method::GET, &url, Some("acme"), None).await;
    }
}

async fn is_there(hub: &Hub, entry: &str, tenant: Option<&str>) -> bool {
    hub.send(Method::GET, entry, tenant, None).await.status == StatusCode::OK
}

#[tokio::test]
async fn a_cache_is_found_watched_and_looked_into() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/caches']").await?;
        assert_eq!(driver.title().await?, "Caches · Sinew");
        let rows = driver.find_all(By::Css(".caches tbody tr")).await?;
        assert!(rows[0].text().await?.starts_with("named –"), "named, and not used yet");
        press(&driver, ".caches tbody a[href='/caches/user']").await?;
        assert_eq!(driver.title().await?, "user · Sinew");
        // Without a reload: the page itself asks.
        until_text(&driver, "hit-ratio", "–").await?;
        look_up(&hub, 3, 1).await;
        until_text(&driver, "hit-ratio", "75.0 %").await?;
        for chart in ["#levels", "#loads"] {
            let canvas = format!("{chart}[data-points] canvas");
            let canvas = driver.query(By::Css(canvas)).wait(WAIT, EVERY).first().await?;
            assert!(canvas.is_displayed().await?);
        }
        assert_eq!(text_of(&driver, "inconsistencies").await?, "0");

        fill(&driver, "input[name=tenant]", "acme").await?;
        press(&driver, "#biggest").await?;
        let table = seen(&driver, "#keys table").await?;
        assert!(
            table.contains("large") && table.contains("5.") && table.contains("7:a b"),
            "{table}"
        );
        press(&driver, "#keys tbody tr:nth-child(2) button").await?;
        until_text(&driver, "entry-key", "7:a b").await?;
        assert_eq!(text_of(&driver, "entry-value").await?, VALUE);
        assert_eq!(text_of(&driver, "entry-tags").await?.trim(), "staff");
        assert_eq!(text_of(&driver, "entry-finds").await?, "its value");
        let left = text_of(&driver, "entry-expires-in").await?;
        assert!(
            left.ends_with(" s") && (left.starts_with("9 min") || left.starts_with("8 min")),
            "{left}"
        );
        screenshot(&driver, "cache.png").await?;

        fill(&driver, "#look input[name=tenant]", "acme").await?;
        fill(&driver, "#look input[name=key]", "large").await?;
        press(&driver, "#look button").await?;
        until_text(&driver, "entry-key", "large").await?;
        assert_eq!(text_of(&driver, "entry-value").await?.len(), 4 << 10, "its beginning");
        assert!(seen(&driver, "#entry .note").await?.contains("The beginning of 5."));
        assert_eq!(driver.title().await?, "user · Sinew", "no value is run");

        fill(&driver, "#look input[name=tenant]", "a_b").await?;
        press(&driver, "#look button").await?;
        assert!(seen(&driver, "#entry .fault").await?.contains("expected 1 to 64"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_entry_is_evicted_after_a_second_thought_and_only_from_the_page() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    let entry = format!("{}/v1/cache/user/entries/7:a%20b", hub.url);
    let evict = format!("{}/caches/user/entry?tenant=acme&key=7:a%20b", hub.url);
    let forged = hub.send_with(Method::DELETE, &evict, &[], None).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN, "{}", forged.text);
    let posted = hub.send_with(Method::POST, &evict, &[("hx-request", "true")], None).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/caches/user", hub.url)).await?;
        fill(&driver, "#look input[name=tenant]", "acme").await?;
        fill(&driver, "#look input[name=key]", "7:a b").await?;
        press(&driver, "#look button").await?;
        press(&driver, "#evict").await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.contains("7:a b of tenant acme from cache user"), "{question}");
        let focus = driver.active_element().await?.id().await?;
        assert_eq!(focus.as_deref(), Some("keep"), "a key pressed too fast keeps it");
        press(&driver, "#keep").await?;
        until_text(&driver, "entry-key", "7:a b").await?;
        assert!(is_there(&hub, &entry, Some("acme")).await);

        press(&driver, "#evict").await?;
        press(&driver, "#evict-now").await?;
        assert_eq!(seen(&driver, "#evicted").await?, "7:a b is evicted.");
        assert!(!is_there(&hub, &entry, Some("acme")).await);
        assert!(is_there(&hub, &entry, None).await, "another's entry of the same key stays");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pages_of_caches_take_what_is_a_cache_and_nothing_else() {
    let hub = hub().await;
    for (path, status) in [
        ("/caches/unused", StatusCode::OK),
        ("/caches/unused/now", StatusCode::OK),
        ("/caches/a_b", StatusCode::BAD_REQUEST),
        ("/caches/lock/now", StatusCode::BAD_REQUEST),
        ("/caches/lock/events", StatusCode::BAD_REQUEST),
        ("/caches/user/entry", StatusCode::BAD_REQUEST),
    ] {
        let reply = hub.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
        let is_refused = reply.text.contains("This page cannot be shown");
        assert_eq!(is_refused, status == StatusCode::BAD_REQUEST, "{path}: {}", reply.text);
    }
    let opened = reqwest::get(format!("{}/caches?open=unused", hub.url)).await.unwrap();
    assert_eq!(opened.url().path(), "/caches/unused");
    let fault = hub.get("/caches?open=a%3Cb").await.text;
    assert!(fault.contains("expected 1 to 64") && !fault.contains("a<b"), "{fault}");
    assert!(fault.contains(">Invalid "), "a sentence: {fault}");
    for (fragment, told) in [
        ("/caches/user/entry?key=", "expected segments between colons"),
        ("/caches/user/entry?key=nothing", "There is no entry"),
        ("/caches/user/entry?key=7&tenant=a_b", "expected 1 to 64"),
        ("/caches/user/evict?key=", "expected segments between colons"),
        ("/caches/user/keys/largest?tenant=a_b", "expected 1 to 64"),
        ("/caches/user/keys/hottest?tenant=other", "None to show"),
    ] {
        let reply = hub.get(fragment).await;
        assert_eq!(reply.status, StatusCode::OK, "{fragment}");
        assert!(reply.text.contains(told), "{fragment}: {}", reply.text);
    }
}
