//! The customer's page: what is read and why, five acknowledgements, one button.

use std::sync::Arc;

use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;
use maud::Markup;
use maud::html;
use ring::digest::SHA256;
use ring::digest::digest;
use url::form_urlencoded;

use crate::api::Api;
use crate::api::body;
use crate::api::body::Segments;
use crate::api::idempotency::AnswerName;
use crate::api::pages::Page;
use crate::api::pages::fields;
use crate::api::pages::fields::Field;
use crate::api::pages::fields::FieldFault;
use crate::api::pages::prose::prose;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::Notice;
use crate::api::session;
use crate::api::session::ConnectSession;
use crate::api::session::Visit;
use crate::api::wire::connection::ConnectOrder;
use crate::consent::Acknowledgement;
use crate::consent::ConsentRequest;
use crate::consent::NAME_CHARS_MAX;
use crate::consent::Policy;
use crate::consent::Purpose;

/// The longest form that is read.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// `GET /connect/{token}`: the first visit swaps the link for a cookie and moves on to the page without the token.
///
/// A HEAD, which programs that preview links send, opens nothing.
pub async fn show(
    State(api): State<Arc<Api>>,
    Segments(token): Segments<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match session::visit(&api, &token, &headers, method == Method::GET).await? {
        Visit::Unknown => Ok(unknown_link().into_response()),
        Visit::Spent if method == Method::HEAD => Ok(StatusCode::OK.into_response()),
        Visit::Spent => Ok(spent_link().into_response()),
        Visit::Fresh(session, cookie) => {
            let mut response = Redirect::to(&page_path(&session)).into_response();
            let value = HeaderValue::from_str(&session::set_cookie(&api, &session, &cookie)).map_err(Problem::internal)?;
            response.headers_mut().insert(header::SET_COOKIE, value);
            Ok(response)
        }
        Visit::Known(session) if token != session.id.to_string() => Ok(Redirect::to(&page_path(&session)).into_response()),
        Visit::Known(session) => {
            let sheet = Sheet::load(&api, *session).await?;
            Ok(if sheet.session.connection.is_some() { done(&sheet) } else { sheet.page(&Form::blank(&sheet), &[]) }.into_response())
        }
    }
}

/// `POST /connect/{token}`: the customer's answer. Faults are shown on the page, beside what was filled in.
pub async fn submit(State(api): State<Arc<Api>>, Segments(token): Segments<String>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let session = match session::visit(&api, &token, &parts.headers, false).await? {
        Visit::Known(session) => *session,
        Visit::Spent => return Ok(spent_link().into_response()),
        Visit::Unknown | Visit::Fresh(..) => return Ok(unknown_link().into_response()),
    };
    if !is_form(&parts.headers) {
        return Err(Problem::UnsupportedMediaType { expected: "application/x-www-form-urlencoded" });
    }
    let bytes = body::read(body, FORM_BYTES_MAX).await?;
    let sheet = Sheet::load(&api, session).await?;
    if sheet.session.connection.is_some() {
        return Ok(done(&sheet).into_response());
    }
    let form = Form::read(&bytes);
    let order = match form.order(&sheet) {
        Ok(order) => order,
        Err(faults) => return Ok(sheet.page(&form, &faults).into_response()),
    };
    connect(&api, sheet, &form, order).await
}

async fn connect(api: &Api, sheet: Sheet, form: &Form, order: ConnectOrder) -> Result<Response, Problem> {
    // A second click on the button must not make a second connection.
    let _turn = match api.under_way.take(turn_name(&sheet.session), [0; 32]) {
        Ok(turn) => turn,
        Err(_) => return Ok(busy().into_response()),
    };
    let by = Principal::session(sheet.session.id, sheet.session.tenant.clone());
    let connected = match api.services.connections.connect(&by, order).await {
        Ok(connected) => connected,
        Err(problem) if problem.kind().status().is_client_error() => return Ok(sheet.page(form, &faults_of(problem)).into_response()),
        Err(problem) => return Err(problem),
    };
    let ended = ConnectSession { connection: Some(connected.connection), ..sheet.session.clone() };
    if !api.sessions.replace(sheet.session.clone(), ended.clone()).await? {
        tracing::warn!(session.id = %sheet.session.id, connection.id = %connected.connection, "a connect session changed while it was answered");
    }
    match connected.authorize_url {
        Some(url) => {
            let value = HeaderValue::from_str(&url).map_err(Problem::internal)?;
            let content = html! { p { a class="button" href=(url) { "Continue to " (sheet.notice.display_name) } } };
            let mut response = Page::new("One more step", content).status(StatusCode::SEE_OTHER).into_response();
            response.headers_mut().insert(header::LOCATION, value);
            Ok(response)
        }
        None => Ok(done(&Sheet { session: ended, ..sheet }).into_response()),
    }
}

/// Everything that the page shows.
struct Sheet {
    session: ConnectSession,
    notice: Notice,
    policy: &'static Policy,
    fields: Vec<Field>,
}

