//! The pages of streams in a real browser.

use reqwest::{Method, StatusCode};
use serde_json::json;
use thirtyfour::prelude::*;

use crate::browser::{EVERY, WAIT, in_a_browser, press, screenshot, seen, until};
use crate::hub::{Hub, blocking, call};
use crate::world::start_chromedriver;

const DATA: &str = "<script>document.title = 'taken over'</script>";

#[tokio::test]
async fn a_topic_its_group_and_an_event_are_found() {
    let driver_server = blocking(start_chromedriver).await;
    let hub = blocking(|| Hub::serve(&[])).await;
    let body = json!({ "type": "OrderPlaced", "data": { "note": DATA } });
    let reply = call(&hub, Method::POST, "/streams/orders", &[], Some(body)).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    let place = reply.body["events"][0]["place"].as_str().unwrap().to_owned();
    let pull = "/streams/orders/groups/billing/pull";
    let reply = call(&hub, Method::POST, pull, &[], Some(json!({ "max": 1 }))).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        press(&driver, "nav a[href='/streams']").await?;
        assert_eq!(driver.title().await?, "Streams · Sinew");
        press(&driver, "#topics tbody a[href='/streams/orders']").await?;
        assert!(seen(&driver, "#groups").await?.contains("billing"));
        driver.find(By::Css("#look input[name=place]")).await?.send_keys(&place).await?;
        press(&driver, "#look button").await?;
        assert!(seen(&driver, "#data").await?.contains(DATA), "data is text");
        assert_eq!(driver.title().await?, "orders · Sinew", "no data is run");
        screenshot(&driver, "stream.png").await?;
        let canvas = driver.query(By::Css("#lag-billing[data-points] canvas"));
        canvas.wait(WAIT, EVERY).first().await?;
        // Who comes back finds what was seen before.
        driver.refresh().await?;
        let points = "document.getElementById('lag-billing')?.dataset.points";
        until(&driver, points, |points| points.parse().is_ok_and(|points: u32| points > 2)).await?;
        press(&driver, "#groups a").await?;
        assert!(seen(&driver, "#consumers").await?.contains("pull-"));
        driver.goto(format!("{}/streams/orders/groups/billing/dead", hub.url)).await?;
        assert_eq!(seen(&driver, "#none").await?, "billing has given up nothing.");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_name_that_would_lead_elsewhere_is_no_topic() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for path in [
        "/streams/..%2Fv1%2Fstreams%2Forders%2Fevents%23",
        "/streams/orders/groups/..%2F..%2F..%2Fv1",
    ] {
        let reply = hub.get(path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(!reply.text.contains("hx-get=\"/streams/.."), "{}", reply.text);
    }
}
