//! A connector: its manifest, its treatment, and what both say about a configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;

use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::Requester;
use crate::connector::component::source::DeclarativeSource;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::value::Expression;
use crate::connector::configuration::Configuration;
use crate::connector::configuration::normalized;
use crate::connector::configuration::validated;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::manifest;
use crate::connector::manifest::making::Component;
use crate::connector::manifest::making::Making;
use crate::connector::problem::Code;
use crate::connector::problem::Problem;
use crate::connector::reading::SchemaPart;
use crate::connector::reading::chosen;
use crate::connector::reading::combined;
use crate::connector::reading::schema_parts;
use crate::connector::treatment::AuthorizationKind;
use crate::connector::treatment::Treatment;
use crate::connector::yaml::with_stack;
use crate::digest::Digest;

/// The most characters of a connector's name.
pub const NAME_CHARS_MAX: usize = 64;
/// The steps that one regular expression of a specification may take.
const PATTERN_STEPS_MAX: usize = 100_000;
/// How deep a schema of a file may be, with the files that it includes.
const SCHEMA_DEPTH_MAX: usize = 64;
/// The most problems of a configuration that are told.
pub(super) const CONFIG_PROBLEMS_MAX: usize = 50;

/// Why a connector cannot be had, or cannot be used with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// Its files have problems.
    #[error("connector `{name}` has {} problem(s); the first: {first}; run `headgate connectors check` for all", .problems.len(), first = .problems.first().map(ToString::to_string).unwrap_or_default())]
    Refused {
        /// The connector.
        name: String,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// An expression over the configuration has no value.
    #[error("`{what}` of connector `{name}` cannot be rendered with this configuration")]
    Expression {
        /// The connector.
        name: String,
        /// The field.
        what: &'static str,
        /// Why.
        source: Box<ExpressionError>,
    },
    /// An address is none.
    #[error("`{what}` of connector `{name}` renders to `{text}`, which is no absolute http or https address; check the configuration")]
    Address {
        /// The connector.
        name: String,
        /// The field.
        what: &'static str,
        /// What it rendered to, cut short.
        text: String,
    },
}

/// The definition of how to read one application, and how to treat what is read.
#[derive(Debug)]
pub struct Connector {
    /// The folder's name, or the file's without `.yaml`.
    pub name: String,
    /// How to fetch.
    pub manifest: DeclarativeSource,
    /// What is ignored in the manifest, as the original ignores it.
    pub warnings: Vec<Problem>,
    /// How to treat.
    pub treatment: Treatment,
    /// The digest of both texts, with a zero byte between them when there are two.
    pub digest: Digest,
    /// The manifest as written.
    pub manifest_text: String,
    /// The treatment as written, if there is one.
    pub treatment_text: Option<String>,
    /// The schema files beside the manifest, by their paths in the connector's folder.
    pub schema_texts: BTreeMap<String, String>,
}

impl Connector {
    /// Reads a connector from its texts.
    ///
    /// # Errors
    /// Every problem of both texts.
    pub fn load(name: &str, manifest_text: &str, treatment_text: Option<&str>) -> Result<Self, ConnectorError> {
        Self::load_with(name, manifest_text, treatment_text, BTreeMap::new())
    }

    /// As [`Connector::load`], with the schema files beside the manifest, by their paths.
    ///
    /// # Errors
    /// Every problem of all texts.
    pub fn load_with(
        name: &str,
        manifest_text: &str,
        treatment_text: Option<&str>,
        schema_texts: BTreeMap<String, String>,
    ) -> Result<Self, ConnectorError> {
        Self::load_for(name, manifest_text, treatment_text, schema_texts, None)
    }

    /// The connector of one configuration: conditional streams are there or not, and dynamic streams are made of the components
    /// that were found.
    ///
    /// # Errors
    /// Every problem of what was made, with the lines of the manifest.
    pub fn made(&self, config: &Value, clock: &Clock, found: Vec<Vec<Component>>) -> Result<Self, ConnectorError> {
        let mut scope = Scope::new(clock.clone());
        scope.set("config", dynamic(config));
        Self::load_for(
            &self.name,
            &self.manifest_text,
            self.treatment_text.as_deref(),
            self.schema_texts.clone(),
            Some(&Making { scope, found }),
        )
    }