impl Sheet {
    async fn load(api: &Api, session: ConnectSession) -> Result<Self, Problem> {
        let notice = api.services.connectors.notice(&session.connector).await?;
        let fields = fields::fields(&notice.spec);
        Ok(Sheet { session, notice, policy: Policy::current(), fields })
    }

    fn purposes(&self) -> &[Purpose] {
        if self.session.purposes.is_empty() { &self.notice.purposes } else { &self.session.purposes }
    }

    fn page(&self, form: &Form, faults: &[FieldFault]) -> Page {
        let content = html! {
            @if !faults.is_empty() {
                div class="alert" role="alert" {
                    p { strong { "Nothing was connected yet." } " Please correct this and send the form again:" }
                    ul { @for fault in faults { li { @if fault.name.is_empty() { (fault.message) } @else { a href={ "#" (fault.name) } { (self.label(&fault.name)) } ": " (fault.message) } } } }
                }
            }
            (self.what_is_read())
            form method="post" action=(page_path(&self.session)) {
                input type="hidden" name="policy_version" value=(self.policy.version);
                (self.streams(form, faults))
                (self.configuration(form, faults))
                (self.acknowledgements(form, faults))
                (who(form, faults))
                p { button type="submit" { "Connect " (self.notice.display_name) } }
            }
            p class="hint" { "You can stop this connection at any time. Stopping keeps what was read before; deleting that is a separate choice, which is also yours." }
        };
        let mut page = Page::new(format!("Connect {}", self.notice.display_name), content);
        page.form_origin = self.notice.authorize_origin.clone();
        if faults.is_empty() { page } else { page.status(StatusCode::UNPROCESSABLE_ENTITY) }
    }

    fn what_is_read(&self) -> Markup {
        html! {
            p { "Headgate will read from your " strong { (self.notice.display_name) } " account for " strong { (self.session.tenant) } "." }
            h2 { "What for" }
            ul { @for purpose in self.purposes() { li { (purpose.as_str()) } } }
            @if !self.notice.scopes.is_empty() {
                h2 { "What " (self.notice.display_name) " will ask you to allow" }
                ul { @for (name, text) in &self.notice.scopes { li { (text) " " code { (name) } } } }
            }
            h2 { "How long it is kept" }
            p { (self.notice.retention) }
        }
    }

    fn streams(&self, form: &Form, faults: &[FieldFault]) -> Markup {
        html! {
            fieldset id="streams" {
                legend { "What is read" }
                @for (name, text) in &self.notice.streams {
                    label class="check" {
                        input type="checkbox" name="streams" value=(name) checked[form.streams.contains(name)];
                        span { strong { (name) } @if !text.is_empty() { ": " (text) } }
                    }
                }
                (fault_line(faults, "streams"))
            }
        }
    }

    fn configuration(&self, form: &Form, faults: &[FieldFault]) -> Markup {
        let asked: Vec<&Field> = self.fields.iter().filter(|field| !matches!(field.kind, fields::Kind::Fixed(_))).collect();
        html! {
            @if !asked.is_empty() {
                fieldset {
                    legend { "Your account" }
                    @for field in asked { (field.markup(form.config(&field.name()), message(faults, &field.name()))) }
                }
            }
        }
    }

    fn acknowledgements(&self, form: &Form, faults: &[FieldFault]) -> Markup {
        html! {
            h2 { "The policy, version " (self.policy.version) }
            div class="policy" tabindex="0" role="region" aria-label="Policy" { (prose(self.policy.text, 2)) }
            fieldset id="acknowledge" {
                legend { "Please acknowledge each" }
                @for acknowledgement in &self.policy.acknowledgements {
                    label class="check" {
                        input type="checkbox" name="acknowledge" value=(acknowledgement.id.as_str()) required checked[form.acknowledged(acknowledgement.id)];
                        span { (acknowledgement.text) }
                    }
                }
                (fault_line(faults, "acknowledge"))
            }
        }
    }

    fn label(&self, name: &str) -> String {
        let field = self.fields.iter().find(|field| field.name() == name).map(|field| field.label.clone());
        field.unwrap_or_else(|| match name {
            "person" => "Your name".into(),
            "organisation" => "Your organisation".into(),
            "streams" => "What is read".into(),
            "acknowledge" => "Acknowledgements".into(),
            "policy_version" => "The policy".into(),
            other => other.to_owned(),
        })
    }
}

/// What was filled in.
#[derive(Default)]
struct Form {
    person: String,
    organisation: String,
    policy_version: String,
    acknowledged: Vec<String>,
    streams: Vec<String>,
    config: Vec<(String, String)>,
}

impl Form {
    /// As the page is first shown: every stream chosen, nothing acknowledged.
    fn blank(sheet: &Sheet) -> Self {
        Form { streams: sheet.notice.streams.iter().map(|(name, _)| name.clone()).collect(), ..Form::default() }
    }

