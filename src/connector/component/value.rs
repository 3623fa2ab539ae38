//! Values of fields that are more than plain: expressions, nested maps of them, choices, patterns.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use regex::Regex;
use serde_json::Map;
use serde_json::Value;

use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::datetime::Duration;
use crate::connector::expression::Evaluated;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::expression::Template;
use crate::connector::expression::dynamic;
use crate::connector::problem::Code;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

/// The compiled size that one regular expression of a manifest may have, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A template bound to the parameters of the component it stands in.
#[derive(Debug)]
pub struct Expression {
    /// Shared by every place of a manifest that has the same text.
    template: Arc<Template>,
    /// What `parameters` means in it; `None` when it does not say `parameters`.
    parameters: Option<minijinja::Value>,
}

impl Expression {
    /// The template itself.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The text, when nothing in it is to be evaluated.
    pub fn plain(&self) -> Option<&str> {
        self.template.plain()
    }

    /// The value as a plain field has it, read as a Python literal where it is one.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn value(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        self.in_scope(scope, |scope| self.template.evaluate(scope, Literals::Any))
    }

    /// The value as an added field has it, telling also whether text changed its type.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn noting(&self, scope: &Scope, literals: Literals) -> Result<Evaluated, ExpressionError> {
        self.in_scope(scope, |scope| self.template.evaluate_noting(scope, literals))
    }

    /// The value as an added field has it that keeps the types of the record's own values.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn keeping(&self, scope: &Scope) -> Result<Evaluated, ExpressionError> {
        self.in_scope(scope, |scope| self.template.evaluate_keeping(scope))
    }

    /// The value as a mapping's entry has it; `None` when the entry is left out.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn entry(&self, scope: &Scope, literals: Literals) -> Result<Option<Value>, ExpressionError> {
        self.in_scope(scope, |scope| self.template.optional(scope, literals))
    }

    /// The rendered text.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn text(&self, scope: &Scope) -> Result<String, ExpressionError> {
        match self.plain() {
            Some(text) => Ok(text.to_owned()),
            None => self.in_scope(scope, |scope| self.template.text(scope)),
        }
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn truth(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        self.in_scope(scope, |scope| self.template.truth(scope))
    }

    fn in_scope<T>(&self, scope: &Scope, work: impl FnOnce(&Scope) -> T) -> T {
        match &self.parameters {
            None => work(scope),
            Some(parameters) => {
                let mut scope = scope.clone();
                scope.set("parameters", parameters.clone());
                work(&scope)
            }
        }
    }
}

impl Accept for Expression {
    const ACCEPTS: &'static str = "a text, which may hold expressions";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let source = match &node.tree {
            Tree::Text(text) => text.to_string(),
            Tree::Number(number) => number.to_string(),
            Tree::Bool(true) => "True".to_owned(),
            Tree::Bool(false) => "False".to_owned(),
            _ => return reader.wrong_kind(node, Self::ACCEPTS),
        };
        match reader.template(&source, node.line)? {
            Ok(template) => {
                let parameters = template.uses("parameters").then(|| dynamic(&reader.parameters()));
                Some(Expression { template, parameters })
            }
            Err(error) => {
                reader.problem(Code::BadExpression, node.line, error.to_string());
                None
            }
        }
    }
}

/// A number or another plain value, or an expression for one.
#[derive(Debug)]
pub enum Scalar {
    /// As written.
    Literal(Value),
    /// An expression.
    Expression(Expression),
}

impl Scalar {
    /// The value.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn value(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        match self {
            Scalar::Literal(value) => Ok(value.clone()),
            Scalar::Expression(expression) => expression.value(scope),
        }
    }
}

impl Accept for Scalar {
    const ACCEPTS: &'static str = "a number, or a text, which may hold expressions";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match &node.tree {
            Tree::Text(_) => Expression::accept(node, reader).map(Scalar::Expression),
            Tree::Number(_) | Tree::Bool(_) => Some(Scalar::Literal(node.to_json())),
            _ => reader.wrong_kind(node, Self::ACCEPTS),
        }
    }
}

/// A value with expressions anywhere in it, in keys too.
#[derive(Debug)]
pub enum Nested {
    /// As written.
    Literal(Value),
    /// An expression.
    Expression(Expression),
    /// A list.
    List(Vec<Nested>),
    /// A map; members that become null are left out.
    Map(Vec<(Expression, Nested)>),
}

impl Nested {
    /// The value, with every expression evaluated; an expression without a value is null.
    ///
    /// # Errors
    /// When an evaluation fails.
    pub fn value(&self, scope: &Scope, literals: Literals) -> Result<Value, ExpressionError> {
        Ok(match self {
            Nested::Literal(value) => value.clone(),
            Nested::Expression(expression) => expression.entry(scope, literals)?.unwrap_or(Value::Null),
            Nested::List(items) => Value::Array(items.iter().map(|item| item.value(scope, literals)).collect::<Result<_, _>>()?),
            Nested::Map(members) => {
                let mut map = Map::with_capacity(members.len());
                for (key, value) in members {
                    let value = value.value(scope, literals)?;
                    if !value.is_null() {
                        map.insert(key.text(scope)?, value);
                    }
                }
                Value::Object(map)
            }
        })
    }

