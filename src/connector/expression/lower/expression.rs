//! Prints expressions in the engine's words.

use std::fmt::Write;

use minijinja::Value;
use minijinja::machinery::ast;
use minijinja::machinery::ast::BinOpKind;
use minijinja::machinery::ast::CallArg;
use minijinja::machinery::ast::CallType;
use minijinja::machinery::ast::CompareOpKind;
use minijinja::machinery::ast::Expr;
use minijinja::value::ValueKind;

use super::Printer;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::engine;
use crate::connector::expression::filter;

/// How deep expressions may lie in each other.
const DEPTH_MAX: usize = 128;

impl Printer<'_> {
    pub(super) fn expression(&mut self, out: &mut String, expression: &Expr<'_>) -> Result<(), ExpressionError> {
        if self.depth >= DEPTH_MAX {
            return Err(self.unsupported("nesting", "too deep"));
        }
        self.depth += 1;
        let printed = self.node(out, expression);
        self.depth -= 1;
        printed
    }

    fn node(&mut self, out: &mut String, expression: &Expr<'_>) -> Result<(), ExpressionError> {
        let path = path_read(expression);
        let inner = std::mem::replace(&mut self.inside_path, path.is_some());
        match path.filter(|_| !inner) {
            Some(("config", path)) => drop(self.done.config_paths.insert(path)),
            Some((_, path)) => drop(self.done.record_paths.insert(path)),
            None => {}
        }
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
            && !filter::is_pattern(pattern)
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
}

/// The path below `config` or `record` that `expression` reads, when it is spelled out.
fn path_read<'a>(expression: &Expr<'a>) -> Option<(&'a str, Vec<String>)> {
    let step = |base: &Expr<'a>, key: &str| {
        let (root, mut path) = path_read(base)?;
        path.push(key.to_owned());
        Some((root, path))
    };
    match expression {
        Expr::Var(var) if matches!(var.id, "config" | "record") => Some((var.id, Vec::new())),
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

/// Appends a string literal of the engine.
pub(super) fn quote(out: &mut String, text: &str) {
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
