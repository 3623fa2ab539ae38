//! Reads components out of the tree: collects every problem, keeps the path, and binds expressions to their parameters.

use std::collections::HashMap;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::Description;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Place;
use crate::connector::expression::Template;
use crate::connector::problem::Code;
use crate::connector::problem::Problem;
use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

/// The most problems that are kept: enough to repair a manifest, not enough to fill memory with a hostile one.
pub const PROBLEMS_MAX: usize = 200;

/// The number of values that are read, with everything that is referred to written out, and templates counted by what they take. The
/// largest published manifest has 42,000.
pub const READ_MAX: usize = 500_000;

/// The number of values that a template counts as when it is compiled, for the memory it takes; and the bytes of one that count as
/// one more.
const TEMPLATE_COST: usize = 20;
const TEMPLATE_BYTES_OF_VALUE: usize = 32;

/// Members that the builder's export leaves on components that have no such field; the original ignores them too. They are the
/// parameters that the manifest's author once wrote, already applied.
const LEFTOVERS: &[&str] = &["name", "primary_key", "path", "page_size", "description"];

/// The components that have exactly their fields; the original refuses others too.
const CLOSED: &[&str] = &["DeclarativeSource", "ConfigNormalizationRules"];

/// A value that a field may hold.
pub trait Accept: Sized {
    /// What is accepted, to end the sentence "needs …".
    const ACCEPTS: &'static str;

    /// Reads the value; `None` when it cannot be used, and then the reader has a problem.
    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self>;

    /// The value of a field that is not there; `None` when the field is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// The kind of document that is read, which decides how problems are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `manifest.yaml`: maps are components with a type, parameters and leftovers.
    Manifest,
    /// `headgate.yaml`: maps have exactly their keys.
    Treatment,
}

/// The walk over one document.
pub struct Reader {
    document: Document,
    path: Vec<String>,
    place: Place,
    parameters: Vec<Parameters>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// The problems noted so far, those of parts that were read apart included.
    noted: usize,
    /// The templates compiled so far.
    templates: HashMap<(Place, String), Arc<Template>>,
    /// What may still be read, see [`READ_MAX`]; nothing once it was too much.
    left: Option<usize>,
}

/// The parameters of an open component: most components have no expression that asks for them.
enum Parameters {
    Unread(Option<Rc<Node>>),
    Read(Arc<Value>),
}

impl Reader {
    /// A walk over `document`.
    pub fn new(document: Document) -> Self {
        let nothing = Parameters::Unread(None);
        Reader {
            document,
            path: Vec::new(),
            place: Place::Spec,
            parameters: vec![nothing],
            problems: Vec::new(),
            warnings: Vec::new(),
            noted: 0,
            templates: HashMap::new(),
            left: Some(READ_MAX),
        }
    }

    /// Notes a problem at the present path.
    pub fn problem(&mut self, code: Code, line: u32, message: String) {
        self.noted += 1;
        // Of a part that is read apart, the first problem is kept in any case: it says why the part is not run.
        if self.noted <= PROBLEMS_MAX || self.problems.is_empty() {
            let problem = self.here(code, line, message);
            self.problems.push(problem);
        }
    }

    /// Notes what is ignored at the present path.
    pub fn warning(&mut self, code: Code, line: u32, message: String) {
        if self.warnings.len() < PROBLEMS_MAX {
            let warning = self.here(code, line, message);
            self.warnings.push(warning);
        }
    }

    fn here(&self, code: Code, line: u32, message: String) -> Problem {
        let path = self.path.join(".").replace(".[", "[");
        let (file, code) = match self.document {
            Document::Manifest => ("manifest.yaml", code),
            Document::Treatment => ("headgate.yaml", in_treatment(code)),
        };
        Problem { code, file, line, path, message }
    }

