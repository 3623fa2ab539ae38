//! The expressions of declarative manifests: Jinja2 templates whose rendered text is read as a Python literal.
//!
//! A [`Template`] is compiled once, for one [`Place`], and evaluated against a [`Scope`]. Plain text never touches the engine. What
//! Headgate does not implement is refused by name when the template is compiled, and a name that the place does not have as well.
//!
//! Evaluation follows the reference engine (airbyte-cdk 7): text that reads as a Python literal becomes that literal, so an
//! identifier such as `35E876` becomes infinity; [`Evaluated::coerced`] tells when text changed its type. An error of type (`None < 3`)
//! makes the template its own result. Asking something of a missing value gives the place's default.

mod engine;
mod error;
mod filter;
mod function;
mod json;
mod literal;
mod lower;
mod method;
mod moment;
mod operator;
mod place;
mod python;
mod scope;
mod sequence;
#[cfg(test)]
mod tables;
mod template;

pub use engine::FUEL_STEPS_MAX;
pub use engine::TEXT_BYTES_MAX;
pub use error::ExpressionError;
pub use json::dynamic;
pub use json::json;
pub use json::lazy_json;
pub use place::Place;
pub use python::python_text;
pub use scope::Scope;
pub use scope::Slice;
pub use template::Evaluated;
pub use template::Literals;
pub use template::TEMPLATE_BYTES_MAX;
pub use template::Template;
