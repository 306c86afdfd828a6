//! The page of sessions in a real browser.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::browser::{in_a_browser, press, screenshot, seen, text_of, until_text};
use crate::hub::{Hub, blocking};
use crate::world::start_chromedriver;

const DEVICE: &str = "<script>document.title = 'taken over'</script>";

/// The token and the id of a session that begins.
async fn begin(hub: &Hub, user: &str, device: &str, tenant: Option<&str>) -> (String, String) {
    let body = json!({
        "user": user,
        "device": device,
        "address": "203.0.113.9",
        "data": { "cart": "4111-secret" },
    });
    let url = format!("{}/v1/sessions", hub.url);
    let reply = hub.send(Method::POST, &url, tenant, Some(body.to_string())).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    let said = |name: &str| reply.body[name].as_str().unwrap().to_owned();
    (said("token"), said("id"))
}

async fn count(hub: &Hub, user: &str, tenant: Option<&str>) -> usize {
    let url = format!("{}/v1/users/{user}/sessions", hub.url);
    let reply = hub.send(Method::GET, &url, tenant, None).await;
    reply.body.as_array().map(Vec::len).expect("a list")
}

#[tokio::test]
async fn a_users_sessions_are_found_and_ended_after_a_second_thought() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = blocking(|| Hub::serve(&[])).await;
    let acme = Some("acme");
    begin(&hub, "ada", DEVICE, acme).await;
    let (_, kept) = begin(&hub, "ada", "curl", acme).await;
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/sessions']").await?;
        assert_eq!(driver.title().await?, "Sessions · Sinew");
        driver.find(By::Css("#look input[name=user]")).await?.send_keys("ada").await?;
        press(&driver, "#look button").await?;
        assert_eq!(seen(&driver, "#none").await?, "ada is not logged in anywhere.");
        driver.find(By::Css("#look input[name=tenant]")).await?.send_keys("acme").await?;
        press(&driver, "#look button").await?;
        let rows = seen(&driver, "#found tbody").await?;
        assert!(rows.contains(DEVICE) && rows.contains("curl"), "{rows}");
        assert!(rows.contains("203.0.113.9") && rows.contains("cart"), "{rows}");
        let ends = (15..=30).any(|minutes| rows.contains(&format!("in {minutes} min")));
        assert!(ends, "however long the browser took: {rows}");
        assert!(!rows.contains("4111-secret"), "values are the session's: {rows}");
        assert_eq!(driver.title().await?, "Sessions · Sinew", "no device is run");
        screenshot(&driver, "sessions.png").await?;

        let end_other = format!("#found tbody tr:not(#session-{kept}) button");
        press(&driver, &end_other).await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.starts_with("End the session of ada of tenant acme on "), "{question}");
        assert_eq!(text_of(&driver, "confirm-device").await?, DEVICE);
        let focus = driver.active_element().await?.id().await?;
        assert_eq!(focus.as_deref(), Some("keep"), "a key pressed too fast keeps it");
        press(&driver, "#keep").await?;
        assert!(seen(&driver, "#found tbody").await?.contains(DEVICE));
        assert_eq!(count(&hub, "ada", acme).await, 2);
        press(&driver, &end_other).await?;
        press(&driver, "#end-now").await?;
        until_text(&driver, "ended", "The session of ada has ended.").await?;
        assert_eq!(count(&hub, "ada", acme).await, 1);

        press(&driver, "#again").await?;
        let rows = seen(&driver, "#found tbody").await?;
        assert!(rows.contains("curl") && !rows.contains(DEVICE), "{rows}");
        press(&driver, "#end-all").await?;
        let question = seen(&driver, "#confirm-title").await?;
        assert!(question.contains("End all sessions of ada of tenant acme, 1 now?"), "{question}");
        press(&driver, "#end-now").await?;
        until_text(&driver, "ended", "All sessions of ada have ended.").await?;
        assert_eq!(count(&hub, "ada", acme).await, 0);
        assert!(hub.server.log().contains("sessions of a user were ended on the dashboard"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_page_of_sessions_takes_what_it_sent_itself_and_nothing_else() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let (token, id) = begin(&hub, "ada", "curl", None).await;
    let end = format!("{}/sessions/end?user=ada&id={id}", hub.url);
    let all = format!("{}/sessions/end?user=ada", hub.url);
    for url in [&end, &all] {
        let forged = hub.send_with(Method::DELETE, url, &[], None).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN, "{}", forged.text);
        let posted = hub.send_with(Method::POST, url, &[("hx-request", "true")], None).await;
        assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(count(&hub, "ada", None).await, 1, "it is still live");
    assert_eq!(hub.get("/sessions").await.status, StatusCode::OK);
    assert_eq!(hub.get("/sessions/found").await.status, StatusCode::BAD_REQUEST);
    let another = format!("/sessions/end?user=bob&id={id}");
    let one = format!("/sessions/end?user=ada&id={id}");
    for (fragment, told) in [
        ("/sessions/found?user=ada", "curl"),
        ("/sessions/found?user=ada&tenant=other", "is not logged in anywhere"),
        ("/sessions/found?user=ada&tenant=a_b", "expected 1 to 64"),
        ("/sessions/end?user=ada&id=hunter2", "no id of a session"),
        (another.as_str(), "has ended already"),
        (one.as_str(), "End it"),
        ("/sessions/end?user=ada", "End all"),
    ] {
        let reply = hub.get(fragment).await;
        assert_eq!(reply.status, StatusCode::OK, "{fragment}");
        assert!(reply.text.contains(told), "{fragment}: {}", reply.text);
        for unsaid in ["4111-secret", "hunter2", token.split_once('.').unwrap().1] {
            assert!(!reply.text.contains(unsaid), "{fragment}: {}", reply.text);
        }
    }
    let ours = hub.send_with(Method::DELETE, &end, &[("hx-request", "true")], None).await;
    assert!(ours.text.contains("has ended"), "{}", ours.text);
    let again = hub.send_with(Method::DELETE, &end, &[("hx-request", "true")], None).await;
    assert!(again.text.contains("had ended already"), "{}", again.text);
    let url = format!("{}/v1/sessions/self", hub.url);
    let late = hub.send_with(Method::GET, &url, &[("x-session-token", token.as_str())], None).await;
    assert_eq!((late.status, &late.body["status"]), (StatusCode::UNAUTHORIZED, &Value::from(401)));
}
