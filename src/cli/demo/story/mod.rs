//! The whole life of a connection. Each step says what it does, does it, and sees that it held.

mod asking;
mod connecting;
mod ending;
mod pulling;

use serde_json::Value;

use crate::audit::KeySet;
use crate::cli::demo::client::Browser;
use crate::cli::demo::narrator::Narrator;
use crate::cli::demo::narrator::grouped;
use crate::cli::demo::stage::PURPOSE;
use crate::cli::demo::stage::Stage;
use crate::cli::failure::Failure;
use crate::cli::failure::Problem;
use crate::cli::transport::Client;
use crate::cli::transport::Request;

/// The most items of a list that are asked for at once: the API's own limit.
const PAGE_ITEMS: &str = "500";

/// The demo while it runs.
pub struct Story<'a, 'o> {
    stage: &'a Stage,
    narrator: &'a mut Narrator<'o>,
    browser: Browser,
}

/// What the later steps need to know of the first ones.
struct Connected {
    connection: String,
    consent: String,
}

/// One order, as it was shown.
struct Shown {
    id: String,
    record: Value,
    tracking_number: String,
    email: String,
}

impl<'a, 'o> Story<'a, 'o> {
    /// A story that has not begun; the stage is set, and the narrator has begun the step that sets it.
    ///
    /// # Errors
    /// When the browser cannot be made.
    pub fn new(stage: &'a Stage, narrator: &'a mut Narrator<'o>) -> Result<Self, Failure> {
        Ok(Self { stage, narrator, browser: Browser::new()? })
    }

    /// Tells it to the end.
    ///
    /// # Errors
    /// The first thing that did not hold, or could not be done.
    pub async fn tell(mut self) -> Result<(), Failure> {
        self.start().await?;
        let connected = self.connect().await?;
        let others = self.segment_files()?;
        self.pull_everything(&connected).await?;
        let order = self.show_an_order(&connected).await?;
        self.follow_a_parcel(&order).await?;
        let held = self.pull_the_changes(&connected).await?;
        let mut files = self.segment_files()?;
        files.retain(|file| !others.contains(file));
        self.revoke(&connected).await?;
        self.still_answers(&order).await?;
        let erasure = self.erase(&connected, held).await?;
        self.nothing_opens(&connected, &order, &files).await?;
        self.certify(&erasure).await
    }

    async fn start(&mut self) -> Result<(), Failure> {
        let (gateway, shop) = (self.stage.gateway, self.stage.sandbox.base_url());
        let records = self.stage.sandbox.counts().total();
        let kept = if self.stage.is_temporary { " (temporary)" } else { "" };
        self.narrator.show(&[
            ("gateway", format!("http://{gateway}, its data in {}{kept}", self.stage.data.display())),
            ("sandbox shop", format!("{shop}, {} records behind an OAuth 2.0 server", grouped(records))),
        ])?;
        self.stage.service.bytes(&Request::get(["readyz"])).await?;
        let policy = url(&format!("http://{gateway}/v1/policy"))?;
        let stranger = self.browser.open(&policy).await?.status;
        self.narrator.equal("a question without a key", stranger, 401)?;
        self.narrator.say("The gateway is ready. Whoever asks without a key is turned away.")?;
        self.narrator.note("gateway", format!("http://{gateway}"));
        self.narrator.note("sandbox", shop);
        self.narrator.note("records", records);
        self.narrator.held()
    }

    /// One record with its payload.
    async fn record(&self, id: &str) -> Result<Value, Failure> {
        self.stage.service.json(&Request::get(["v1", "records", id]).purpose(PURPOSE)?).await
    }

    /// The records that carry a tracking number.
    async fn under_tracking_number(&self, number: &str) -> Result<Vec<Value>, Failure> {
        let request = Request::get(["v1", "lineage", "keys", "tracking_number", number]).query("limit", PAGE_ITEMS);
        items(&self.stage.service, &request).await
    }

    /// The public keys that verify what the gateway signs: the file's bytes, and what stands in it.
    async fn public_keys(&self) -> Result<(Vec<u8>, KeySet), Failure> {
        let file = self.stage.service.bytes(&Request::get([".well-known", "headgate-keys"])).await?;
        let keys = KeySet::parse(&file).map_err(|error| Failure::outcome(format!("the gateway's public keys cannot be read: {error}")))?;
        Ok((file.into(), keys))
    }
}

/// The items of a list's first page.
async fn items(client: &Client, request: &Request) -> Result<Vec<Value>, Failure> {
    let mut answer = client.json(request).await?;
    match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(Failure::Answer { request: request.name(), fault: "has no `items`".into() }),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(crate::cli::output::shown).unwrap_or_default()
}

fn sum(runs: &[Value], counter: &str) -> u64 {
    runs.iter().filter_map(|run| run[counter].as_u64()).sum()
}

fn url(text: &str) -> Result<url::Url, Failure> {
    url::Url::parse(text).map_err(|error| Failure::outcome(format!("`{text}` is no URL: {error}")))
}

/// The status with which a request was refused, in words that also name what else came.
fn refusal<T>(answer: &Result<T, Failure>) -> String {
    match answer {
        Ok(_) => "an answer".into(),
        Err(Failure::Problem(Problem { status, .. })) => status.to_string(),
        Err(other) => other.told(),
    }
}
