//! Templates: compiled once, evaluated often.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::ErrorKind;
use minijinja::Expression;
use minijinja::Value;
use minijinja::value::ValueKind;

use super::ExpressionError;
use super::Place;
use super::Scope;
use super::engine;
use super::json;
use super::literal;
use super::literal::Literal;
use super::lower;
use super::lower::Piece;
use super::operator;
use super::python;
use super::sequence::Tuple;

/// The longest template with expressions, in bytes; it bounds how deep its tree can be.
pub const TEMPLATE_BYTES_MAX: usize = 16 * 1024;

/// Which Python literals a rendered text may become; other texts stay text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Literals {
    /// Any: plain fields, headers, JSON bodies.
    #[default]
    Any,
    /// Text and lists: request parameters and form bodies.
    TextAndLists,
    /// Text: `value_type: string`.
    Text,
    /// Integers and booleans: `value_type: integer`.
    Integer,
    /// Floats: `value_type: number`.
    Number,
    /// Booleans: `value_type: boolean`.
    Boolean,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The value. Infinity and not-a-number, which JSON lacks, are null.
    pub value: serde_json::Value,
    /// Whether a text (an identifier, say) was read as a literal of another type.
    pub coerced: bool,
    /// Whether the value is null only because it is a number that JSON lacks.
    pub boundless: bool,
}

impl Evaluated {
    /// A value that is what it was meant to be.
    pub(in crate::connector) fn of(value: serde_json::Value) -> Self {
        Evaluated { value, coerced: false, boundless: false }
    }
}

/// A compiled template.
pub struct Template {
    source: String,
    /// Boxed, so that the many templates of a manifest are small where they are kept.
    body: Box<Body>,
    names: BTreeSet<String>,
    config_paths: Vec<Vec<String>>,
    record_paths: Vec<Vec<String>>,
}

enum Body {
    /// No expression at all.
    Plain,
    /// One expression, with white space around at most.
    Single { before: String, expression: Expression<'static, 'static>, after: String },
    /// Texts and expressions.
    Parts(Vec<Part>),
    /// Statements.
    Whole(Arc<minijinja::Environment<'static>>),
}

enum Part {
    Text(String),
    Expression(Expression<'static, 'static>),
}

/// What rendering gave, before any literal is read.
enum Rendered {
    Text {
        text: String,
        single: bool,
    },
    /// The value of a single expression that is not text, which reads back as itself.
    Value(Value),
    /// An error of type: the reference engine takes the template as plain text.
    Source,
    /// Something was asked of a missing value.
    Undefined,
}

/// The name of the one template in an environment of its own.
const WHOLE: &str = "expression";

impl Template {
    /// Compiles `source` for `place`.
    ///
    /// # Errors
    /// When it cannot be parsed, names what the place does not have, or uses a part of the language that is not implemented.
    pub fn compile(source: &str, place: Place) -> Result<Template, ExpressionError> {
        Self::compile_with(source, place, &[])
    }

    /// Compiles `source` for `place`, where the slice's extra fields `extra` are names as well.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile_with(source: &str, place: Place, extra: &[&str]) -> Result<Template, ExpressionError> {
        let plain = |body| {
            let (config_paths, record_paths) = (Vec::new(), Vec::new());
            Template { source: source.to_owned(), body: Box::new(body), names: BTreeSet::new(), config_paths, record_paths }
        };
        if !["{{", "{%", "{#"].iter().any(|open| source.contains(open)) {
            return Ok(plain(Body::Plain));
        }
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(ExpressionError::TooLong { bytes: source.len(), max: TEMPLATE_BYTES_MAX });
        }
        let lowered = lower::lower(source, place, extra)?;
        let syntax = |error: minijinja::Error| ExpressionError::Syntax { template: source.to_owned(), detail: error.to_string() };
        let compiled = |text: String| engine::engine().compile_expression_owned(text).map_err(syntax);
        let body = match lowered.parts {
            None => {
                let mut own = engine::engine().clone();
                own.add_template_owned(WHOLE, lowered.whole).map_err(syntax)?;
                Body::Whole(Arc::new(own))
            }
            Some(pieces) => {
                let mut parts = Vec::with_capacity(pieces.len());
                for piece in pieces {
                    parts.push(match piece {
                        Piece::Text(text) => Part::Text(text),
                        Piece::Expression(text) => Part::Expression(compiled(text)?),
                    });
                }
                single(parts)
            }
        };
        let (config_paths, record_paths) = (lowered.config_paths.into_iter().collect(), lowered.record_paths.into_iter().collect());
        Ok(Template { names: lowered.names, config_paths, record_paths, ..plain(body) })
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, when it holds no expression.
    pub fn plain(&self) -> Option<&str> {
        matches!(*self.body, Body::Plain).then_some(self.source.as_str())
    }