    fn read(bytes: &[u8]) -> Self {
        let mut form = Form::default();
        for (name, value) in form_urlencoded::parse(bytes) {
            let value = value.into_owned();
            match &*name {
                "person" => form.person = value.trim().to_owned(),
                "organisation" => form.organisation = value.trim().to_owned(),
                "policy_version" => form.policy_version = value,
                "acknowledge" => form.acknowledged.push(value),
                // A list may also come as one field, `a,b`.
                "streams" => form.streams.extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)),
                other if other.starts_with(fields::PREFIX) => form.config.push((other.to_owned(), value)),
                _ => {}
            }
        }
        form
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn acknowledged(&self, id: Acknowledgement) -> bool {
        self.acknowledged.iter().any(|given| given == id.as_str())
    }

    /// The order that the form amounts to, or everything that is wrong with it.
    fn order(&self, sheet: &Sheet) -> Result<ConnectOrder, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let mut fault = |name: &str, message: &str| faults.push(FieldFault { name: name.into(), message: message.into() });
        for (name, value) in [("person", &self.person), ("organisation", &self.organisation)] {
            if value.is_empty() || value.chars().count() > NAME_CHARS_MAX {
                fault(name, "Write a name of at most 200 characters.");
            }
        }
        if self.policy_version != sheet.policy.version {
            fault("policy_version", "The policy has changed since you opened this page. Please read it again, below.");
        }
        if !Acknowledgement::ALL.into_iter().all(|id| self.acknowledged(id)) {
            fault("acknowledge", "Please read and tick all five.");
        }
        if self.streams.is_empty() {
            fault("streams", "Choose at least one.");
        }
        if !self.streams.iter().all(|stream| sheet.notice.streams.iter().any(|(name, _)| name == stream)) {
            fault("streams", "One of these is not offered by this connector.");
        }
        let (config, more) = fields::configuration(&sheet.fields, &self.config);
        faults.extend(more);
        if !faults.is_empty() {
            return Err(faults);
        }
        let consent = ConsentRequest {
            person: self.person.clone(),
            organisation: self.organisation.clone(),
            policy_version: self.policy_version.clone(),
            purposes: sheet.purposes().to_vec(),
            acknowledged: Acknowledgement::ALL.map(|id| id.as_str().to_owned()).to_vec(),
        };
        let (connector, tenant) = (sheet.session.connector.clone(), sheet.session.tenant.clone());
        Ok(ConnectOrder { connector, tenant, config, consent, streams: Some(self.streams.clone()) })
    }
}

fn who(form: &Form, faults: &[FieldFault]) -> Markup {
    let input = |name: &str, label: &str, value: &str, autocomplete: &str| {
        html! {
            label for=(name) { (label) }
            input type="text" id=(name) name=(name) value=(value) required maxlength=(NAME_CHARS_MAX) autocomplete=(autocomplete);
            (fault_line(faults, name))
        }
    };
    html! {
        fieldset {
            legend { "Who agrees" }
            (input("person", "Your name", &form.person, "name"))
            (input("organisation", "Your organisation, which you may bind", &form.organisation, "organization"))
        }
    }
}

fn message<'a>(faults: &'a [FieldFault], name: &str) -> Option<&'a str> {
    faults.iter().find(|fault| fault.name == name).map(|fault| fault.message.as_str())
}

fn fault_line(faults: &[FieldFault], name: &str) -> Markup {
    html! { @if let Some(message) = message(faults, name) { div class="hint" { strong { (message) } } } }
}

/// The faults that the connection itself found, at their fields.
fn faults_of(problem: Problem) -> Vec<FieldFault> {
    match problem {
        Problem::InvalidMembers { errors } => errors
            .into_iter()
            .map(|error| FieldFault { name: error.pointer.trim_start_matches('/').replace('/', "."), message: error.message })
            .collect(),
        other => vec![FieldFault { name: String::new(), message: other.to_string() }],
    }
}

fn done(sheet: &Sheet) -> Page {
    let content = html! {
        p { (sheet.notice.display_name) " is connected, or waits for you to allow it there. You can close this page." }
        @if let Some(connection) = sheet.session.connection { p class="hint" { "Connection " code { (connection) } } }
        (way_back(sheet.session.return_url.as_deref()))
    };
    Page::new("Thank you", content)
}

/// The link back to where the customer came from.
pub fn way_back(return_url: Option<&str>) -> Markup {
    html! { @if let Some(url) = return_url { p { a class="button" href=(url) { "Go back" } } } }
}

fn unknown_link() -> Page {
    let content = html! { p { "There is no such link, or its time is over. Links work for an hour and in the browser that opened them. Please ask for a new one where you got this one." } };
    Page::new("This link does not work", content).status(StatusCode::NOT_FOUND)
}

fn spent_link() -> Page {
    let content = html! { p { "A link opens once, in one browser. If you opened it before, go on there; otherwise somebody else may have opened it, and you should ask for a new one where you got this one." } };
    Page::new("This link was opened before", content).status(StatusCode::GONE)
}

fn busy() -> Page {
    let content = html! { p { "Your answer arrived and is being carried out. Please wait a moment, then load this page again." } };
    Page::new("One moment", content).status(StatusCode::CONFLICT)
}

fn page_path(session: &ConnectSession) -> String {
    format!("/connect/{}", session.id)
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn turn_name(session: &ConnectSession) -> AnswerName {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, session.id.to_string().as_bytes()).as_ref());
    AnswerName(name)
}