    fn load_for(
        name: &str,
        manifest_text: &str,
        treatment_text: Option<&str>,
        schema_texts: BTreeMap<String, String>,
        making: Option<&Making>,
    ) -> Result<Self, ConnectorError> {
        let refused = |problems| ConnectorError::Refused { name: crate::ids::cut(name), problems };
        if !is_name(name) {
            let message =
                format!("`{}` is no connector name: use 1 to {NAME_CHARS_MAX} of letters, digits, `-`, `_`, `.`", crate::ids::cut(name));
            return Err(refused(vec![Problem { code: Code::Path, file: "", line: 0, path: String::new(), message }]));
        }
        let (manifest, treatment) = with_stack(|| {
            let treatment = treatment_text.map_or_else(|| Ok(Treatment::strict()), Treatment::read);
            (manifest::read_for(manifest_text, making), treatment)
        });
        match (manifest, treatment) {
            (Ok(manifest), Ok(treatment)) => {
                let mut bytes = manifest_text.as_bytes().to_vec();
                if let Some(text) = treatment_text {
                    bytes.push(0);
                    bytes.extend_from_slice(text.as_bytes());
                }
                // Two zero bytes in a row stand in no text before: what comes behind them cannot be taken for a treatment.
                for (path, text) in &schema_texts {
                    bytes.extend_from_slice(b"\0\0");
                    bytes.extend_from_slice(path.as_bytes());
                    bytes.push(0);
                    bytes.extend_from_slice(text.as_bytes());
                }
                let connector = Connector {
                    name: name.to_owned(),
                    manifest: manifest.source,
                    warnings: manifest.warnings,
                    treatment,
                    digest: Digest::of(&bytes),
                    manifest_text: manifest_text.to_owned(),
                    treatment_text: treatment_text.map(str::to_owned),
                    schema_texts,
                };
                let problems = connector.check();
                if problems.is_empty() { Ok(connector) } else { Err(refused(problems)) }
            }
            (manifest, treatment) => {
                let mut problems = manifest.err().unwrap_or_default();
                problems.extend(treatment.err().unwrap_or_default());
                Err(refused(problems))
            }
        }
    }

    /// What people call the application.
    pub fn display_name(&self) -> &str {
        self.treatment.display_name.as_deref().unwrap_or(&self.name)
    }

    /// The stream called `name`.
    pub fn stream(&self, name: &str) -> Option<&DeclarativeStream> {
        self.manifest.stream(name)
    }

    /// What becomes of a configuration that is given, and what is wrong with it: the manifest's migrations and transformations are
    /// applied, then the result is checked.
    ///
    /// # Errors
    /// Everything that is wrong, without repeating a value.
    pub fn take(&self, given: Value, clock: &Clock) -> Result<Configuration, Vec<Problem>> {
        let taken = normalized(self.manifest.spec.as_ref(), given, clock)?;
        let mut problems = self.check_config(&taken.used);
        problems.extend(validated(self.manifest.spec.as_ref(), &taken.used, clock));
        if problems.is_empty() { Ok(taken) } else { Err(problems) }
    }

    /// The configuration that expressions see, of one that is kept.
    ///
    /// # Errors
    /// When the manifest's rules cannot be applied to it any more.
    pub fn used_config(&self, kept: Value, clock: &Clock) -> Result<Value, ConnectorError> {
        let taken = normalized(self.manifest.spec.as_ref(), kept, clock);
        taken.map(|taken| taken.used).map_err(|problems| ConnectorError::Refused { name: self.name.clone(), problems })
    }