    /// Reads a part whose problems are its own: they are given back, and the document stays as clean as it was.
    pub fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, Vec<Problem>) {
        let outer = std::mem::take(&mut self.problems);
        let read = read(self);
        let problems = told_once(std::mem::replace(&mut self.problems, outer));
        (read, problems)
    }

    /// Takes problems that were found apart as those of the document.
    pub fn take_over(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// Notes that a value is of the wrong kind.
    pub fn wrong_kind<T>(&mut self, node: &Node, accepts: &str) -> Option<T> {
        self.problem(Code::WrongKind, node.line, format!("is {}, but needs {accepts}", node.kind()));
        None
    }

    /// Notes that a value is not among the accepted ones.
    pub fn not_accepted<T>(&mut self, node: &Node, accepts: &str) -> Option<T> {
        let found: String = node.to_json().to_string().chars().take(80).collect();
        self.problem(Code::NotAccepted, node.line, format!("is {found}, but needs {accepts}"));
        None
    }

    /// Every problem found, in the order of the text.
    pub fn into_problems(self) -> Vec<Problem> {
        told_once(self.problems)
    }

    /// Everything that was ignored, in the order of the text.
    pub fn take_warnings(&mut self) -> Vec<Problem> {
        told_once(std::mem::take(&mut self.warnings))
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Reads within a step of the path.
    pub fn within<T>(&mut self, step: impl Into<String>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.into());
        let read = read(self);
        self.path.pop();
        read
    }

    /// Where an expression of the field being read stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Reads with expressions standing in `place`.
    pub fn at<T>(&mut self, place: Place, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.place, place);
        let read = read(self);
        self.place = outer;
        read
    }

    /// The parameters of the component being read.
    pub fn parameters(&mut self) -> Arc<Value> {
        let node = match self.parameters.last_mut() {
            Some(Parameters::Read(value)) => return Arc::clone(value),
            Some(Parameters::Unread(node)) => node.take(),
            None => None,
        };
        let value = Arc::new(node.and_then(|node| self.value(&node)).unwrap_or_else(|| Value::Object(Map::new())));
        if let Some(last) = self.parameters.last_mut() {
            *last = Parameters::Read(Arc::clone(&value));
        }
        value
    }

    /// The value as written: without what parameters put into it. None when the document becomes too large by it.
    pub fn value(&mut self, node: &Node) -> Option<Value> {
        self.spend(1, node.line)?;
        Some(match &node.tree {
            Tree::Map(members) => {
                let mut written = Map::new();
                for (key, member) in members.iter().filter(|(_, member)| !member.inherited) {
                    written.insert(key.to_string(), self.value(&member.node)?);
                }
                Value::Object(written)
            }
            Tree::List(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Option<_>>()?),
            _ => node.to_json(),
        })
    }

    /// The template of a text, compiled once for each place that it stands in. None when the document becomes too large by it.
    pub fn template(&mut self, source: &str, line: u32) -> Option<Result<Arc<Template>, ExpressionError>> {
        self.spend(1, line)?;
        let key = (self.place, source.to_owned());
        if let Some(template) = self.templates.get(&key) {
            return Some(Ok(Arc::clone(template)));
        }
        self.spend(TEMPLATE_COST + source.len() / TEMPLATE_BYTES_OF_VALUE, line)?;
        Some(Template::compile(source, self.place).map(|template| {
            let template = Arc::new(template);
            self.templates.insert(key, Arc::clone(&template));
            template
        }))
    }

    /// Counts what is read. None when it is too much: definitions that are referred to are read once for every place.
    pub fn spend(&mut self, cost: usize, line: u32) -> Option<()> {
        let spent = self.left.is_none();
        self.left = self.left.and_then(|left| left.checked_sub(cost));
        if self.left.is_none() && !spent {
            let message = format!("references write out to more than {READ_MAX} values; refer less often to large definitions");
            self.problem(Code::Expansion, line, message);
        }
        self.left.map(|_| ())
    }

    /// Opens a component: checks that every member is a field of it, and takes its parameters.
    pub fn open<'n>(&mut self, node: &'n Node, about: &Description) -> Option<&'n Members> {
        let Some(members) = node.as_map() else { return self.wrong_kind(node, &format!("a map of type {}", about.name)) };
        self.spend(1 + members.len(), node.line)?;
        for (key, member) in members {
            self.know(key, member, node.line, about);
        }
        self.parameters.push(Parameters::Unread(members.get("$parameters").map(|member| Rc::clone(&member.node))));
        Some(members)
    }

    /// Notes a member that is no field: one that the language has and that is not run is a problem, one that it does not have
    /// is ignored, as the original ignores it. A treatment has exactly its keys, and so has the source as a whole.
    fn know(&mut self, key: &str, member: &Member, line: u32, about: &Description) {
        if about.fields.iter().any(|field| field.name == key) {
            return;
        }
        let line = if member.line > 0 { member.line } else { line };
        let manifest = self.document == Document::Manifest;
        let refused = !manifest || (about.refused.contains(&key) && member.node.tree != Tree::Null);
        let ours = member.inherited || matches!(key, "type" | "$parameters" | "$options") || LEFTOVERS.contains(&key);
        if manifest && !refused && ours {
            return;
        }
        let fields = about.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ");
        let fields = if fields.is_empty() { "none" } else { &fields };
        self.within(key.to_owned(), |reader| {
            if refused || CLOSED.contains(&about.name) {
                let message = format!("{} has no field `{key}` here; accepted: {fields}", about.name);
                reader.problem(Code::UnknownField, line, message);
            } else {
                let message = format!("{} has no field `{key}`: it is ignored; there are {fields}", about.name);
                reader.warning(Code::IgnoredField, line, message);
            }
        });
    }

    /// Closes the component that was opened last.
    pub fn close(&mut self) {
        self.parameters.pop();
    }

    /// Reads one field of an open component.
    pub fn field<T: Accept>(
        &mut self,
        members: &Members,
        about: &Description,
        name: &str,
        line: u32,
        place: Option<Place>,
        default: Option<T>,
    ) -> Option<T> {
        let member = members.get(name).filter(|member| member.node.tree != Tree::Null);
        match member {
            Some(member) => {
                let place = place.unwrap_or(Place::Spec);
                self.within(name, |reader| reader.at(place, |reader| T::accept(&member.node, reader)))
            }
            None => default.or_else(T::absent).or_else(|| {
                let message = format!("{} needs `{name}`: {}", about.name, T::ACCEPTS);
                self.problem(Code::MissingField, line, message);
                None
            }),
        }
    }
}

