//! The page of locks in a real browser.

use reqwest::{Method, StatusCode};
use serde_json::json;
use thirtyfour::prelude::*;

use crate::browser::{in_a_browser, press, screenshot, seen, text_of, until_text};
use crate::hub::{Hub, blocking};
use crate::world::start_chromedriver;

const NAME: &str = "<script>document.title = 'taken over'</script>";

/// A hub at which a lock is held, by one who does not renew it.
async fn hub() -> Hub {
    let hub = blocking(|| Hub::serve(&[])).await;
    assert_eq!(take(&hub, NAME, Some("acme")).await, StatusCode::OK);
    hub
}

async fn take(hub: &Hub, name: &str, tenant: Option<&str>) -> StatusCode {
    let mut url = reqwest::Url::parse(&hub.url).unwrap();
    url.path_segments_mut().unwrap().extend(["v1", "locks", name]);
    let body = json!({ "ttl": "10m" }).to_string();
    hub.send(Method::POST, url.as_str(), tenant, Some(body)).await.status
}

#[tokio::test]
async fn a_lock_is_found_and_taken_away_after_a_second_thought() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = hub().await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/locks']").await?;
        assert_eq!(driver.title().await?, "Locks · Sinew");
        // By itself, those of no tenant.
        assert!(seen(&driver, "#none").await?.contains("No one holds a lock here now"));
        let input = driver.find(By::Css("#look input[name=tenant]")).await?;
        input.send_keys("acme").await?;
        press(&driver, "#look button").await?;
        let row = seen(&driver, "#held tbody tr").await?;
        assert!(row.contains(NAME) && row.contains("exclusive"), "{row}");
        assert!(row.contains("9 min") || row.contains("10 min 0 s"), "{row}");
        assert_eq!(driver.title().await?, "Locks · Sinew", "no name is run");
        screenshot(&driver, "locks.png").await?;

        press(&driver, "#held tbody button").await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.contains("of tenant acme away from its holder?"), "{question}");
        assert_eq!(text_of(&driver, "confirm-lock").await?, NAME);
        let focus = driver.active_element().await?.id().await?;
        assert_eq!(focus.as_deref(), Some("keep"), "a key pressed too fast keeps it");
        press(&driver, "#keep").await?;
        assert!(seen(&driver, "#held tbody tr").await?.contains(NAME));
        assert_eq!(take(&hub, NAME, Some("acme")).await, StatusCode::CONFLICT);

        press(&driver, "#held tbody button").await?;
        press(&driver, "#release-now").await?;
        until_text(&driver, "released", &format!("{NAME} was taken away from 1.")).await?;
        press(&driver, "#again").await?;
        assert!(seen(&driver, "#none").await?.contains("No one holds"));
        assert!(hub.server.log().contains("a lock was taken away on the dashboard"));
        assert_eq!(take(&hub, NAME, Some("acme")).await, StatusCode::OK);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_page_of_locks_takes_what_it_sent_itself_and_nothing_else() {
    let hub = hub().await;
    assert_eq!(take(&hub, "a", None).await, StatusCode::OK);
    let release = format!("{}/locks/release?name=a", hub.url);
    let forged = hub.send_with(Method::DELETE, &release, &[], None).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN, "{}", forged.text);
    let posted = hub.send_with(Method::POST, &release, &[("hx-request", "true")], None).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(take(&hub, "a", None).await, StatusCode::CONFLICT, "it is still held");
    assert_eq!(hub.get("/locks").await.status, StatusCode::OK);
    assert_eq!(hub.get("/locks/release").await.status, StatusCode::BAD_REQUEST);
    for (fragment, told) in [
        ("/locks/held", "<code>a</code>"),
        ("/locks/held?tenant=other", "No one holds a lock here"),
        ("/locks/held?tenant=a_b", "expected 1 to 64"),
        ("/locks/release?name=a&tenant=other", "No one holds"),
        ("/locks/release?name=", "expected some text"),
        ("/locks/release?name=a", "Release it"),
    ] {
        let reply = hub.get(fragment).await;
        assert_eq!(reply.status, StatusCode::OK, "{fragment}");
        assert!(reply.text.contains(told), "{fragment}: {}", reply.text);
    }
    let ours = hub.send_with(Method::DELETE, &release, &[("hx-request", "true")], None).await;
    assert!(ours.text.contains("was taken away from 1"), "{}", ours.text);
    assert_eq!(take(&hub, "a", None).await, StatusCode::OK);
}