    /// Calls `visit` for every expression.
    pub fn expressions<'a>(&'a self, visit: &mut dyn FnMut(&'a Expression)) {
        match self {
            Nested::Literal(_) => {}
            Nested::Expression(expression) => visit(expression),
            Nested::List(items) => items.iter().for_each(|item| item.expressions(visit)),
            Nested::Map(members) => {
                for (key, value) in members {
                    visit(key);
                    value.expressions(visit);
                }
            }
        }
    }
}

impl Accept for Nested {
    const ACCEPTS: &'static str = "a map or a text, which may hold expressions";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match &node.tree {
            Tree::Text(_) => Expression::accept(node, reader).map(Nested::Expression),
            Tree::List(items) => {
                let read = |(index, item)| reader.within(format!("[{index}]"), |reader| Nested::accept(item, reader));
                let read: Vec<_> = items.iter().enumerate().map(read).collect();
                read.into_iter().collect::<Option<_>>().map(Nested::List)
            }
            Tree::Map(members) => {
                let written = members.iter().filter(|(key, member)| !member.inherited && key.as_ref() != "$parameters");
                let mut read = Vec::new();
                for (key, member) in written {
                    let name = Rc::new(Node { line: member.line, tree: Tree::Text(Rc::clone(key)) });
                    read.push(
                        reader
                            .within(key.to_string(), |reader| Expression::accept(&name, reader).zip(Nested::accept(&member.node, reader))),
                    );
                }
                read.into_iter().collect::<Option<_>>().map(Nested::Map)
            }
            _ => Some(Nested::Literal(node.to_json())),
        }
    }
}

/// True, false, or an expression for one of them.
#[derive(Debug)]
pub enum Condition {
    /// As written.
    Literal(bool),
    /// An expression.
    Expression(Expression),
}

impl Condition {
    /// Whether it holds.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn truth(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        match self {
            Condition::Literal(holds) => Ok(*holds),
            Condition::Expression(expression) => expression.truth(scope),
        }
    }
}

impl Accept for Condition {
    const ACCEPTS: &'static str = "true or false, or a text, which may hold expressions";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match &node.tree {
            Tree::Bool(holds) => Some(Condition::Literal(*holds)),
            Tree::Text(_) => Expression::accept(node, reader).map(Condition::Expression),
            _ => reader.wrong_kind(node, Self::ACCEPTS),
        }
    }
}

/// A whole number, or an expression for one.
#[derive(Debug)]
pub enum Count {
    /// As written.
    Written(u32),
    /// An expression.
    Expression(Expression),
}

impl Count {
    /// The number; none when an expression has no value, or another than a number that is not negative.
    ///
    /// # Errors
    /// When the evaluation fails.
    pub fn number(&self, scope: &Scope) -> Result<Option<u32>, ExpressionError> {
        let value = match self {
            Count::Written(number) => return Ok(Some(*number)),
            Count::Expression(expression) => expression.value(scope)?,
        };
        let number = match &value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_i64(),
        };
        Ok(number.and_then(|number: i64| u32::try_from(number).ok()))
    }
}

impl Accept for Count {
    const ACCEPTS: &'static str = "a whole number that is not negative, or a text with an expression for one";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match node.as_text() {
            Some(text) if text.contains("{{") || text.contains("{%") => Expression::accept(node, reader).map(Count::Expression),
            _ => u32::accept(node, reader).map(Count::Written),
        }
    }
}

/// A duration of ISO 8601, such as `PT1H`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsoDuration(pub Duration);

impl Accept for IsoDuration {
    const ACCEPTS: &'static str = "an ISO 8601 duration such as PT1H";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        match Duration::parse(&text) {
            Ok(duration) => Some(IsoDuration(duration)),
            Err(error) => {
                reader.problem(Code::BadFormat, node.line, error.to_string());
                None
            }
        }
    }
}

/// A regular expression.
#[derive(Clone)]
pub struct Pattern(pub Regex);

impl Pattern {
    /// The pattern that a text is; none when it is none, or too large.
    pub fn compile(text: &str) -> Option<Self> {
        regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().ok().map(Pattern)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0)
    }
}

impl Accept for Pattern {
    const ACCEPTS: &'static str = "a regular expression";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = String::accept(node, reader)?;
        match Pattern::compile(&text) {
            Some(pattern) => Some(pattern),
            None => {
                let message = format!("`{text}` is no regular expression that is understood here; look-around and back-references are not");
                reader.problem(Code::BadFormat, node.line, message);
                None
            }
        }
    }
}

/// Declares a choice of fixed words: `Name { Variant = "word", … }`.
macro_rules! choice {
    ( $(#[doc = $doc:literal])+ $name:ident { $( $variant:ident = $word:literal ),+ $(,)? } ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( #[doc = concat!("`", $word, "`")] $variant, )+
        }

        impl $name {
            /// The word in a manifest.
            pub fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl $crate::connector::component::reader::Accept for $name {
            const ACCEPTS: &'static str = concat!("one of", $( " ", $word ),+);

            fn accept(
                node: &std::rc::Rc<$crate::connector::yaml::Node>,
                reader: &mut $crate::connector::component::reader::Reader,
            ) -> Option<Self> {
                match node.as_text() {
                    $( Some($word) => Some($name::$variant), )+
                    _ => reader.not_accepted(node, Self::ACCEPTS),
                }
            }
        }
    };
}
pub(crate) use choice;
