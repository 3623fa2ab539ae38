//! The customer connects the shop: a link, a page, a consent, and the shop's own page.

use data_encoding::BASE64;
use serde_json::Value;
use serde_json::json;
use url::Url;

use super::Connected;
use super::Story;
use super::items;
use super::text;
use super::url;
use crate::audit::verify_file;
use crate::cli::demo::client::Page;
use crate::cli::demo::stage::CONNECTOR;
use crate::cli::demo::stage::PURPOSE;
use crate::cli::demo::stage::TENANT;
use crate::cli::failure::Failure;
use crate::cli::transport::Request;
use crate::sandbox::Purpose;

const PERSON: &str = "Ada Example";
const ORGANISATION: &str = "Acme Ltd";

impl Story<'_, '_> {
    pub(super) async fn connect(&mut self) -> Result<Connected, Failure> {
        self.narrator.begin("connect", "Acme connects its shop: a person reads what is asked, agrees, and lets the shop confirm it.")?;
        let before = self.connections().await?;
        let page = self.open_the_link().await?;
        let consent_page = self.answer(page).await?;
        let pending = self.connections().await?.into_iter().find(|found| !before.iter().any(|old| old["id"] == found["id"]));
        let pending = pending.ok_or_else(|| Failure::outcome("the customer's answer made no connection"))?;
        let connection = text(&pending, "/id");
        self.narrator.equal("the connection after the answer", text(&pending, "/state").as_str(), "pending")?;
        let tokens = self.stage.sandbox.log().iter().filter(|request| request.purpose == Purpose::Token).count();
        self.narrator.equal("token requests before the shop's owner has agreed there", tokens, 0)?;

        self.approve(&consent_page).await?;
        let found = self.stage.customer.json(&Request::get(["v1", "connections", &connection])).await?;
        self.narrator.equal("the connection after the way back", text(&found, "/state").as_str(), "active")?;
        let connected = Connected { connection, consent: text(&found, "/consent") };
        self.show_the_receipt(&connected).await?;
        self.narrator.note("connection", connected.connection.clone());
        self.narrator.note("consent", connected.consent.clone());
        self.narrator.held()?;
        Ok(connected)
    }

    async fn connections(&self) -> Result<Vec<Value>, Failure> {
        items(&self.stage.customer, &Request::get(["v1", "connections"]).query("limit", super::PAGE_ITEMS)).await
    }

    /// Opens a link as the customer does; the address of the page behind it.
    async fn open_the_link(&mut self) -> Result<Url, Failure> {
        let order = json!({"connector": CONNECTOR, "tenant": TENANT, "purposes": [PURPOSE]});
        let session = self.stage.service.json(&Request::post(["v1", "connect", "sessions"], order)).await?;
        let link = url(&text(&session, "/url"))?;
        let opened = self.browser.open(&link).await?;
        let page = sent_on(&opened, "the link")?;
        let shown = self.browser.open(&page).await?;
        self.narrator.equal("the customer's page", shown.status, 200)?;
        let stolen = crate::cli::demo::client::Browser::new()?.open(&link).await?.status;
        self.narrator.equal("the same link in another browser", stolen, 410)?;
        self.narrator.say("Acme's software asks for a link; the customer opens it. It opened once: another browser gets nothing.")?;
        Ok(page)
    }

    /// Fills in the form; the address of the shop's consent page.
    async fn answer(&mut self, page: Url) -> Result<Url, Failure> {
        let policy = self.stage.service.json(&Request::get(["v1", "policy"])).await?;
        let mut form: Vec<(String, String)> = vec![
            ("person".into(), PERSON.into()),
            ("organisation".into(), ORGANISATION.into()),
            ("policy_version".into(), text(&policy, "/version")),
            ("config.base_url".into(), self.stage.sandbox.base_url().into()),
        ];
        for point in policy["acknowledgements"].as_array().into_iter().flatten() {
            form.push(("acknowledge".into(), text(point, "/id")));
        }
        for stream in ["customers", "orders", "invoices", "shipments", "products"] {
            form.push(("streams".into(), stream.into()));
        }
        let answer = self.browser.submit(&page, &form).await?;
        let consent_page = sent_on(&answer, "the customer's answer")?;
        let shop = url(self.stage.sandbox.base_url())?.origin();
        self.narrator.holds(consent_page.origin() == shop, "the way to the shop's consent page", self.stage.sandbox.base_url(), || {
            consent_page.origin().ascii_serialization()
        })?;
        self.narrator
            .say(&format!("{PERSON} of {ORGANISATION} ticks five acknowledgements and chooses five streams, and is sent to the shop."))?;
        Ok(consent_page)
    }

