//! The pages in a real browser, as people use them. `scripts/test-pages` runs these.

mod answers;
mod dashboard;
pub(crate) mod harness;
mod people;
mod search;
mod secrecy;
mod trouble;

use harness::Browser;

use crate::harness::{Reply, ScriptedUpstream, Service, Setup};

/// The weather of a place as OpenWeatherMap tells it, at 14:13 UTC, in metric units.
fn weather(name: &str) -> String {
    format!(
        r#"{{"coord":{{"lon":-0.1257,"lat":51.5085}},"weather":[{{"id":802,"main":"Clouds","description":"scattered clouds","icon":"02d"}}],"base":"stations","main":{{"temp":12.4,"feels_like":-0.4,"pressure":1012,"humidity":62}},"visibility":8000,"wind":{{"speed":3.6,"deg":131,"gust":7.25}},"clouds":{{"all":40}},"dt":1790000000,"sys":{{"country":"GB","sunrise":1789971900,"sunset":1790016000}},"timezone":3600,"id":2643743,"name":"{name}","cod":200}}"#
    )
}

/// A browser before a service, and the upstream behind that.
struct Stage {
    upstream: ScriptedUpstream,
    service: Service,
    browser: Browser,
}

impl Stage {
    /// With a service as it comes.
    async fn new() -> Self {
        Self::with(|setup| setup).await
    }

    async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let upstream = ScriptedUpstream::start(Reply::json(200, weather("London"))).await;
        let service = change(Setup::memory(&upstream)).start().await;
        Self { upstream, service, browser: Browser::start().await }
    }

    /// Opens the page with this behind the address.
    async fn open(&self, fragment: &str) {
        self.browser.open(&format!("http://{}/{fragment}", self.service.public)).await;
    }

    /// Opens the page with weather on it.
    async fn open_london(&self) {
        self.open("#London").await;
        self.browser.shows("name", "London, GB").await;
    }

    /// Puts a place into the field and sends it.
    async fn search(&self, place: &str) {
        self.browser.run("document.getElementById('place').select()").await;
        self.browser.click("#place").await;
        self.browser.run("document.getElementById('place').select()").await;
        self.browser.type_text(place).await;
        self.browser.click("#search button").await;
    }

    /// Asks again, and waits until the answer to that is on the page.
    async fn ask_again(&self) {
        let before = self.browser.text("request-id").await;
        self.browser.click("#again").await;
        let other = format!("document.getElementById('request-id').textContent !== '{before}'");
        self.browser.until("another answer", &other).await;
    }

    /// The page had nothing to complain of.
    async fn quiet(&self) {
        assert_eq!(self.browser.complaints().await, Vec::<String>::new());
    }
}