    /// The schema of a stream's records as far as the connector's files have it; what the application tells is not part of it.
    pub fn schema(&self, name: &str) -> Option<Cow<'_, Value>> {
        let mut scope = Scope::new(Clock::System);
        scope.set("config", dynamic(&Value::Object(serde_json::Map::new())));
        let parts = schema_parts(self.stream(name)?, &scope, |path| self.schema_file(path)).ok()?;
        let known = parts.into_iter().filter_map(|part| match part {
            SchemaPart::Known(schema) => Some(schema),
            SchemaPart::Asked(_) => None,
        });
        combined(known.collect())
    }

    /// The schema in a file beside the manifest. In published connectors the path begins with the name of a package that is not there.
    pub fn schema_file(&self, path: &str) -> Option<Value> {
        let path = path.trim_start_matches("./");
        let within_package = path.split_once('/').map(|(_, rest)| rest);
        let text = self.schema_texts.get(path).or_else(|| self.schema_texts.get(within_package?))?;
        let mut schema = serde_json::from_str(text).ok()?;
        self.include(&mut schema, 0);
        Some(schema)
    }

    /// Puts the files in place that a schema refers to; they are in the folder `shared` beside it.
    fn include(&self, schema: &mut Value, depth: usize) {
        if depth > SCHEMA_DEPTH_MAX {
            return;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
            && let Some((file, pointer)) = reference.split_once('#').or(Some((reference, ""))).filter(|(file, _)| !file.is_empty())
            && let Some(text) = ["schemas/shared/", "schemas/"].iter().find_map(|folder| self.schema_texts.get(&format!("{folder}{file}")))
            && let Ok(included) = serde_json::from_str::<Value>(text)
        {
            *schema = included.pointer(pointer).cloned().unwrap_or_default();
            // A file that includes itself ends at the depth.
            return self.include(schema, depth + 1);
        }
        match schema {
            Value::Object(members) => members.values_mut().for_each(|value| self.include(value, depth + 1)),
            Value::Array(items) => items.iter_mut().for_each(|value| self.include(value, depth + 1)),
            _ => {}
        }
    }

    /// What is wrong with a configuration: all of it, without repeating a value, for values are secrets.
    pub fn check_config(&self, config: &Value) -> Vec<Problem> {
        let problem = |path: String, message| Problem { code: Code::Configuration, file: "config", line: 0, path, message };
        if !config.is_object() {
            return vec![problem(
                String::new(),
                "is not a JSON object; give one with the fields that the connector's specification names".to_owned(),
            )];
        }
        let Some(spec) = &self.manifest.spec else { return Vec::new() };
        let mut whole = config.clone();
        self.supplied_paths().iter().for_each(|path| fill(&mut whole, path));
        match validator(&spec.connection_specification) {
            Ok(validator) => validator
                .iter_errors(&whole)
                .take(CONFIG_PROBLEMS_MAX)
                .map(|error| problem(error.instance_path().to_string(), error.masked().to_string()))
                .collect(),
            Err(message) => vec![problem(String::new(), message)],
        }
    }

    /// What a customer is asked for: the specification without the members that Headgate supplies itself.
    pub fn asked_specification(&self) -> Value {
        let Some(spec) = &self.manifest.spec else { return serde_json::json!({ "type": "object" }) };
        let mut asked = spec.connection_specification.clone();
        self.supplied_paths().iter().for_each(|path| leave_out(&mut asked, path));
        asked
    }

    /// The paths of the configuration that Headgate fills in when its customer authorizes at the application: where the
    /// access token goes, what comes back in the redirect, and what a manifest's own OAuth authenticator refers to.
    fn supplied_paths(&self) -> BTreeSet<Vec<String>> {
        let mut paths = BTreeSet::new();
        let Some(authorization) = &self.treatment.authorization else { return paths };
        if authorization.r#type != AuthorizationKind::OAuth2Code {
            return paths;
        }
        paths.insert(authorization.access_token_path.clone());
        paths.extend(authorization.redirect_params.iter().map(|name| vec![name.clone()]));
        for authenticator in self.requesters().filter_map(|requester| requester.authenticator.as_ref()) {
            if let Authenticator::OAuthAuthenticator(_) = authenticator {
                authenticator.credentials(&mut |expression| paths.extend(expression.template().config_paths().iter().cloned()));
            }
        }
        paths.remove(&Vec::new());
        paths
    }

    /// The paths of the configuration that are sealed: those that the specification marks with `airbyte_secret`, those that an
    /// authenticator's expressions refer to, and where the access token goes. An empty path is the configuration as a whole.
    pub fn secret_paths(&self) -> BTreeSet<Vec<String>> {
        let mut paths = BTreeSet::new();
        if let Some(spec) = &self.manifest.spec {
            marked_secret(&spec.connection_specification, &mut Vec::new(), &mut paths);
        }
        for authenticator in self.requesters().filter_map(|requester| requester.authenticator.as_ref()) {
            authenticator.credentials(&mut |expression| paths.extend(expression.template().config_paths().iter().cloned()));
            authenticator.updated_paths(&mut |path| paths.extend([path.to_vec()]));
        }
        if let Some(authorization) = &self.treatment.authorization
            && !authorization.access_token_path.is_empty()
        {
            paths.insert(authorization.access_token_path.clone());
        }
        paths
    }

    /// The hosts that requests may go to with this configuration: `host`, or `host:port` when the port is not the scheme's own; lower
    /// case. Those that the treatment lists, or else those of every stream's base address; and those of the token endpoints.
    ///
    /// # Errors
    /// When an address cannot be rendered or is none.
    pub fn hosts(&self, config: &Value, clock: &Clock) -> Result<BTreeSet<String>, ConnectorError> {
        let mut scope = Scope::new(clock.clone());
        scope.set("config", dynamic(config)).set("next_page_token", minijinja::Value::from(())).set_slice(&Slice::default());
        let mut hosts = BTreeSet::new();
        for host in &self.treatment.hosts {
            hosts.insert(self.render(host, "hosts", &scope)?.trim().to_ascii_lowercase());
        }
        for requester in self.requesters() {
            if self.treatment.hosts.is_empty()
                && let Some(address) = requester.url.as_ref().or(requester.url_base.as_ref())
                && !of_a_job(address)
            {
                hosts.insert(self.host(address, "url_base", &scope)?);
            }
            self.credential_hosts(requester, config, &scope, &mut hosts)?;
        }
        if let Some(authorization) = &self.treatment.authorization {
            for (address, what) in [(&authorization.token_url, "token_url"), (&authorization.revoke_url, "revoke_url")] {
                if let Some(address) = address {
                    hosts.insert(self.host(address, what, &scope)?);
                }
            }
        }
        Ok(hosts)
    }

    /// As [`Connector::hosts`], without the addresses that this configuration alone does not complete: a manifest may put a slice, or
    /// a member that few have, into the address of one stream, and the others are read all the same.
    pub fn hosts_known(&self, config: &Value, clock: &Clock) -> BTreeSet<String> {
        let mut scope = Scope::new(clock.clone());
        scope.set("config", dynamic(config)).set("next_page_token", minijinja::Value::from(())).set_slice(&Slice::default());
        let listed = self.treatment.hosts.iter().filter_map(|host| Some(host.text(&scope).ok()?.trim().to_ascii_lowercase()));
        let mut hosts: BTreeSet<String> = listed.collect();
        for requester in self.requesters() {
            let base = requester.url.as_ref().or(requester.url_base.as_ref()).filter(|_| self.treatment.hosts.is_empty());
            hosts.extend(base.and_then(|address| self.host(address, "url_base", &scope).ok()));
            // What it found before it failed is there.
            let _ = self.credential_hosts(requester, config, &scope, &mut hosts);
        }
        hosts
    }

    /// Renders an address of the treatment, such as `authorization.token_url`.
    ///
    /// # Errors
    /// When it cannot be rendered or is no absolute address.
    pub fn address(&self, address: &Expression, what: &'static str, config: &Value, clock: &Clock) -> Result<Url, ConnectorError> {
        let mut scope = Scope::new(clock.clone());
        scope.set("config", dynamic(config));
        self.url(address, what, &scope)
    }

    /// The hosts that a requester's authenticator asks: token endpoints and logins. What the configuration does not choose asks none.
    fn credential_hosts(
        &self,
        requester: &HttpRequester,
        config: &Value,
        scope: &Scope,
        hosts: &mut BTreeSet<String>,
    ) -> Result<(), ConnectorError> {
        let chosen = requester.authenticator.as_ref().and_then(|authenticator| chosen(authenticator, config).ok());
        match chosen {
            Some(Authenticator::OAuthAuthenticator(oauth)) => {
                if let Some(address) = &oauth.token_refresh_endpoint {
                    hosts.insert(self.host(address, "token_refresh_endpoint", scope)?);
                }
            }
            Some(Authenticator::SessionTokenAuthenticator(session)) => {
                let Requester::HttpRequester(login) = &session.login_requester;
                if let Some(address) = login.url.as_ref().or(login.url_base.as_ref()) {
                    hosts.insert(self.host(address, "login_requester", scope)?);
                }
                self.credential_hosts(login, config, scope, hosts)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What every stream asks, and its parents.
    pub fn requesters(&self) -> impl Iterator<Item = &HttpRequester> {
        self.manifest.readers().into_iter().flat_map(DeclarativeStream::requesters)
    }

    fn render(&self, expression: &Expression, what: &'static str, scope: &Scope) -> Result<String, ConnectorError> {
        expression.text(scope).map_err(|source| ConnectorError::Expression { name: self.name.clone(), what, source: Box::new(source) })
    }

    fn url(&self, expression: &Expression, what: &'static str, scope: &Scope) -> Result<Url, ConnectorError> {
        let text = self.render(expression, what, scope)?;
        let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.ok_or_else(|| ConnectorError::Address { name: self.name.clone(), what, text: crate::ids::cut(&text) })
    }

    fn host(&self, expression: &Expression, what: &'static str, scope: &Scope) -> Result<String, ConnectorError> {
        let url = self.url(expression, what, scope)?;
        Ok(host_of(&url))
    }

    /// What only manifest and treatment together can tell.
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(spec) = &self.manifest.spec
            && let Err(message) = validator(&spec.connection_specification)
        {
            let path = "spec.connection_specification".to_owned();
            problems.push(Problem { code: Code::NotAccepted, file: "manifest.yaml", line: spec.line, path, message });
        }
        for (name, stream) in &self.treatment.streams.0 {
            if self.stream(name).is_none()
                && !self.manifest.depends_on_config()
                && self.manifest.refused().all(|stream| stream.name != *name)
            {
                let message = format!("the manifest has no stream `{name}`");
                let path = format!("streams.{name}");
                problems.push(Problem { code: Code::TreatmentStream, file: "headgate.yaml", line: stream.line, path, message });
            }
        }
        problems
    }
}

/// Whether an address is known only when a job has been asked about; where results may lie is said by the treatment's `hosts`.
fn of_a_job(address: &Expression) -> bool {
    ["creation_response", "polling_response", "download_target"].iter().any(|name| address.template().uses(name))
}

/// Puts a text at a path where nothing is yet, for what Headgate supplies later.
fn fill(config: &mut Value, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    let Value::Object(members) = config else { return };
    match (members.get_mut(name), rest) {
        (Some(_), []) => {}
        (Some(member), rest) => fill(member, rest),
        (None, []) => drop(members.insert(name.clone(), "supplied".into())),
        (None, rest) => {
            let mut inner = Value::Object(serde_json::Map::new());
            fill(&mut inner, rest);
            members.insert(name.clone(), inner);
        }
    }
}

/// Takes a path out of a JSON schema, and the objects that have nothing left because of it.
fn leave_out(schema: &mut Value, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    let is_empty = match schema.get_mut("properties").and_then(|properties| properties.get_mut(name)) {
        Some(property) if !rest.is_empty() => {
            leave_out(property, rest);
            property.get("properties").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
        }
        Some(_) => true,
        None => false,
    };
    if is_empty {
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.shift_remove(name);
        }
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|required| required != name);
        }
    }
}

