//! How to treat what a connector reads (`headgate.yaml`): authorization, hosts, budgets, kinds, keys, retention.
//!
//! The keys are fixed by the contract and described by `schemas/headgate.schema.json`; a test holds the two together. Addresses may
//! hold expressions over `config`. Without a treatment a manifest runs with the strict defaults of [`Treatment::strict`].

use std::rc::Rc;

use jiff::SignedDuration;
use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Document;
use crate::connector::component::reader::Reader;
use crate::connector::component::value::Expression;
use crate::connector::component::value::choice;
use crate::connector::problem::Code;
use crate::connector::problem::Problem;
use crate::connector::yaml::Node;
use crate::connector::yaml::Repeated;
use crate::connector::yaml::parse;
use crate::consent::Purpose;
use crate::record::Kind;
use crate::record::Mapping;
use crate::record::Pointer;

/// The days that records are kept when nothing else is said.
pub const RETENTION_DAYS: u32 = 30;
/// The most days that a retention may have: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// The shortest interval between two scheduled pulls.
pub const SCHEDULE_MIN: SignedDuration = SignedDuration::from_mins(1);

component! {
    /// How to treat what a connector reads.
    Treatment {
        /// What people call the application.
        display_name: Option<String>;
        /// How a customer authorizes it; without this, by the configuration alone.
        authorization: Option<Authorization>;
        /// `host` or `host:port` that requests may go to; without one, those of the rendered addresses.
        hosts: Vec<Expression> = Vec::new();
        /// How many requests are allowed in which time.
        budgets: Vec<Budget> = Vec::new();
        /// When connections pull by themselves; without one they do not.
        schedule: Option<Schedule>;
        /// What the data is used for when a connection does not say.
        purposes: Vec<Purpose> = Vec::new();
        /// How each stream is treated.
        streams: Named<StreamTreatment> = Named(Vec::new());
        /// How long records are kept.
        retention: Retention = Retention::default();
        /// The application's messages, and how each is verified.
        signals: Vec<Value> = Vec::new();
    }
}

component! {
    /// How a customer authorizes the application.
    Authorization {
        /// The way.
        r#type: AuthorizationKind;
        /// Where the customer's browser is sent.
        authorize_url: Option<Expression>;
        /// Where codes and refresh tokens are exchanged.
        token_url: Option<Expression>;
        /// Where tokens are revoked (RFC 7009).
        revoke_url: Option<Expression>;
        /// Whether the exchange is bound by PKCE with S256 (RFC 7636).
        pkce: bool = true;
        /// How the application's own credential is sent to the token endpoint.
        client_auth: ClientAuth = ClientAuth::Basic;
        /// What is asked for.
        scopes: Vec<Scope> = Vec::new();
        /// What joins them: a space (RFC 6749 section 3.3), for some applications a comma.
        scope_separator: String = " ".to_owned();
        /// Where in the configuration the manifest looks for the access token.
        access_token_path: Vec<String> = Vec::new();
        /// Parameters of the redirect that become part of the configuration, under their own names.
        redirect_params: Vec<String> = Vec::new();
        /// The name that the authorization server gives itself in the redirect; it is compared (RFC 9207).
        issuer: Option<Expression>;
    }
}

choice! {
    /// How a customer authorizes the application.
    AuthorizationKind { OAuth2Code = "oauth2_code", OAuth2Client = "oauth2_client", ApiKey = "api_key", Linkage = "linkage" }
}

choice! {
    /// How the application's own credential is sent to the token endpoint.
    ClientAuth { Basic = "basic", Body = "body", None = "none" }
}

component! {
    /// A permission, in the application's word and in plain ones.
    Scope {
        /// The application's word.
        name: String;
        /// What the customer reads.
        text: String;
    }
}

component! {
    /// At most so many requests in so many seconds.
    Budget {
        /// What the requests are counted for.
        per: BudgetScope;
        /// The number of requests.
        requests: u32;
        /// The seconds.
        seconds: u32;
    }
}

choice! {
    /// What requests are counted for.
    BudgetScope { Connection = "connection", Tenant = "tenant", Application = "application" }
}

component! {
    /// When connections pull by themselves.
    Schedule {
        /// The time between two pulls.
        every: Interval;
    }
}

component! {
    /// How a stream is treated.
    StreamTreatment {
        /// What its records are read as.
        kind: Option<Kind>;
        /// Where the fields of the kind are in a record.
        mapping: Named<Pointer> = Named(Vec::new());
        /// Where the keys are that records are found by.
        business_keys: Named<Pointer> = Named(Vec::new());
        /// Where personal data is.
        personal: Vec<Pointer> = Vec::new();
    }
}

component! {
    /// How long records are kept.
    Retention {
        /// The name of the rule.
        class: String = "default".to_owned();
        /// The days, counted from the anchor.
        days: u32 = RETENTION_DAYS;
        /// What the days are counted from.
        anchor: Anchor = Anchor::Received;
    }
}

