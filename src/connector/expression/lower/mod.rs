//! From the language of manifests to the engine's: checks names, and rewrites what the two evaluate differently.
//!
//! The manifest's language is Jinja2 with Python's values. The engine parses it, but its operators know no dates, tuples or type
//! errors. So each template is parsed once, every name, filter, test, function, method and statement in it is checked against
//! what Headgate implements, and the tree is printed again with operators as calls of the functions in `operator.rs`.

use std::collections::BTreeSet;

use minijinja::machinery::WhitespaceConfig;
use minijinja::machinery::ast;
use minijinja::machinery::ast::Expr;
use minijinja::machinery::ast::Stmt;

use super::ExpressionError;
use super::Place;
use expression::quote;

mod expression;

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
    /// The paths below `record` that it reads.
    pub(super) record_paths: BTreeSet<Vec<String>>,
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
        Printer { source, place, extra, assigned: BTreeSet::new(), changes: false, inside_path: false, depth: 0, done: Lowered::default() };
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
    /// How deep the expression printed now lies in others.
    depth: usize,
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
