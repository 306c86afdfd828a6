//! A real browser, driven.

use std::path::Path;
use std::time::{Duration, Instant};

use thirtyfour::prelude::*;

use crate::world::Server;

pub async fn in_a_browser<F>(server: &Server, look: impl FnOnce(WebDriver) -> F)
where
    F: Future<Output = WebDriverResult<()>> + Send + 'static,
{
    let profile = tempfile::tempdir().unwrap();
    let mut browser = DesiredCapabilities::chrome();
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
        &format!("--user-data-dir={}", profile.path().display()),
    ] {
        browser.add_arg(argument).unwrap();
    }
    let driver =
        WebDriver::new(&format!("http://127.0.0.1:{}", server.port), browser).await.unwrap();
    // Whatever is seen, the browser ends.
    let seen = tokio::spawn(look(driver.clone())).await;
    driver.quit().await.unwrap();
    seen.unwrap().unwrap();
}

/// How long a page may take to show something.
pub const WAIT: Duration = Duration::from_secs(20);
pub const EVERY: Duration = Duration::from_millis(100);

/// In one step: the page replaces its tiles every second, and an element found may be gone
/// when it is asked for its text. Empty while there is no such element.
pub async fn text_of(driver: &WebDriver, id: &str) -> WebDriverResult<String> {
    let script = format!("return document.getElementById('{id}')?.textContent ?? ''");
    driver.execute(script, vec![]).await?.convert()
}

pub async fn press(driver: &WebDriver, selector: &str) -> WebDriverResult<()> {
    let button = found(driver, selector).await?;
    button.scroll_into_view().await?;
    button.click().await
}

pub async fn fill(driver: &WebDriver, selector: &str, text: &str) -> WebDriverResult<()> {
    let input = found(driver, selector).await?;
    input.scroll_into_view().await?;
    input.clear().await?;
    input.send_keys(text).await
}

/// The text of an element, as soon as there is one.
pub async fn seen(driver: &WebDriver, selector: &str) -> WebDriverResult<String> {
    found(driver, selector).await?.text().await
}

async fn found(driver: &WebDriver, selector: &str) -> WebDriverResult<WebElement> {
    driver.query(By::Css(selector.to_owned())).wait(WAIT, EVERY).first().await
}

/// Waits until an element says this and nothing else.
pub async fn until_text(driver: &WebDriver, id: &str, text: &str) -> WebDriverResult<()> {
    until(driver, &format!("document.getElementById('{id}')?.textContent"), |found| found == text)
        .await
}

/// Waits until an element says this among other things.
pub async fn until_told(driver: &WebDriver, id: &str, told: &str) -> WebDriverResult<()> {
    until(driver, &format!("document.getElementById('{id}')?.textContent"), |found| {
        found.contains(told)
    })
    .await
}

/// Waits until a field of the form has this.
pub async fn until_typed(driver: &WebDriver, name: &str, text: &str) -> WebDriverResult<()> {
    let value = format!("document.querySelector('#terms [name={name}]')?.value");
    until(driver, &value, |found| found == text).await
}

/// Waits until what a script says of the page is right. In one step: the page fetches its parts again.
pub async fn until(
    driver: &WebDriver,
    value: &str,
    is_right: impl Fn(&str) -> bool,
) -> WebDriverResult<()> {
    let script = format!("return String({value} ?? '')");
    let began = Instant::now();
    loop {
        let found: String = driver.execute(script.as_str(), vec![]).await?.convert()?;
        if is_right(&found) {
            return Ok(());
        }
        assert!(began.elapsed() < WAIT, "{value} is {found:?}, and never what it should be");
        tokio::time::sleep(EVERY).await;
    }
}

/// For people to look at, in the target folder.
pub async fn screenshot(driver: &WebDriver, name: &str) -> WebDriverResult<()> {
    driver.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).await
}