/// What the days of a retention are counted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// When the record was received.
    Received,
    /// When the application says it was changed: the stream's cursor field.
    UpdatedAt,
    /// A time in the record.
    Pointer(Pointer),
}

/// The time between two pulls, at least [`SCHEDULE_MIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub SignedDuration);

/// A map whose keys are free names, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl Treatment {
    /// Reads a treatment. To be called with [`crate::connector::yaml::STACK_BYTES`] of stack.
    ///
    /// # Errors
    /// Every problem of the text, in the order of its lines.
    pub fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(Document::Treatment);
        let treatment = match parse(text, Repeated::Refused) {
            Ok(node) => Self::accept(&node, &mut reader),
            Err(error) => {
                reader.problem(Code::Unreadable, error.line, error.message);
                None
            }
        };
        if let Some(treatment) = &treatment {
            treatment.check_bounds(&mut reader);
        }
        match treatment {
            Some(treatment) if reader.is_clean() => Ok(treatment),
            _ => Err(reader.into_problems()),
        }
    }

    /// The treatment of a connector that has none: nothing is scheduled, no keys, thirty days.
    pub fn strict() -> Self {
        Treatment {
            display_name: None,
            authorization: None,
            hosts: Vec::new(),
            budgets: Vec::new(),
            schedule: None,
            purposes: Vec::new(),
            streams: Named(Vec::new()),
            retention: Retention::default(),
            signals: Vec::new(),
            line: 0,
        }
    }

    /// How the stream called `name` is treated.
    pub fn stream(&self, name: &str) -> Option<&StreamTreatment> {
        self.streams.get(name)
    }

    fn check_bounds(&self, reader: &mut Reader) {
        for budget in &self.budgets {
            if budget.requests == 0 || budget.seconds == 0 {
                let message = "a budget needs at least one request and one second".to_owned();
                reader.within("budgets", |reader| reader.problem(Code::NotAccepted, budget.line, message));
            }
        }
        if !(1..=RETENTION_DAYS_MAX).contains(&self.retention.days) {
            let message = format!("is {}, but needs 1 to {RETENTION_DAYS_MAX} days", self.retention.days);
            reader.within("retention.days", |reader| reader.problem(Code::NotAccepted, self.retention.line, message));
        }
        if let Some(authorization) = &self.authorization {
            reader.within("authorization", |reader| authorization.check_completeness(reader));
        }
    }
}

impl Authorization {
    /// OAuth needs its endpoints and a place for the token.
    fn check_completeness(&self, reader: &mut Reader) {
        let authorize = ("authorize_url", self.authorize_url.is_some());
        let token = ("token_url", self.token_url.is_some());
        let place = ("access_token_path", !self.access_token_path.is_empty());
        let needed: &[(&str, bool)] = match self.r#type {
            AuthorizationKind::OAuth2Code => &[authorize, token, place],
            AuthorizationKind::OAuth2Client => &[token, place],
            AuthorizationKind::ApiKey | AuthorizationKind::Linkage => &[],
        };
        for (key, _) in needed.iter().filter(|(_, there)| !there) {
            reader.problem(Code::MissingField, self.line, format!("{} needs `{key}`", self.r#type.as_str()));
        }
    }
}

impl StreamTreatment {
    /// Where the fields of the kind are.
    pub fn view(&self) -> Mapping {
        Mapping::new(self.mapping.0.clone())
    }
}

impl Default for Retention {
    fn default() -> Self {
        Retention { class: "default".to_owned(), days: RETENTION_DAYS, anchor: Anchor::Received, line: 0 }
    }
}

impl<T> Named<T> {
    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl<T: Accept> Accept for Named<T> {
    const ACCEPTS: &'static str = "a map of names";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let Some(members) = node.as_map() else { return reader.wrong_kind(node, Self::ACCEPTS) };
        let read = |(key, member): (&Rc<str>, &crate::connector::yaml::Member)| {
            reader.within(key.to_string(), |reader| T::accept(&member.node, reader)).map(|value| (key.to_string(), value))
        };
        let read: Vec<_> = members.iter().map(read).collect();
        read.into_iter().collect::<Option<_>>().map(Named)
    }
}

impl Accept for Pointer {
    const ACCEPTS: &'static str = "a JSON Pointer such as /line_items/*/sku";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        match text.parse::<Pointer>() {
            Ok(pointer) if !text.is_empty() => Some(pointer),
            _ => reader.not_accepted(node, Self::ACCEPTS),
        }
    }
}

impl Accept for Kind {
    const ACCEPTS: &'static str = "one of order invoice shipment product tracking workflow_artifact customer payment ticket";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        text.parse().ok().or_else(|| reader.not_accepted(node, Self::ACCEPTS))
    }
}

impl Accept for Purpose {
    const ACCEPTS: &'static str = "one of fulfilment shipping accounting support analytics automation security legal";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        text.parse().ok().or_else(|| reader.not_accepted(node, Self::ACCEPTS))
    }
}

