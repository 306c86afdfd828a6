//! The dashboard in a real browser.

use reqwest::Method;
use thirtyfour::prelude::*;

use crate::browser::{EVERY, WAIT, in_a_browser, screenshot, text_of, until_text};
use crate::hub::Hub;
use crate::world::{start_chromedriver, start_redis};

#[tokio::test]
async fn the_overview_shows_the_hit_ratio_move() {
    let start = || (start_chromedriver(), Hub::serve(&[]));
    let (driver_server, hub) = tokio::task::spawn_blocking(start).await.unwrap();
    in_a_browser(&driver_server, move |driver| async move { look(&driver, &hub).await }).await;
}

async fn look(driver: &WebDriver, hub: &Hub) -> WebDriverResult<()> {
    driver.goto(format!("{}/", hub.url)).await?;
    assert_eq!(driver.title().await?, "Overview · Sinew");
    assert_eq!(text_of(driver, "store").await?, "embedded");
    assert_eq!(text_of(driver, "hit-ratio").await?, "–", "nothing was looked up yet");
    assert_eq!(text_of(driver, "breaker").await?, "–", "an embedded store has none");

    let entry = format!("{}/v1/cache/greeting/entries/en", hub.url);
    hub.send(Method::GET, &entry, None, None).await;
    until_text(driver, "hit-ratio", "0.0 %").await?;
    hub.send(Method::PUT, &entry, None, Some("1".to_owned())).await;
    for _ in 0..3 {
        hub.send(Method::GET, &entry, None, None).await;
    }
    // Without a reload: the page itself asks.
    until_text(driver, "hit-ratio", "75.0 %").await?;
    let chart =
        driver.query(By::Css("#chart[data-points] canvas")).wait(WAIT, EVERY).first().await?;
    assert!(chart.is_displayed().await?);

    driver.goto(format!("{}/", hub.url)).await?;
    let row = driver.find(By::Css(".caches tbody tr")).await?.text().await?;
    assert!(row.starts_with("greeting 75.0 %"), "{row}");
    screenshot(driver, "overview.png").await
}

#[tokio::test]
async fn the_overview_shows_a_breaker_held_by_hand() {
    let start = || {
        let redis = start_redis();
        let hub = Hub::serve(&["--store", &format!("redis://127.0.0.1:{}", redis.port)]);
        (start_chromedriver(), redis, hub)
    };
    let (driver_server, redis, hub) = tokio::task::spawn_blocking(start).await.unwrap();
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/", hub.url)).await?;
        until_text(&driver, "breaker", "closed").await?;
        let breaker = format!("{}/v1/redis/breakers/127.0.0.1:{}", hub.url, redis.port);
        let isolated = r#"{"state": "isolated"}"#.to_owned();
        hub.send(Method::PUT, &breaker, None, Some(isolated)).await;
        until_text(&driver, "breaker", "isolated").await?;
        Ok(())
    })
    .await;
}
