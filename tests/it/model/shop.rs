//! The application of one connection, and the customer's browser.

use headgate::sandbox::Client;
use headgate::sandbox::Faults;
use headgate::sandbox::LoggedRequest;
use headgate::sandbox::Options;
use headgate::sandbox::Purpose;
use headgate::sandbox::Sandbox;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use url::Url;

use super::door::CLIENT_ID;
use super::door::CLIENT_SECRET;
use super::door::PUBLIC_URL;
use crate::support::dice::Dice;

/// Records of a shop; with the connectors' pages of [`super::door::PAGE_SIZE`] a pull has about 14 pages.
const RECORDS: u64 = 120;

/// An application with one connection.
pub struct Shop {
    sandbox: Sandbox,
    browser: reqwest::Client,
}

impl Shop {
    /// Opens a shop.
    pub async fn open(seed: u64) -> Self {
        let redirect_uris = vec![format!("{PUBLIC_URL}/oauth/callback")];
        let client = Client { id: CLIENT_ID.into(), secret: Some(CLIENT_SECRET.into()), redirect_uris };
        let options = Options { seed, records: RECORDS, clients: vec![client], ..Options::default() };
        let browser = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().expect("a browser");
        Shop { sandbox: Sandbox::start(options).await.expect("a free port"), browser }
    }

    pub fn base_url(&self) -> &str {
        self.sandbox.base_url()
    }

    pub fn address(&self) -> String {
        self.sandbox.address().to_string()
    }

    /// Requests for data or tokens, oldest first.
    pub fn fetches(&self) -> Vec<LoggedRequest> {
        let mut log = self.sandbox.log();
        log.retain(|request| matches!(request.purpose, Purpose::Data | Purpose::Token));
        log
    }

    /// Requests for tokens.
    pub fn token_requests(&self) -> Vec<LoggedRequest> {
        let mut log = self.sandbox.log();
        log.retain(|request| request.purpose == Purpose::Token);
        log
    }

    /// Records of a stream, as a complete pull brings them.
    pub fn count(&self, stream: &str) -> u64 {
        let counts = self.sandbox.counts();
        match stream {
            "customers" => counts.customers,
            "orders" => counts.orders,
            "invoices" => counts.invoices,
            "shipments" => counts.shipments,
            _ => counts.products,
        }
    }

    pub fn advance(&self) {
        self.sandbox.advance();
    }

    pub fn expire_access_tokens(&self) {
        self.sandbox.expire_access_tokens();
    }

    pub fn end_grants(&self) {
        self.sandbox.end_grants();
    }

    pub fn grants_alive(&self) -> usize {
        self.sandbox.grants_alive()
    }

    /// Breaks the shop in a few ways at once; whether an answer of the token endpoint will be lost.
    pub fn break_down(&self, dice: &mut Dice) -> bool {
        let mut few = |percent, most| if dice.chance(percent) { u32::try_from(1 + dice.roll(most)).unwrap_or(1) } else { 0 };
        let faults = Faults {
            fail: few(30, 3),
            limit: few(30, 2),
            cut: few(30, 2),
            drop: few(30, 2),
            token_fail: few(30, 2),
            token_lose: few(15, 2),
            revoke_fail: few(20, 2),
            ..self.sandbox.faults()
        };
        let lost = faults.token_lose > 0;
        self.sandbox.set_faults(faults);
        lost
    }

    /// Makes the shop slow, so that acts find requests under way; or quick and whole again.
    pub fn slow_down(&self, data_ms: u64, token_ms: u64) {
        self.sandbox.set_faults(Faults { delay_ms: data_ms, token_delay_ms: token_ms, ..self.sandbox.faults() });
    }

    /// Whether faults are still due.
    pub fn is_broken(&self) -> bool {
        Faults { delay_ms: 0, token_delay_ms: 0, ..self.sandbox.faults() } != Faults::default()
    }

    /// Ends every fault.
    pub fn mend(&self) {
        self.sandbox.set_faults(Faults::default());
    }

    /// The customer opens the shop's page, says yes or no, and goes where the shop sends the browser: to the gateway at
    /// `gateway`, whatever its public name. Answers with the status of that; none when the gateway did not answer.
    pub async fn decide(&self, authorize_url: &str, decision: &str, gateway: &str) -> Option<u16> {
        let back = self.sent_back(authorize_url, decision).await;
        let back = back.replacen(PUBLIC_URL, gateway, 1);
        self.browser.get(back).send().await.ok().map(|answer| answer.status().as_u16())
    }

    async fn sent_back(&self, authorize_url: &str, decision: &str) -> String {
        let mut page = Url::parse(authorize_url).expect("a URL");
        let shown = self.browser.get(page.clone()).send().await.expect("the shop answers");
        assert_eq!(shown.status(), 200, "the shop's consent page");
        let mut form: Vec<(String, String)> = page.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        form.push(("decision".into(), decision.into()));
        page.set_query(None);
        let answer = self.browser.post(page).form(&form).send().await.expect("the shop answers");
        answer.headers()[LOCATION].to_str().expect("a URL").to_owned()
    }
}