/// The host of an address, with its port when that is not the scheme's own; lower case.
pub fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    url.port().map_or(host.clone(), |port| format!("{host}:{port}"))
}

/// Whether a text can be a connector's name: it becomes part of paths, so it has no separators and does not begin with a dot.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}

pub(super) fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    let mut schema = schema.clone();
    tolerate(&mut schema, 0);
    let patterns = jsonschema::PatternOptions::fancy_regex().backtrack_limit(PATTERN_STEPS_MAX);
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft7)
        .with_pattern_options(patterns)
        // As everywhere else that this language runs: what a format means to them is not written down, a pattern is.
        .should_validate_formats(false)
        .build(&schema)
        .map_err(|error| format!("is no JSON schema: {}", error.to_string().chars().take(200).collect::<String>()))
}

/// Repairs what a schema's author got wrong without harm, as the original does: a name that is required twice.
fn tolerate(schema: &mut Value, depth: usize) {
    if depth > crate::connector::manifest::propagation::DEPTH_MAX {
        return;
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        let mut seen = HashSet::new();
        required.retain(|name| seen.insert(name.to_string()));
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(|member| tolerate(member, depth + 1)),
        Value::Array(items) => items.iter_mut().for_each(|item| tolerate(item, depth + 1)),
        _ => {}
    }
}

