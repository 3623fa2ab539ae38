//! What a row of the list of routes says, and nothing about how it is served.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::MethodFilter;
use axum::routing::MethodRouter;

use crate::api::Api;
use crate::api::body::BODY_BYTES_MAX;
use crate::api::principal::Role;
use crate::api::problem::Kind;
use crate::api::wire::schema::Schema;

/// One route.
pub struct Route {
    /// The method.
    pub verb: Verb,
    /// The path, in the syntax that axum and OpenAPI share.
    pub path: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Who may.
    pub access: Access,
    /// The query parameters it takes; any other is refused.
    pub query: &'static [Parameter],
    /// Takes whatever query comes: an application's redirect.
    pub any_query: bool,
    /// Answers payload, so a purpose must be stated.
    pub reads_payload: bool,
    /// Stops something: answered even when the audit log cannot be written (promise P8).
    pub stops: bool,
    /// The JSON body it reads.
    pub body: Option<Body>,
    /// Its answers other than problems.
    pub answers: &'static [Answer],
    /// The problems of its own, beside those that the row implies.
    pub problems: &'static [Kind],
    /// Members of the answer that hold a secret: kept nowhere, and null when an answer is repeated.
    pub secret_members: &'static [&'static str],
    /// Mounts the handler.
    pub handler: Handler,
}

/// Mounts a handler under a method.
pub type Handler = fn(MethodFilter) -> MethodRouter<Arc<Api>>;

/// The methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Acts.
    Post,
    /// Puts in its place.
    Put,
    /// Changes.
    Patch,
    /// Takes away.
    Delete,
}

impl Verb {
    /// The method's name in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    /// What `Allow` lists for it: whoever reads may also ask for the head alone.
    pub const fn allow(self) -> &'static str {
        match self {
            Verb::Get => "GET, HEAD",
            other => other.name(),
        }
    }

    /// The method, for the router.
    pub const fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a key.
    Public,
    /// A key with one of these roles, and the local operator.
    Roles(&'static [Role]),
    /// The local operator alone; the route is not there on TCP.
    Local,
}

impl Access {
    /// Every key.
    pub const EVERY_KEY: Access = Access::Roles(Role::ALL);
    /// Who may act for a tenant beyond reading.
    pub const CUSTOMER: Access = Access::Roles(&[Role::Customer, Role::Operator]);
    /// Operators alone.
    pub const OPERATOR: Access = Access::Roles(&[Role::Operator]);
}

/// A query parameter.
#[derive(Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub text: &'static str,
    /// Whether the route cannot do without.
    pub required: bool,
    /// Whether it may be given more than once.
    pub repeats: bool,
}

impl Parameter {
    /// A parameter that may be left out.
    pub const fn optional(name: &'static str, text: &'static str) -> Self {
        Parameter { name, text, required: false, repeats: false }
    }

    /// A parameter that must be there.
    pub const fn required(name: &'static str, text: &'static str) -> Self {
        Parameter { name, text, required: true, repeats: false }
    }

    /// May be given more than once.
    pub const fn repeated(mut self) -> Self {
        self.repeats = true;
        self
    }
}

/// A JSON body.
#[derive(Clone, Copy)]
pub struct Body {
    /// What it looks like.
    pub schema: Schema,
    /// Whether it may be absent.
    pub optional: bool,
    /// The longest that is read.
    pub bytes_max: usize,
    /// Whether the handler reads it as it came, compressed perhaps, and checks it itself.
    pub raw: bool,
}