    /// The paths below `config` that it refers to, such as `["credentials", "access_token"]`; `[]` is the configuration as a whole.
    pub fn config_paths(&self) -> &[Vec<String>] {
        &self.config_paths
    }

    /// The paths below `record` that it refers to; `[]` is the record as a whole.
    pub fn record_paths(&self) -> &[Vec<String>] {
        &self.record_paths
    }

    /// Whether it uses the top-level name `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The value as a plain field has it: an empty result is empty text.
    ///
    /// # Errors
    /// When the evaluation fails, or asks something of a missing value.
    pub fn evaluate(&self, scope: &Scope, literals: Literals) -> Result<serde_json::Value, ExpressionError> {
        self.evaluate_noting(scope, literals).map(|evaluated| evaluated.value)
    }

    /// As [`Template::evaluate`], telling also whether text changed its type.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn evaluate_noting(&self, scope: &Scope, literals: Literals) -> Result<Evaluated, ExpressionError> {
        match self.render(scope)? {
            Rendered::Undefined => Err(ExpressionError::Undefined { template: self.source.clone() }),
            rendered => Ok(self.typed(rendered, literals)),
        }
    }

    /// As [`Template::evaluate_noting`] with any literal, but the text that a single expression gave stays the text it is: an
    /// identifier `35E876` no number. A text that the `string` filter has put in three quotes is read, for that is how it says so.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn evaluate_keeping(&self, scope: &Scope) -> Result<Evaluated, ExpressionError> {
        match self.render(scope)? {
            Rendered::Undefined => Err(ExpressionError::Undefined { template: self.source.clone() }),
            Rendered::Text { text, single: true } if !text.starts_with("\"\"\"") => Ok(Evaluated::of(text.into())),
            rendered => Ok(self.typed(rendered, Literals::Any)),
        }
    }

    /// The value as a mapping's entry has it: nothing when the result is empty, null, or asks something of a missing value, and the
    /// entry is left out.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn optional(&self, scope: &Scope, literals: Literals) -> Result<Option<serde_json::Value>, ExpressionError> {
        let rendered = self.render(scope)?;
        match &rendered {
            Rendered::Undefined => Ok(None),
            Rendered::Text { text, .. } if text.is_empty() => Ok(None),
            Rendered::Value(value) if value.is_undefined() => Ok(None),
            Rendered::Value(value) if value.is_none() && literals == Literals::Any => Ok(None),
            _ => {
                let value = self.typed(rendered, literals).value;
                Ok(Some(value).filter(|value| !value.is_null()))
            }
        }
    }

    /// The value as text, as a URL, a path or a token has it: the literal's Python text.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn text(&self, scope: &Scope) -> Result<String, ExpressionError> {
        Ok(match self.render(scope)? {
            Rendered::Undefined => return Err(ExpressionError::Undefined { template: self.source.clone() }),
            Rendered::Value(value) => python::text(&value),
            Rendered::Source => as_text(&self.source),
            Rendered::Text { text, .. } => as_text(&text),
        })
    }

    /// The rendered text, with no literal read from it.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn rendered(&self, scope: &Scope) -> Result<String, ExpressionError> {
        Ok(match self.render(scope)? {
            Rendered::Undefined => return Err(ExpressionError::Undefined { template: self.source.clone() }),
            Rendered::Value(value) => python::text(&value),
            Rendered::Source => self.source.clone(),
            Rendered::Text { text, .. } => text,
        })
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// When the evaluation fails; asking something of a missing value is false.
    pub fn truth(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        let text_holds = |text: &str| Literal::read(text).map_or_else(|| literal::holds(text), |literal| literal.holds());
        Ok(match self.render(scope)? {
            Rendered::Undefined => false,
            Rendered::Source => text_holds(&self.source),
            Rendered::Text { text, .. } => text_holds(&text),
            Rendered::Value(value) => literal::value_holds(&value).unwrap_or_else(|| text_holds(&python::text(&value))),
        })
    }

    /// The value of a single expression in its own type, with no text in between: for connectors that opt out of reading literals.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn native(&self, scope: &Scope) -> Result<serde_json::Value, ExpressionError> {
        Ok(match self.render(scope)? {
            Rendered::Undefined => return Err(ExpressionError::Undefined { template: self.source.clone() }),
            Rendered::Value(value) => json::json(&value),
            Rendered::Source => serde_json::Value::from(self.source.as_str()),
            Rendered::Text { text, .. } => serde_json::Value::from(text),
        })
    }

    fn render(&self, scope: &Scope) -> Result<Rendered, ExpressionError> {
        if let Some(name) = self.names.iter().find(|name| scope.get(name).is_none()) {
            return Err(ExpressionError::Unset { name: name.clone(), template: self.source.clone() });
        }
        let rendered = match &*self.body {
            Body::Plain => Ok(Rendered::Text { text: self.source.clone(), single: false }),
            Body::Single { before, expression, after } => {
                expression.eval(scope.root()).and_then(|value| single_value(before, value, after))
            }
            Body::Parts(parts) => mixed(parts, scope),
            Body::Whole(environment) => environment
                .get_template(WHOLE)
                .and_then(|template| template.render(scope.root()))
                .map(|text| Rendered::Text { text, single: false }),
        };
        rendered.or_else(|error| match error.kind() {
            ErrorKind::UndefinedError => Ok(Rendered::Undefined),
            ErrorKind::InvalidOperation | ErrorKind::MissingArgument | ErrorKind::TooManyArguments => Ok(Rendered::Source),
            _ => Err(ExpressionError::Failed {
                template: self.source.clone(),
                detail: error.detail().unwrap_or("the engine refused").to_owned(),
                source: Arc::new(error),
            }),
        })
    }

    fn typed(&self, rendered: Rendered, literals: Literals) -> Evaluated {
        let (text, single) = match rendered {
            // A tuple is no list to the reference engine, so that a parameter has its text.
            Rendered::Value(value) if literals == Literals::TextAndLists && value.downcast_object_ref::<Tuple>().is_some() => {
                return Evaluated { value: python::text(&value).into(), coerced: false, boundless: false };
            }
            Rendered::Value(value) if literals.accept(value.kind(), value.is_integer()) => {
                let boundless = value.kind() == ValueKind::Number;
                let value = json::json(&value);
                return Evaluated { boundless: boundless && value.is_null(), ..Evaluated::of(value) };
            }
            Rendered::Value(value) => return Evaluated::of(python::text(&value).into()),
            Rendered::Text { text, single } => (text, single),
            Rendered::Source | Rendered::Undefined => (self.source.clone(), false),
        };
        match Literal::read(&text) {
            Some(literal) if literals.accept_literal(&literal) => {
                let coerced = single && !matches!(literal, Literal::Text(_));
                let value = literal.json();
                Evaluated { boundless: value.is_null() && matches!(literal, Literal::Float(_)), value, coerced }
            }
            _ => Evaluated::of(serde_json::Value::from(text)),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl Literals {
    fn accept(self, kind: ValueKind, integer: bool) -> bool {
        match self {
            Literals::Any => kind != ValueKind::Undefined,
            Literals::TextAndLists => matches!(kind, ValueKind::Seq | ValueKind::Iterable),
            Literals::Text => false,
            Literals::Integer => kind == ValueKind::Bool || kind == ValueKind::Number && integer,
            Literals::Number => kind == ValueKind::Number && !integer,
            Literals::Boolean => kind == ValueKind::Bool,
        }
    }

    fn accept_literal(self, literal: &Literal) -> bool {
        match self {
            Literals::Any => !matches!(literal, Literal::Complex),
            Literals::TextAndLists => matches!(literal, Literal::Text(_) | Literal::List(_)),
            Literals::Text => matches!(literal, Literal::Text(_)),
            Literals::Integer => matches!(literal, Literal::Integer(_) | Literal::Bool(_)),
            Literals::Number => matches!(literal, Literal::Float(_)),
            Literals::Boolean => matches!(literal, Literal::Bool(_)),
        }
    }
}

/// The Python text of the literal that `text` is, or `text`.
fn as_text(text: &str) -> String {
    match Literal::read(text) {
        None | Some(Literal::Complex) => text.to_owned(),
        Some(literal) => literal.text(),
    }
}

/// The body of a template without statements.
fn single(mut parts: Vec<Part>) -> Body {
    let blank = |part: Option<&Part>| match part {
        Some(Part::Text(text)) => text.chars().all(|character| matches!(character, ' ' | '\t' | '\n' | '\r')),
        None => true,
        Some(Part::Expression(_)) => false,
    };
    let expressions = parts.iter().filter(|part| matches!(part, Part::Expression(_))).count();
    let at = parts.iter().position(|part| matches!(part, Part::Expression(_))).unwrap_or(parts.len());
    let (before, after) = (at.checked_sub(1).and_then(|before| parts.get(before)), parts.get(at + 1));
    if expressions != 1 || parts.len() > 3 || !blank(before) || !blank(after) {
        return Body::Parts(parts);
    }
    let text = |part: Option<&Part>| match part {
        Some(Part::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let (before, after) = (text(before), text(after));
    match parts.swap_remove(at) {
        Part::Expression(expression) => Body::Single { before, expression, after },
        part => Body::Parts(vec![part]),
    }
}

/// The result of a single expression. Numbers, truth values, null and JSON containers read back as themselves from their Python
/// text, so neither is made; everything else goes through its text.
fn single_value(before: &str, value: Value, after: &str) -> Result<Rendered, minijinja::Error> {
    let direct = match value.kind() {
        ValueKind::None | ValueKind::Bool => true,
        ValueKind::Number => value.is_integer() || f64::try_from(value.clone()).is_ok_and(f64::is_finite),
        ValueKind::Seq | ValueKind::Map => reads_back(&value, 0, &mut 0),
        _ => false,
    };
    if direct {
        return Ok(Rendered::Value(value));
    }
    let mut text = String::from(before);
    python::write_text(&mut text, &value);
    text.push_str(after);
    Ok(Rendered::Text { text: operator::bounded(text)?, single: value.kind() == ValueKind::String })
}

/// The most values of a container that are looked at before its text is read instead.
const NODES_MAX: usize = 1_000_000;

/// Whether a container holds only values whose Python text reads back as themselves.
fn reads_back(value: &Value, depth: usize, nodes: &mut usize) -> bool {
    *nodes += 1;
    if json::is_lazy(value) {
        return true;
    }
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::String => true,
        ValueKind::Number => value.is_integer() || f64::try_from(value.clone()).is_ok_and(f64::is_finite),
        _ if depth >= literal::DEPTH_MAX || *nodes > NODES_MAX => false,
        ValueKind::Seq => value.try_iter().is_ok_and(|mut items| items.all(|item| reads_back(&item, depth + 1, nodes))),
        ValueKind::Map => value
            .as_object()
            .and_then(|object| object.try_iter_pairs())
            .is_some_and(|mut pairs| pairs.all(|(key, value)| reads_back(&key, depth + 1, nodes) && reads_back(&value, depth + 1, nodes))),
        _ => false,
    }
}

fn mixed(parts: &[Part], scope: &Scope) -> Result<Rendered, minijinja::Error> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Expression(expression) => python::write_text(&mut text, &expression.eval(scope.root())?),
        }
        text = operator::bounded(text)?;
    }
    Ok(Rendered::Text { text, single: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::connector::expression::dynamic;
    use proptest::prelude::*;
    use serde_json::json;

    fn scope(config: serde_json::Value) -> Scope {
        let mut scope = Scope::new(Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time")));
        scope.set("config", dynamic(&config)).set("parameters", dynamic(&json!({})));
        scope
    }

    fn evaluate(source: &str, config: serde_json::Value) -> Result<serde_json::Value, ExpressionError> {
        Template::compile(source, Place::Spec)?.evaluate(&scope(config), Literals::Any)
    }

    /// Goal: what is not implemented, and what the place does not know, is refused by name at compile time.
    #[test]
    fn refusals_name_their_cause() {
        for (source, place, word) in [
            ("{{ recrod.id }}", Place::AddField, "recrod"),
            ("{{ record.id }}", Place::Request, "record"),
            ("{{ stream_state.x }}", Place::Request, "stream_state"),
            ("{{ config.x | frobnicate }}", Place::Request, "frobnicate"),
            ("{{ config.x is prime }}", Place::Request, "prime"),
            ("{{ generate_uuid() }}", Place::Request, "generate_uuid"),
            ("{{ config.x.encode() }}", Place::Request, "encode"),
            ("{% include 'x' %}", Place::Request, "include"),
            ("{% macro m() %}{% endmacro %}", Place::Request, "macro"),
            ("{% do config.x.append(1) %}", Place::Request, "do"),
            ("{{ 'x' | regex_search('(?<!a)b') }}", Place::Request, "(?<!a)b"),
            ("{{ range(3) }}", Place::Request, "range"),
            ("{{ config.x( }}", Place::Request, "config.x("),
        ] {
            let refused = Template::compile(source, place).expect_err(source).to_string();
            assert!(refused.contains(word), "{source}: {refused}");
        }
    }

    /// Goal: the paths below the configuration and the names that a template uses are known.
    #[test]
    fn uses_are_known() {
        let source =
            "{{ config['a']['b'] or config.get('c', {}).get('d') }}{% if config.e %}{{ config }}{% endif %}{{ stream_interval.x }}";
        let template = Template::compile(source, Place::Request).expect("it compiles");
        assert_eq!(template.config_paths(), [vec![], vec!["a".to_owned(), "b".into()], vec!["c".into(), "d".into()], vec!["e".into()]]);
        assert!(template.uses("stream_interval") && !template.uses("stream_slice"));
        let added = Template::compile("{{ record.a.b or record['c'] }} {{ record }}", Place::AddField).expect("it compiles");
        assert_eq!(added.record_paths(), [vec![], vec!["a".to_owned(), "b".into()], vec!["c".into()]]);
        assert_eq!(Template::compile("plain", Place::Request).expect("it compiles").plain(), Some("plain"));
    }

    /// Goal: text that changes its type is told; numbers that always were are not.
    #[test]
    fn coercions_are_told() {
        let template = Template::compile("{{ config.id }}", Place::Spec).expect("it compiles");
        for (id, literals, value, coerced) in [
            (json!("35E876"), Literals::Any, json!(null), true),
            (json!("35E876"), Literals::Text, json!("35E876"), false),
            (json!("123"), Literals::Any, json!(123), true),
            (json!(123), Literals::Any, json!(123), false),
            (json!("abc"), Literals::Any, json!("abc"), false),
        ] {
            let evaluated = template.evaluate_noting(&scope(json!({ "id": id })), literals).expect("it evaluates");
            assert_eq!(evaluated, Evaluated { boundless: value.is_null(), value, coerced }, "{id}");
        }
        assert_eq!(template.native(&scope(json!({ "id": "35E876" }))).expect("it evaluates"), "35E876");
    }

    /// Goal: an evaluation ends, whatever it tries to build.
    #[test]
    fn evaluations_are_bounded() {
        let doubling = format!("{{% set a = 'xxxxxxxx' %}}{}{{{{ a }}}}", "{% set a = a ~ a %}".repeat(40));
        let nesting = format!("{{% set a = [1, 1] %}}{}{{{{ a }}}}", "{% set a = [a, a] %}".repeat(60));
        let looping = "{% set l = config.l %}{% for a in l %}{% for b in l %}{% for c in l %}{% for d in l %}{{ a }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
        let themselves = "{% set l = [] %}{% set _ = l.append(l) %}{% set _ = l.append((l,)) %}{% set _ = l.append({'l': l}) %}{{ l }}";
        for source in [&doubling, &nesting, looping, "{{ 'x' * 999999999 }}", "{{ '%999999999d' % 1 }}", "{{ '{:>999999999}'.format(1) }}"]
        {
            let refused = evaluate(source, json!({ "l": vec![1; 100] }));
            assert!(matches!(refused, Err(ExpressionError::Failed { .. })), "{:.60}: {:.200}", source, format!("{refused:?}"));
        }
        assert!(evaluate(themselves, json!({})).is_ok());
        let deep = format!("{{{{ {}1{} }}}}", "[".repeat(3000), "]".repeat(3000));
        let long = format!("{{{{ 1{} }}}}", " + 1".repeat(4000));
        for source in [deep, long] {
            assert!(Template::compile(&source, Place::Spec).is_err());
        }
    }

    /// Goal: an error carries the template, and no value of the configuration or of a record.
    #[test]
    fn errors_keep_values_to_themselves() {
        let config = json!({ "secret": "hunter2" });
        for source in
            ["{{ format_datetime(config.secret, '%Y') }}", "{{ duration(config.secret) }}", "{{ today_with_timezone(config.secret) }}"]
        {
            let failed = evaluate(source, config.clone()).expect_err(source);
            assert!(!format!("{failed} {failed:?}").contains("hunter2"), "{failed:?}");
        }
    }

    proptest! {
        /// Goal: no template makes compiling or evaluating panic. Method: random sequences of the language's own tokens.
        #[test]
        fn any_template(tokens in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{%", "%}", " config", ".a", "['b']", "[0]", "[-1:]", "(", ")", " + ", " - ", " ~ ", " if ", " else ", " and ", " not ", " in ",
            " | int", " | string", " | join(',')", ".get('x', {})", ".split(',')", " is defined", "1", "'1e400'", "none", "[1, 'a']", "{'k': 2}",
            "now_utc()", "duration('P1M')", ".strftime('%Y')", "max(", ", ", " < ", " % ", "set x = ", " x ", "for i in ", "endfor", "endif",
        ]), 0..14)) {
            let source = tokens.concat();
            if let Ok(template) = Template::compile(&source, Place::Spec) {
                let scope = scope(json!({ "a": ["x", 1, null], "b": { "x": "1" } }));
                let _ = (template.evaluate(&scope, Literals::Any), template.truth(&scope), template.text(&scope));
            }
        }
    }
}