impl Accept for Anchor {
    const ACCEPTS: &'static str = "received, updated_at, or a JSON Pointer";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match node.as_text() {
            Some("received") => Some(Anchor::Received),
            Some("updated_at") => Some(Anchor::UpdatedAt),
            Some(text) if text.starts_with('/') => Pointer::accept(node, reader).map(Anchor::Pointer),
            _ => reader.not_accepted(node, Self::ACCEPTS),
        }
    }
}

impl Accept for Interval {
    const ACCEPTS: &'static str = "an ISO 8601 duration of at least PT1M, such as PT15M";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        Interval::parse(&text).or_else(|| reader.not_accepted(node, Self::ACCEPTS))
    }
}

impl Interval {
    /// Reads an ISO 8601 duration; nothing when it is none, or shorter than [`SCHEDULE_MIN`]. Days have 24 hours.
    pub fn parse(text: &str) -> Option<Self> {
        // The library also reads `15m`, which the contract does not have.
        let span: jiff::Span = text.starts_with('P').then(|| text.parse().ok())??;
        let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        (duration >= SCHEDULE_MIN).then_some(Interval(duration))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::connector::catalogue::EMBEDDED;
    use crate::connector::component::Description;
    use crate::connector::yaml::with_stack;

    const SCHEMA: &str = include_str!("../../schemas/headgate.schema.json");

    fn check(text: &str) -> Vec<(Code, u32, String)> {
        let problems = with_stack(|| Treatment::read(text)).err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.code, problem.line, problem.path)).collect()
    }

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    /// The published schema has exactly the keys that the code reads.
    #[test]
    fn schema_and_code_have_the_same_keys() {
        let blocks: [&Description; 7] = [
            &Treatment::ABOUT,
            &Authorization::ABOUT,
            &Scope::ABOUT,
            &Budget::ABOUT,
            &Schedule::ABOUT,
            &StreamTreatment::ABOUT,
            &Retention::ABOUT,
        ];
        for block in blocks {
            let definition = &schema()["$defs"][block.name];
            let described: BTreeSet<_> = definition["properties"].as_object().unwrap().keys().cloned().collect();
            let read: BTreeSet<_> = block.fields.iter().map(|field| field.name.to_owned()).collect();
            assert_eq!(described, read, "{}", block.name);
            assert_eq!(definition["additionalProperties"], Value::Bool(false), "{}", block.name);
        }
    }

    /// The embedded treatments satisfy the schema, and what the code refuses the schema refuses too.
    #[test]
    fn schema_and_code_agree_on_examples() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let json = |text: &str| with_stack(|| parse(text, Repeated::Refused).unwrap().to_json());
        for embedded in EMBEDDED {
            let text = embedded.load().unwrap().treatment_text.unwrap();
            let errors: Vec<_> = validator.iter_errors(&json(&text)).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{}", embedded.name);
        }
        for refused in [
            "displayname: x",
            "authorization: {type: oauth3}",
            "authorization: {type: oauth2_code, token_url: 'https://a/t'}",
            "authorization: {type: api_key, scopes: [{name: a}]}",
            "budgets: [{per: connection, requests: 0, seconds: 1}]",
            "budgets: [{per: planet, requests: 1, seconds: 1}]",
            "schedule: {every: 15}",
            "streams: {a: {kind: parcel}}",
            "streams: {a: {mapping: {x: no_pointer}}}",
            "retention: {days: 0}",
            "retention: {anchor: never}",
            "purposes: [sale]",
        ] {
            assert!(!check(refused).is_empty(), "the code accepts {refused}");
            assert!(!validator.is_valid(&json(refused)), "the schema accepts {refused}");
        }
    }

    /// Every problem is told at once, with the line and the path of the key.
    #[test]
    fn problems_come_together() {
        let text = "display_name: X\ncolour: red\nretention:\n  days: 99999\n  years: 3\nschedule:\n  every: PT5S\nstreams:\n  a:\n    business_keys: {n: order}\n";
        let expected = [
            (Code::TreatmentKey, 2, "colour".to_owned()),
            (Code::TreatmentKey, 5, "retention.years".to_owned()),
            (Code::TreatmentValue, 7, "schedule.every".to_owned()),
            (Code::TreatmentValue, 10, "streams.a.business_keys.n".to_owned()),
        ];
        assert_eq!(check(text), expected);
    }

    /// A schedule is a duration of at least a minute.
    #[test]
    fn intervals_have_a_floor() {
        assert_eq!(Interval::parse("PT15M"), Some(Interval(SignedDuration::from_mins(15))));
        assert_eq!(Interval::parse("P1D"), Some(Interval(SignedDuration::from_hours(24))));
        for refused in ["PT59S", "-PT5M", "15m", "", "P1M"] {
            assert_eq!(Interval::parse(refused), None, "{refused}");
        }
    }
}
