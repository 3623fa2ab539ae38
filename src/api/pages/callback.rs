//! Where the application sends the customer back to, and what the customer then reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use maud::html;
use url::form_urlencoded;

use crate::api::Api;
use crate::api::pages::Page;
use crate::api::pages::connect::way_back;
use crate::api::problem::Problem;
use crate::api::services::CallbackOutcome;
use crate::api::session;
use crate::api::session::Handle;

/// The most parameters of a redirect that are read.
pub const PARAMETERS_MAX: usize = 64;

/// `GET /oauth/callback`
///
/// A connection that a customer's link began is completed only in the browser that opened the link: a stranger who is
/// lured to another's authorization would otherwise connect their own account to it.
pub async fn page(State(api): State<Arc<Api>>, request: Request) -> Result<Page, Problem> {
    let mut query: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).take(PARAMETERS_MAX) {
        if query.insert(name.into_owned(), value.into_owned()).is_some() {
            return Ok(refused("The application's answer names something twice."));
        }
    }
    let Some(state) = query.get("state") else { return Ok(refused("The application's answer carries no state.")) };
    let pending = api.services.connections.pending(state).await?;
    let session = match pending {
        Some(connection) => api.sessions.find(Handle::Connection(connection)).await?,
        None => None,
    };
    if session.as_ref().is_some_and(|session| !same_browser(session, request.headers())) {
        return Ok(refused("This authorization began in another browser. Please go on there."));
    }
    let return_url = session.and_then(|session| session.return_url);
    match api.services.connections.callback(query).await {
        Ok(outcome) => Ok(told(&outcome, return_url.as_deref())),
        Err(problem) if problem.kind().status().is_client_error() => Ok(refused(&problem.to_string())),
        Err(problem) if problem.kind().status() == StatusCode::BAD_GATEWAY => Ok(failed(&problem.to_string())),
        Err(problem) => Err(problem),
    }
}

fn same_browser(session: &session::ConnectSession, headers: &HeaderMap) -> bool {
    session::holds_cookie(session, headers)
}

fn told(outcome: &CallbackOutcome, return_url: Option<&str>) -> Page {
    match outcome {
        CallbackOutcome::Connected { connection, display_name } => {
            let content = html! {
                p { (display_name) " is connected. You can close this page." }
                p class="hint" { "Connection " code { (connection) } }
                (way_back(return_url))
            };
            Page::new("Connected", content)
        }
        CallbackOutcome::Declined { connection, display_name, error } => {
            let content = html! {
                p { (display_name) " did not allow the connection: " code { (error) } ". Nothing was read. You can begin again from where you started." }
                p class="hint" { "Connection " code { (connection) } " stays pending." }
                (way_back(return_url))
            };
            Page::new("Not connected", content)
        }
    }
}

fn refused(reason: &str) -> Page {
    let content = html! {
        p { (reason) }
        p { "Nothing was connected and nothing was read. An authorization works once, for ten minutes; please begin again from where you started." }
    };
    Page::new("Not connected", content).status(StatusCode::BAD_REQUEST)
}

fn failed(reason: &str) -> Page {
    let content = html! { p { (reason) } p { "Nothing was read. Please try again later." } };
    Page::new("Not connected", content).status(StatusCode::BAD_GATEWAY)
}