/// The problems in the order of the text. A definition used by several streams is read once for each, but is wrong only once.
pub fn told_once(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.line);
    let mut told = HashSet::new();
    problems.retain(|problem| told.insert((problem.line, problem.code, problem.message.clone())));
    problems
}

/// The code of the same problem when it is in a treatment.
fn in_treatment(code: Code) -> Code {
    match code {
        Code::Unreadable | Code::NotAManifest => Code::TreatmentUnreadable,
        Code::UnknownField => Code::TreatmentKey,
        Code::MissingField => Code::TreatmentMissing,
        Code::WrongKind => Code::TreatmentKind,
        Code::NotAccepted | Code::Conflict | Code::BadFormat => Code::TreatmentValue,
        Code::BadExpression => Code::TreatmentExpression,
        Code::BadName => Code::TreatmentStream,
        code => code,
    }
}

impl Accept for bool {
    const ACCEPTS: &'static str = "true or false";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match &node.tree {
            Tree::Bool(value) => Some(*value),
            Tree::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => reader.wrong_kind(node, Self::ACCEPTS),
            },
            _ => reader.wrong_kind(node, Self::ACCEPTS),
        }
    }
}

impl Accept for i64 {
    const ACCEPTS: &'static str = "a whole number";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let number = match &node.tree {
            Tree::Number(number) => number.as_i64(),
            Tree::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.or_else(|| reader.wrong_kind(node, Self::ACCEPTS))
    }
}

impl Accept for u32 {
    const ACCEPTS: &'static str = "a whole number that is not negative";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let number = i64::accept(node, reader)?;
        u32::try_from(number).ok().or_else(|| reader.not_accepted(node, Self::ACCEPTS))
    }
}

impl Accept for f64 {
    const ACCEPTS: &'static str = "a number";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let number = match &node.tree {
            Tree::Number(number) => number.as_f64(),
            Tree::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).or_else(|| reader.wrong_kind(node, Self::ACCEPTS))
    }
}

impl Accept for String {
    const ACCEPTS: &'static str = "a text";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match &node.tree {
            Tree::Text(text) => Some(text.to_string()),
            Tree::Number(number) => Some(number.to_string()),
            _ => reader.wrong_kind(node, Self::ACCEPTS),
        }
    }
}

impl Accept for Value {
    const ACCEPTS: &'static str = "a value";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        reader.value(node)
    }
}

impl Accept for Map<String, Value> {
    const ACCEPTS: &'static str = "a map";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match reader.value(node)? {
            Value::Object(map) => Some(map),
            _ => reader.wrong_kind(node, Self::ACCEPTS),
        }
    }
}

impl<T: Accept> Accept for Option<T> {
    const ACCEPTS: &'static str = T::ACCEPTS;

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        T::accept(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Accept> Accept for Box<T> {
    const ACCEPTS: &'static str = T::ACCEPTS;

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        T::accept(node, reader).map(Box::new)
    }
}

/// A list; a single value stands for a list of one.
impl<T: Accept> Accept for Vec<T> {
    const ACCEPTS: &'static str = T::ACCEPTS;

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let Some(items) = node.as_list() else { return T::accept(node, reader).map(|item| vec![item]) };
        // All items are read before the first failure counts, so that all problems are told.
        let read = |(index, item)| reader.within(format!("[{index}]"), |reader| T::accept(item, reader));
        let read: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        read.into_iter().collect()
    }
}
