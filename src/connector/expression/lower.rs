//! From the language of manifests to the engine's: checks names, and rewrites what the two evaluate differently.
//!
//! The manifest's language is Jinja2 with Python's values. The engine parses it, but its operators know no dates, tuples or type
//! errors. So each template is parsed once, every name, filter, test, function, method and statement in it is checked against
//! what Headgate implements, and the tree is printed again with operators as calls of the functions in `operator.rs`.

use std::collections::BTreeSet;
use std::fmt::Write;

use minijinja::Value;
use minijinja::machinery::WhitespaceConfig;
use minijinja::machinery::ast;
use minijinja::machinery::ast::BinOpKind;
use minijinja::machinery::ast::CallArg;
use minijinja::machinery::ast::CallType;
use minijinja::machinery::ast::CompareOpKind;
use minijinja::machinery::ast::Expr;
use minijinja::machinery::ast::Stmt;
use minijinja::value::ValueKind;

use super::ExpressionError;
use super::Place;
use super::engine;

/// A template in the engine's words.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    /// The template as a sequence of texts and expressions; nothing when it has statements.
    pub(super) parts: Option<Vec<Piece>>,
    /// The template printed whole; used when it has statements.
    pub(super) whole: String,
    /// The place's names that it uses.
    pub(super) names: BTreeSet<String>,
    /// The paths below `config` that it reads.
    pub(super) config_paths: BTreeSet<Vec<String>>,
}

/// A part of a template without statements.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Expression(String),
}

/// Checks and rewrites `source`.
///
/// # Errors
/// When it cannot be parsed, or uses a name or a part of the language that is not accepted.
pub(super) fn lower(source: &str, place: Place, extra: &[&str]) -> Result<Lowered, ExpressionError> {
    let whitespace = WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: false, trim_blocks: false };
    let tree = minijinja::machinery::parse(source, "expression", Default::default(), whitespace)
        .map_err(|error| ExpressionError::Syntax { template: source.to_owned(), detail: error.to_string() })?;
    let Stmt::Template(template) = &tree else {
        return Err(ExpressionError::Syntax { template: source.to_owned(), detail: "it is no template".to_owned() });
    };
    let mut printer =
        Printer { source, place, extra, assigned: BTreeSet::new(), changes: false, inside_path: false, done: Lowered::default() };
    template.children.iter().for_each(|child| printer.assignments(child));
    printer.changes = CHANGING_METHODS.iter().any(|method| source.contains(&format!(".{method}")));
    if template.children.iter().all(|child| matches!(child, Stmt::EmitExpr(_) | Stmt::EmitRaw(_))) {
        let mut parts = Vec::with_capacity(template.children.len());
        for child in &template.children {
            parts.push(match child {
                Stmt::EmitRaw(raw) => Piece::Text(raw.raw.to_owned()),
                Stmt::EmitExpr(emit) => Piece::Expression(printer.print(&emit.expr)?),
                _ => continue,
            });
        }
        printer.done.parts = Some(parts);
    } else {
        let mut whole = String::new();
        printer.statements(&mut whole, &template.children)?;
        printer.done.whole = whole;
    }
    Ok(printer.done)
}

/// Methods that change a list or a map in place; a template that names one gets changeable literals.
const CHANGING_METHODS: [&str; 5] = ["append(", "extend(", "insert(", "update(", "pop("];

struct Printer<'a> {
    source: &'a str,
    place: Place,
    extra: &'a [&'a str],
    /// Names that statements of the template give values to.
    assigned: BTreeSet<String>,
    /// Whether list and map literals must be changeable.
    changes: bool,
    /// Whether the expression printed next is the base of a path that was noted already.
    inside_path: bool,
    done: Lowered,
}

