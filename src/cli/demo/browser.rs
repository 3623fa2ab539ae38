//! The customer's browser, as far as the demo needs one: it opens the application's page, says yes, and follows it back.

use std::time::Duration;

use reqwest::redirect::Policy;
use url::Url;

use crate::cli::failure::Failure;

/// The longest wait for one page.
const PAGE_WAIT: Duration = Duration::from_secs(30);

/// Opens the sandbox's consent page, approves, and follows the redirect to the gateway's callback.
pub async fn approve(authorize_url: &str) -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(PAGE_WAIT).build().map_err(broken)?;
    let mut page = Url::parse(authorize_url).map_err(|error| Failure::outcome(format!("`authorize_url` is no URL: {error}")))?;
    let shown = client.get(page.clone()).send().await.map_err(broken)?;
    if !shown.status().is_success() {
        return Err(Failure::outcome(format!("the application's consent page answered {}", shown.status())));
    }
    // The page's form repeats the question and adds the decision.
    let mut form: Vec<(String, String)> = page.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    form.push(("decision".into(), "approve".into()));
    page.set_query(None);
    let answer = client.post(page).form(&form).send().await.map_err(broken)?;
    let back = answer.headers().get(reqwest::header::LOCATION).and_then(|target| target.to_str().ok());
    let Some(back) = back else { return Err(Failure::outcome(format!("the application sent nobody back: {}", answer.status()))) };
    let arrived = client.get(back).send().await.map_err(broken)?;
    if arrived.status().is_success() || arrived.status().is_redirection() {
        Ok(())
    } else {
        Err(Failure::outcome(format!("the gateway's callback answered {}", arrived.status())))
    }
}

fn broken(error: reqwest::Error) -> Failure {
    // The URL holds the code and the state.
    Failure::Broken { request: "the browser's visit".into(), source: Box::new(error.without_url()) }
}