/// An answer.
#[derive(Clone, Copy)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What it means.
    pub text: &'static str,
    /// Its content.
    pub content: Content,
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub enum Content {
    /// JSON of that schema.
    Json(Schema),
    /// Text of that type.
    Text(&'static str),
    /// Nothing.
    Empty,
}

impl Route {
    /// A row that takes no query and no body, open to every key.
    pub const fn new(verb: Verb, path: &'static str, summary: &'static str, handler: Handler) -> Self {
        Route {
            verb,
            path,
            summary,
            access: Access::EVERY_KEY,
            query: &[],
            any_query: false,
            reads_payload: false,
            stops: false,
            body: None,
            answers: &[],
            problems: &[],
            secret_members: &[],
            handler,
        }
    }

    /// Who may.
    pub const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Stops something.
    pub const fn stops(mut self) -> Self {
        self.stops = true;
        self
    }

    /// The query parameters.
    pub const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    /// Takes whatever query comes.
    pub const fn any_query(mut self) -> Self {
        self.any_query = true;
        self
    }

    /// Needs a purpose.
    pub const fn payload(mut self) -> Self {
        self.reads_payload = true;
        self
    }

    /// Needs a JSON body.
    pub const fn body(mut self, schema: Schema) -> Self {
        self.body = Some(Body { schema, optional: false, bytes_max: BODY_BYTES_MAX, raw: false });
        self
    }

    /// Takes a JSON body if there is one.
    pub const fn optional_body(mut self, schema: Schema) -> Self {
        self.body = Some(Body { schema, optional: true, bytes_max: BODY_BYTES_MAX, raw: false });
        self
    }

    /// Reads a body itself, of at most so many bytes.
    pub const fn raw_body(mut self, schema: Schema, bytes_max: usize) -> Self {
        self.body = Some(Body { schema, optional: true, bytes_max, raw: true });
        self
    }

    /// The answers other than problems.
    pub const fn answers(mut self, answers: &'static [Answer]) -> Self {
        self.answers = answers;
        self
    }

    /// The problems of its own.
    pub const fn problems(mut self, problems: &'static [Kind]) -> Self {
        self.problems = problems;
        self
    }

    /// The members of the answer that hold a secret.
    pub const fn secret_members(mut self, members: &'static [&'static str]) -> Self {
        self.secret_members = members;
        self
    }

    /// Whether the row changes something.
    pub fn acts(&self) -> bool {
        self.verb != Verb::Get
    }

    /// Whether `Idempotency-Key` is honoured.
    pub fn is_idempotent(&self) -> bool {
        self.verb == Verb::Post && self.path.starts_with("/v1/")
    }

    /// The names of the path's parameters.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| name.trim_start_matches('*'))
    }

    /// Every problem that the row can answer: its own and those that its other columns imply.
    pub fn all_problems(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::TooMany, Kind::Internal, Kind::Unavailable, Kind::AnswerTimeout];
        if !self.any_query {
            kinds.push(Kind::UnknownParameter);
        }
        if !self.query.is_empty() {
            kinds.push(Kind::BadParameter);
        }
        if let Access::Roles(roles) = self.access {
            kinds.push(Kind::Unauthenticated);
            if roles.len() < Role::ALL.len() {
                kinds.push(Kind::RoleRefused);
            }
        }
        if self.reads_payload {
            kinds.extend([Kind::PurposeMissing, Kind::PurposeRefused, Kind::PurposeNotAgreed]);
        }
        if self.path_parameters().next().is_some() {
            kinds.push(Kind::NotFound);
        }
        if self.acts() {
            kinds.extend([Kind::Malformed, Kind::TooLarge, Kind::BodyTimeout, Kind::InvalidMembers]);
        }
        if self.body.is_some_and(|body| !body.raw) {
            kinds.push(Kind::UnsupportedMediaType);
        }
        if self.is_idempotent() {
            kinds.extend([Kind::IdempotencyUnderWay, Kind::IdempotencyMismatch]);
        }
        kinds.extend(self.problems);
        kinds.sort_by_key(|kind| (kind.status().as_u16(), kind.name()));
        kinds.dedup();
        kinds
    }
}

/// An answer of JSON.
pub const fn json(status: StatusCode, text: &'static str, schema: Schema) -> Answer {
    Answer { status, text, content: Content::Json(schema) }
}

/// An answer of text of that type.
pub const fn text(status: StatusCode, text: &'static str, content_type: &'static str) -> Answer {
    Answer { status, text, content: Content::Text(content_type) }
}

/// An answer of nothing.
pub const fn empty(status: StatusCode, text: &'static str) -> Answer {
    Answer { status, text, content: Content::Empty }
}