impl Printer<'_> {
    fn unsupported(&self, kind: &'static str, name: &str) -> ExpressionError {
        ExpressionError::Unsupported { kind, name: name.to_owned(), template: self.source.to_owned() }
    }

    fn print(&mut self, expression: &Expr<'_>) -> Result<String, ExpressionError> {
        let mut out = String::new();
        self.expression(&mut out, expression)?;
        Ok(out)
    }

    fn expression(&mut self, out: &mut String, expression: &Expr<'_>) -> Result<(), ExpressionError> {
        let path = config_path(expression);
        let inner = std::mem::replace(&mut self.inside_path, path.is_some());
        self.done.config_paths.extend(path.filter(|_| !inner));
        match expression {
            // Jinja2's handle on the template's blocks, of which expressions have none.
            Expr::Var(var) if var.id == "self" => out.push_str("{}"),
            Expr::Var(var) => {
                self.inside_path = false;
                self.name(var.id)?;
                out.push_str(var.id);
            }
            Expr::Const(constant) => self.constant(out, &constant.value)?,
            Expr::Slice(slice) => {
                out.push_str("__slice(");
                self.expression(out, &slice.expr)?;
                for bound in [&slice.start, &slice.stop, &slice.step] {
                    out.push_str(", ");
                    match bound {
                        Some(bound) => self.expression(out, bound)?,
                        None => out.push_str("none"),
                    }
                }
                out.push(')');
            }
            Expr::UnaryOp(unary) => {
                out.push_str(match unary.op {
                    ast::UnaryOpKind::Not => "(not (",
                    ast::UnaryOpKind::Neg => "(__neg(",
                });
                self.expression(out, &unary.expr)?;
                out.push_str("))");
            }
            Expr::BinOp(binary) => self.binary(out, binary)?,
            Expr::Compare(compare) => self.comparison(out, compare)?,
            Expr::IfExpr(choice) => {
                out.push_str("((");
                self.expression(out, &choice.true_expr)?;
                out.push_str(") if (");
                self.expression(out, &choice.test_expr)?;
                out.push(')');
                if let Some(other) = &choice.false_expr {
                    out.push_str(" else (");
                    self.expression(out, other)?;
                    out.push(')');
                }
                out.push(')');
            }
            Expr::Filter(filter) => self.filter(out, filter)?,
            Expr::Test(test) => self.test(out, test)?,
            Expr::GetAttr(attribute) => {
                out.push('(');
                self.expression(out, &attribute.expr)?;
                let _ = write!(out, ").{}", attribute.name);
            }
            Expr::GetItem(item) => self.item(out, item)?,
            Expr::Call(call) => self.call(out, call)?,
            Expr::List(list) => {
                let tuple = self.source.as_bytes().get(list.span().start_offset as usize) == Some(&b'(');
                out.push_str(match (tuple, self.changes) {
                    (true, _) => "__tuple(",
                    (false, true) => "__list(",
                    (false, false) => "[",
                });
                self.separated(out, &list.items)?;
                out.push(if tuple || self.changes { ')' } else { ']' });
            }
            Expr::Map(map) => self.map(out, map)?,
        }
        Ok(())
    }

    fn separated(&mut self, out: &mut String, items: &[Expr<'_>]) -> Result<(), ExpressionError> {
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                out.push_str(", ");
            }
            self.expression(out, item)?;
        }
        Ok(())
    }

    fn map(&mut self, out: &mut String, map: &ast::Map<'_>) -> Result<(), ExpressionError> {
        out.push_str(if self.changes { "__map(" } else { "{" });
        for (position, (key, value)) in map.keys.iter().zip(&map.values).enumerate() {
            if position > 0 {
                out.push_str(", ");
            }
            self.expression(out, key)?;
            out.push_str(if self.changes { ", " } else { ": " });
            self.expression(out, value)?;
        }
        out.push(if self.changes { ')' } else { '}' });
        Ok(())
    }

    fn constant(&mut self, out: &mut String, value: &Value) -> Result<(), ExpressionError> {
        match value.kind() {
            ValueKind::None => out.push_str("none"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => {
                let _ = write!(out, "{value}");
            }
            ValueKind::Number => {
                let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
                let _ = write!(out, "{number:?}");
            }
            ValueKind::String => quote(out, value.as_str().unwrap_or_default()),
            kind => return Err(self.unsupported("constant", &kind.to_string())),
        }
        Ok(())
    }

    fn binary(&mut self, out: &mut String, binary: &ast::BinOp<'_>) -> Result<(), ExpressionError> {
        let native = match binary.op {
            BinOpKind::Eq => Some("=="),
            BinOpKind::Ne => Some("!="),
            BinOpKind::ScAnd => Some("and"),
            BinOpKind::ScOr => Some("or"),
            _ => None,
        };
        match native {
            Some(operator) => {
                out.push_str("((");
                self.expression(out, &binary.left)?;
                let _ = write!(out, ") {operator} (");
                self.expression(out, &binary.right)?;
                out.push_str("))");
            }
            None => {
                out.push_str(match binary.op {
                    BinOpKind::Lt => "__lt(",
                    BinOpKind::Lte => "__le(",
                    BinOpKind::Gt => "__gt(",
                    BinOpKind::Gte => "__ge(",
                    BinOpKind::Add => "__add(",
                    BinOpKind::Sub => "__sub(",
                    BinOpKind::Mul => "__mul(",
                    BinOpKind::Div => "__div(",
                    BinOpKind::FloorDiv => "__floordiv(",
                    BinOpKind::Rem => "__mod(",
                    BinOpKind::Pow => "__pow(",
                    BinOpKind::Concat => "__concat(",
                    _ => "__in(",
                });
                self.expression(out, &binary.left)?;
                out.push_str(", ");
                self.expression(out, &binary.right)?;
                out.push(')');
            }
        }
        Ok(())
    }

    fn comparison(&mut self, out: &mut String, compare: &ast::Compare<'_>) -> Result<(), ExpressionError> {
        out.push_str("__chain(");
        self.expression(out, &compare.expr)?;
        for step in &compare.ops {
            let operator = match step.op {
                CompareOpKind::Eq => "==",
                CompareOpKind::Ne => "!=",
                CompareOpKind::Lt => "<",
                CompareOpKind::Lte => "<=",
                CompareOpKind::Gt => ">",
                CompareOpKind::Gte => ">=",
                CompareOpKind::In => "in",
                CompareOpKind::NotIn => "not in",
            };
            let _ = write!(out, ", \"{operator}\", ");
            self.expression(out, &step.expr)?;
        }
        out.push(')');
        Ok(())
    }

    fn filter(&mut self, out: &mut String, filter: &ast::Filter<'_>) -> Result<(), ExpressionError> {
        if !engine::FILTERS.contains(&filter.name) {
            return Err(self.unsupported("filter", filter.name));
        }
        let Some(subject) = &filter.expr else {
            return Err(self.unsupported("statement", "filter"));
        };
        if let ("regex_search", Some(CallArg::Pos(Expr::Const(pattern)))) = (filter.name, filter.args.first())
            && let Some(pattern) = pattern.value.as_str()
            && !super::filter::is_pattern(pattern)
        {
            return Err(self.unsupported("pattern", pattern));
        }
        out.push_str(match filter.name {
            name if engine::ITERATING_FILTERS.contains(&name) => "__iterable(",
            name if engine::SELECTING_FILTERS.contains(&name) => "__selectable(",
            _ => "(",
        });
        self.expression(out, subject)?;
        let _ = write!(out, ")|{}", filter.name);
        self.arguments(out, &filter.args)
    }

    fn test(&mut self, out: &mut String, test: &ast::Test<'_>) -> Result<(), ExpressionError> {
        if !engine::TESTS.contains(&test.name) {
            return Err(self.unsupported("test", test.name));
        }
        out.push_str("((");
        self.expression(out, &test.expr)?;
        let _ = write!(out, ") is {}", test.name);
        if !test.args.is_empty() {
            self.arguments(out, &test.args)?;
        }
        out.push(')');
        Ok(())
    }

    fn item(&mut self, out: &mut String, item: &ast::GetItem<'_>) -> Result<(), ExpressionError> {
        let by_name = matches!(&item.subscript_expr, Expr::Const(key) if key.value.as_str().is_some());
        out.push_str(if by_name { "(" } else { "__item(" });
        self.expression(out, &item.expr)?;
        out.push_str(if by_name { ")[" } else { ", " });
        self.expression(out, &item.subscript_expr)?;
        out.push(if by_name { ']' } else { ')' });
        Ok(())
    }

    fn call(&mut self, out: &mut String, call: &ast::Call<'_>) -> Result<(), ExpressionError> {
        match call.identify_call() {
            CallType::Function(name) => {
                if !engine::FUNCTIONS.contains(&name) {
                    return Err(self.unsupported("function", name));
                }
                out.push_str(name);
            }
            CallType::Method(subject, name) => {
                if !engine::METHODS.contains(&name) {
                    return Err(self.unsupported("method", name));
                }
                out.push('(');
                self.expression(out, subject)?;
                let _ = write!(out, ").{name}");
            }
            _ => return Err(self.unsupported("call", "of a value")),
        }
        self.arguments(out, &call.args)
    }

    fn arguments(&mut self, out: &mut String, arguments: &[CallArg<'_>]) -> Result<(), ExpressionError> {
        out.push('(');
        for (position, argument) in arguments.iter().enumerate() {
            if position > 0 {
                out.push_str(", ");
            }
            match argument {
                CallArg::Pos(value) => self.expression(out, value)?,
                CallArg::Kwarg(name, value) => {
                    let _ = write!(out, "{name}=");
                    self.expression(out, value)?;
                }
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => return Err(self.unsupported("argument", "*")),
            }
        }
        out.push(')');
        Ok(())
    }

    /// Checks a top-level name, and notes its use.
    fn name(&mut self, name: &str) -> Result<(), ExpressionError> {
        if self.assigned.contains(name) {
            return Ok(());
        }
        if name == "stream_state" {
            return Err(ExpressionError::StreamState { template: self.source.to_owned() });
        }
        if !self.place.names().contains(&name) && !self.extra.contains(&name) {
            let accepted: Vec<&str> = self.place.names().iter().chain(self.extra).copied().collect();
            return Err(ExpressionError::Undeclared {
                name: name.to_owned(),
                template: self.source.to_owned(),
                place: self.place.noun(),
                accepted: accepted.join(", "),
            });
        }
        self.done.names.insert(name.to_owned());
        Ok(())
    }

    /// Collects the names that statements assign.
    fn assignments(&mut self, statement: &Stmt<'_>) {
        let mut visit = |children: &[Stmt<'_>]| children.iter().for_each(|child| self.assignments(child));
        match statement {
            Stmt::ForLoop(each) => {
                visit(&each.body);
                visit(&each.else_body);
                self.assigned.insert("loop".to_owned());
                self.target(&each.target);
            }
            Stmt::IfCond(choice) => {
                visit(&choice.true_body);
                visit(&choice.false_body);
            }
            Stmt::Set(set) => self.target(&set.target),
            Stmt::SetBlock(set) => {
                visit(&set.body);
                self.target(&set.target);
            }
            _ => {}
        }
    }

    fn target(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(var) => {
                self.assigned.insert(var.id.to_owned());
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.target(item)),
            _ => {}
        }
    }

    fn statements(&mut self, out: &mut String, statements: &[Stmt<'_>]) -> Result<(), ExpressionError> {
        for statement in statements {
            match statement {
                Stmt::EmitRaw(raw) => {
                    out.push_str("{{ ");
                    quote(out, raw.raw);
                    out.push_str(" }}");
                }
                Stmt::EmitExpr(emit) => {
                    out.push_str("{{ ");
                    self.expression(out, &emit.expr)?;
                    out.push_str(" }}");
                }
                Stmt::Set(set) => {
                    out.push_str("{% set ");
                    self.assign(out, &set.target)?;
                    out.push_str(" = ");
                    self.expression(out, &set.expr)?;
                    out.push_str(" %}");
                }
                Stmt::SetBlock(set) if set.filter.is_none() => {
                    out.push_str("{% set ");
                    self.assign(out, &set.target)?;
                    out.push_str(" %}");
                    self.statements(out, &set.body)?;
                    out.push_str("{% endset %}");
                }
                Stmt::IfCond(choice) => {
                    out.push_str("{% if ");
                    self.expression(out, &choice.expr)?;
                    out.push_str(" %}");
                    self.statements(out, &choice.true_body)?;
                    out.push_str("{% else %}");
                    self.statements(out, &choice.false_body)?;
                    out.push_str("{% endif %}");
                }
                Stmt::ForLoop(each) if !each.recursive => self.each(out, each)?,
                other => return Err(self.unsupported("statement", statement_name(other))),
            }
        }
        Ok(())
    }

    fn each(&mut self, out: &mut String, each: &ast::ForLoop<'_>) -> Result<(), ExpressionError> {
        out.push_str("{% for ");
        self.assign(out, &each.target)?;
        out.push_str(" in __iterable(");
        self.expression(out, &each.iter)?;
        out.push(')');
        if let Some(filter) = &each.filter_expr {
            out.push_str(" if ");
            self.expression(out, filter)?;
        }
        out.push_str(" %}");
        self.statements(out, &each.body)?;
        out.push_str("{% else %}");
        self.statements(out, &each.else_body)?;
        out.push_str("{% endfor %}");
        Ok(())
    }

    fn assign(&mut self, out: &mut String, target: &Expr<'_>) -> Result<(), ExpressionError> {
        match target {
            Expr::Var(var) => out.push_str(var.id),
            Expr::List(list) => {
                out.push('(');
                for item in &list.items {
                    self.assign(out, item)?;
                    out.push_str(", ");
                }
                out.push(')');
            }
            _ => return Err(self.unsupported("statement", "set of an attribute")),
        }
        Ok(())
    }
}

/// The path below `config` that `expression` reads, when it is spelled out.
fn config_path(expression: &Expr<'_>) -> Option<Vec<String>> {
    let step = |base: &Expr<'_>, key: &str| {
        let mut path = config_path(base)?;
        path.push(key.to_owned());
        Some(path)
    };
    match expression {
        Expr::Var(var) if var.id == "config" => Some(Vec::new()),
        Expr::GetAttr(attribute) => step(&attribute.expr, attribute.name),
        Expr::GetItem(item) => match &item.subscript_expr {
            Expr::Const(key) => step(&item.expr, key.value.as_str()?),
            _ => None,
        },
        Expr::Call(call) => match (call.identify_call(), call.args.first()) {
            (CallType::Method(subject, "get"), Some(CallArg::Pos(Expr::Const(key)))) => step(subject, key.value.as_str()?),
            _ => None,
        },
        _ => None,
    }
}

fn statement_name(statement: &Stmt<'_>) -> &'static str {
    match statement {
        Stmt::ForLoop(_) => "for … recursive",
        Stmt::WithBlock(_) => "with",
        Stmt::SetBlock(_) => "set with a filter",
        Stmt::AutoEscape(_) => "autoescape",
        Stmt::FilterBlock(_) => "filter",
        Stmt::Block(_) => "block",
        Stmt::Import(_) | Stmt::FromImport(_) => "import",
        Stmt::Extends(_) => "extends",
        Stmt::Include(_) => "include",
        Stmt::Macro(_) => "macro",
        Stmt::CallBlock(_) => "call",
        Stmt::Continue(_) => "continue",
        Stmt::Break(_) => "break",
        Stmt::Do(_) => "do",
        _ => "of this kind",
    }
}

/// Appends a string literal of the engine.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => out.push(character),
        }
    }
    out.push('"');
}