/// Walks a JSON schema for `airbyte_secret`. Within lists the whole list is secret: a path has no place in it.
fn marked_secret(schema: &Value, path: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    if schema.get("airbyte_secret").and_then(Value::as_bool) == Some(true) {
        found.insert(path.clone());
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        marked_secret(property, path, found);
        path.pop();
    }
    for combination in ["oneOf", "anyOf", "allOf"] {
        for option in schema.get(combination).and_then(Value::as_array).into_iter().flatten() {
            marked_secret(option, path, found);
        }
    }
    if let Some(items) = schema.get("items") {
        let mut within = BTreeSet::new();
        marked_secret(items, path, &mut within);
        if !within.is_empty() {
            found.insert(path.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MANIFEST: &str = r#"
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [a]}
streams:
  - type: DeclarativeStream
    name: a
    retriever:
      requester:
        url_base: "https://{{ config['shop'] }}.Example.com:8443/v1"
        path: a
        authenticator:
          type: OAuthAuthenticator
          client_id: "{{ config['app']['id'] }}"
          client_secret: "{{ config['app']['secret'] }}"
          token_refresh_endpoint: "https://login.example.com/{{ config['shop'] }}/token"
          refresh_request_body: {audience: "{{ config['audience'] }}"}
      record_selector: {extractor: {field_path: []}}
spec:
  type: Spec
  connection_specification:
    type: object
    required: [shop]
    properties:
      shop: {type: string, pattern: "^[a-z]+$"}
      api:
        oneOf:
          - properties: {key: {type: string, airbyte_secret: true}}
"#;

    fn connector(treatment: Option<&str>) -> Connector {
        Connector::load("example", MANIFEST, treatment).unwrap()
    }

    /// What is sealed: what the specification marks, what authenticators read, and where the token goes; no address.
    #[test]
    fn secret_paths_are_found() {
        let treatment = "authorization: {type: oauth2_client, token_url: 'https://a.example/t', access_token_path: [tokens, access]}";
        let paths = connector(Some(treatment)).secret_paths();
        let paths: Vec<String> = paths.iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, ["api.key", "app.id", "app.secret", "audience", "tokens.access"]);
    }

    /// What logins send is sealed, whichever authenticator is chosen; only the chosen one's host is asked.
    #[test]
    fn logins_are_sealed_and_their_hosts_known() {
        let i = MANIFEST.find("          type: OAuthAuthenticator").unwrap();
        let j = MANIFEST.find("      record_selector").unwrap();
        let selective = r#"          type: SelectiveAuthenticator
          authenticator_selection_path: [kind]
          authenticators:
            key: {type: ApiKeyAuthenticator, api_token: "{{ config['key'] }}", header: X-Key}
            login:
              type: SessionTokenAuthenticator
              login_requester:
                type: HttpRequester
                url: "https://{{ config['realm'] }}.login.example/token"
                request_body_json: {name: "{{ config['user'] }}", password: "{{ config['secret'] }}"}
                authenticator: {type: BasicHttpAuthenticator, username: "{{ config['app'] }}"}
              session_token_path: [token]
              request_authentication: {type: Bearer}
            jwt: {type: JwtAuthenticator, algorithm: RS256, secret_key: "{{ json_loads(config['account'])['key'] }}"}
"#;
        let manifest = format!("{}{selective}{}", &MANIFEST[..i], &MANIFEST[j..]);
        let connector = Connector::load("example", &manifest, None).unwrap();
        let paths: Vec<String> = connector.secret_paths().iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, ["account", "api.key", "app", "key", "secret", "user"]);
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let hosts = |config: Value| connector.hosts(&config, &clock).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(hosts(json!({"shop": "blue", "kind": "login", "realm": "eu"})), ["blue.example.com:8443", "eu.login.example"]);
        assert_eq!(hosts(json!({"shop": "blue", "kind": "key"})), ["blue.example.com:8443"]);
        assert_eq!(connector.hosts_known(&json!({"shop": "blue", "kind": "login", "realm": "eu"}), &clock).len(), 2);
    }

    /// What Headgate supplies when the customer authorizes is neither missed in a configuration nor asked for.
    #[test]
    fn what_is_supplied_is_not_asked_for() {
        let manifest = MANIFEST
            .replace("required: [shop]", "required: [shop, credentials, realm]")
            .replace("      api:", "      realm: {type: string}\n      credentials: {type: object, required: [token], properties: {token: {type: string}}}\n      api:");
        let authorization = "type: oauth2_code, authorize_url: 'https://a.example/a', token_url: 'https://a.example/t'";
        let more = "access_token_path: [credentials, token], redirect_params: [realm]";
        let treatment = format!("authorization: {{{authorization}, {more}}}");
        let connector = Connector::load("example", &manifest, Some(&treatment)).unwrap();
        assert!(connector.check_config(&json!({"shop": "blue"})).is_empty());
        assert_eq!(connector.check_config(&json!({})).len(), 1);
        let asked = connector.asked_specification();
        assert_eq!(asked["required"], json!(["shop"]));
        assert!(asked["properties"].get("credentials").is_none() && asked["properties"].get("realm").is_none());
    }

    /// Hosts are those of the rendered addresses, or the listed ones; token endpoints are always among them.
    #[test]
    fn hosts_are_rendered() {
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let config = json!({"shop": "blue"});
        let hosts = |treatment: Option<&str>| connector(treatment).hosts(&config, &clock).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(hosts(None), ["blue.example.com:8443", "login.example.com"]);
        assert_eq!(hosts(Some("hosts: [\"API.{{ config['shop'] }}.example\"]")), ["api.blue.example", "login.example.com"]);
        assert!(matches!(connector(None).hosts(&json!({"shop": "a b"}), &clock), Err(ConnectorError::Address { .. })));
    }

    /// All problems of a configuration are told, and none of them repeats a value.
    #[test]
    fn configurations_are_checked_without_repeating_them() {
        let connector = connector(None);
        assert_eq!(connector.check_config(&json!({"shop": "blue"})), []);
        let problems = connector.check_config(&json!({"shop": "hunter2 "}));
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].code, problems[0].path.as_str()), (Code::Configuration, "/shop"));
        assert!(!problems[0].message.contains("hunter2"), "{}", problems[0].message);
        assert_eq!(connector.check_config(&json!([])).len(), 1);
    }

    /// The digest changes with either text; names become paths and are checked; a treatment fits its manifest.
    #[test]
    fn a_connector_is_both_texts() {
        assert_ne!(connector(None).digest, connector(Some("display_name: X")).digest);
        for name in ["", "../x", ".hidden", "a/b", "a b"] {
            assert!(Connector::load(name, MANIFEST, None).is_err(), "{name}");
        }
        let Err(ConnectorError::Refused { problems, .. }) = Connector::load("x", MANIFEST, Some("streams: {b: {}}")) else { panic!() };
        assert_eq!((problems[0].code, problems[0].line), (Code::TreatmentStream, 1));
    }
}