    /// Says yes on the shop's own page, and follows it back.
    async fn approve(&mut self, consent_page: &Url) -> Result<(), Failure> {
        let shown = self.browser.open(consent_page).await?;
        self.narrator.equal("the shop's consent page", shown.status, 200)?;
        // The page's form repeats the question and adds the decision.
        let mut form: Vec<(String, String)> = consent_page.query_pairs().into_owned().collect();
        form.push(("decision".into(), "approve".into()));
        let mut target = consent_page.clone();
        target.set_query(None);
        let decided = self.browser.submit(&target, &form).await?;
        let back = sent_on(&decided, "the shop")?;
        let arrived = self.browser.open(&back).await?;
        self.narrator.equal("the way back to the gateway", arrived.status, 200)?;
        let again = self.browser.open(&back).await?;
        self.narrator.equal("the same way back once more", again.status, 400)?;
        self.narrator.say("The shop's owner allows it there and comes back with a code, which the gateway exchanges once for tokens.")
    }

    async fn show_the_receipt(&mut self, connected: &Connected) -> Result<(), Failure> {
        let receipt = self.stage.customer.bytes(&Request::get(["v1", "consents", &connected.consent, "receipt"])).await?;
        let (_, keys) = self.public_keys().await?;
        let verdict = verify_file(&receipt, Some(&keys));
        let problems = || verdict.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.narrator.holds(verdict.verified, "the consent's receipt", "a true signature", problems)?;
        let predicate = statement(&receipt)?["predicate"].take();
        self.narrator.equal("the person in the receipt", text(&predicate, "/person").as_str(), PERSON)?;
        self.narrator.say("The connection is active. It rests on a consent, recorded first, with a signed receipt:")?;
        self.narrator.show(&[
            ("connection", connected.connection.clone()),
            ("consent", connected.consent.clone()),
            ("by", format!("{} of {}", text(&predicate, "/person"), text(&predicate, "/organisation"))),
            ("policy", format!("{}, text sha256 {}", text(&predicate, "/policy_version"), text(&predicate, "/policy_digest"))),
            ("purposes", text(&predicate, "/purposes")),
            ("streams", text(&predicate, "/streams")),
        ])
    }
}

/// The statement in an envelope.
pub(super) fn statement(envelope: &[u8]) -> Result<Value, Failure> {
    let unreadable = |fault: String| Failure::Answer { request: "GET a signed statement".into(), fault };
    let envelope: Value = serde_json::from_slice(envelope).map_err(|error| unreadable(format!("is no JSON ({error})")))?;
    let payload = BASE64.decode(text(&envelope, "/payload").as_bytes()).map_err(|error| unreadable(format!("has no payload ({error})")))?;
    serde_json::from_slice(&payload).map_err(|error| unreadable(format!("holds no statement ({error})")))
}

/// Where a page sends its visitor.
fn sent_on(page: &Page, what: &str) -> Result<Url, Failure> {
    page.location.clone().filter(|_| page.status == 303 || page.status == 302).ok_or_else(|| {
        // What a page says to a person is in its headings and paragraphs; a few words are enough to find the fault.
        let words: String = page.text.split(['<', '>']).skip(1).step_by(2).collect::<Vec<_>>().join(" ");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        Failure::outcome(format!("{what}: expected to be sent on, saw status {} and: {}", page.status, crate::ids::cut(&words)))
    })
}
