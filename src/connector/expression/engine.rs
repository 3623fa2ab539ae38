//! The template engine with the language's filters, tests, functions and methods, shared by all templates.

use std::sync::LazyLock;

use minijinja::Environment;
use minijinja::UndefinedBehavior;
use minijinja::Value;

use super::filter;
use super::function;
use super::method;
use super::operator;
use super::python;

/// The most engine steps that one evaluation may take.
pub const FUEL_STEPS_MAX: u64 = 1_000_000;

/// The longest text, in bytes, that an evaluation may make; the most elements of a list, as well.
pub const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The filters of the language that are implemented.
pub(super) const FILTERS: [&str; 43] = [
    "abs",
    "base64binascii_decode",
    "base64decode",
    "base64encode",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "first",
    "float",
    "format",
    "hash",
    "hmac",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "regex_search",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "safe",
];

/// The filters that go over their subject: a missing value is none, and what cannot be gone over is an error of type.
pub(super) const ITERATING_FILTERS: [&str; 9] = ["first", "join", "last", "list", "max", "min", "sort", "sum", "unique"];

/// The filters that choose from their subject, of which anything that counts as false is empty.
pub(super) const SELECTING_FILTERS: [&str; 5] = ["map", "reject", "rejectattr", "select", "selectattr"];

/// The tests of the language that are implemented.
pub(super) const TESTS: [&str; 27] = [
    "boolean",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
];

/// The functions of the language.
pub(super) const FUNCTIONS: [&str; 13] = [
    "now_utc",
    "today_utc",
    "today_with_timezone",
    "timestamp",
    "day_delta",
    "duration",
    "format_datetime",
    "json_loads",
    "str_to_datetime",
    "max",
    "min",
    "sanitize_url",
    "camel_case_to_snake_case",
];

/// The methods of values that are implemented.
pub(super) const METHODS: [&str; 44] = [
    "append",
    "capitalize",
    "count",
    "date",
    "endswith",
    "extend",
    "find",
    "format",
    "get",
    "index",
    "insert",
    "isalnum",
    "isalpha",
    "isascii",
    "isdigit",
    "islower",
    "isnumeric",
    "isoformat",
    "isspace",
    "isupper",
    "items",
    "join",
    "keys",
    "lower",
    "lstrip",
    "pop",
    "replace",
    "rfind",
    "rstrip",
    "split",
    "rsplit",
    "splitlines",
    "startswith",
    "strftime",
    "strip",
    "timestamp",
    "title",
    "total_seconds",
    "update",
    "upper",
    "values",
    "weekday",
    "isoweekday",
    "zfill",
];

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(build);

/// The engine.
pub(super) fn engine() -> &'static Environment<'static> {
    &ENGINE
}

fn build() -> Environment<'static> {
    let mut engine = Environment::new();
    // Its errors would carry the values of variables.
    engine.set_debug(false);
    engine.set_fuel(Some(FUEL_STEPS_MAX));
    engine.set_undefined_behavior(UndefinedBehavior::Lenient);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.set_unknown_method_callback(method::call);
    engine.set_formatter(|out, _state, value: &Value| {
        let text = operator::bounded(python::text(value))?;
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    for global in ["range", "dict", "debug", "namespace"] {
        engine.remove_global(global);
    }
    operator::register(&mut engine);
    filter::register(&mut engine);
    function::register(&mut engine);
    engine
}
