//! From the text of a manifest to its components.
//!
//! The text becomes a tree with lines, references are followed, types and parameters filled in, and the components read; every
//! problem that any of these steps finds is reported, with its line.

use std::rc::Rc;

use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Document;
use crate::connector::component::reader::Reader;
use crate::connector::component::source::DeclarativeSource;
use crate::connector::manifest::making::Making;
use crate::connector::problem::Code;
use crate::connector::problem::Problem;
use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Repeated;
use crate::connector::yaml::Tree;
use crate::connector::yaml::parse;

mod consistency;
mod filling;
pub mod making;
pub mod propagation;
pub mod reference;
mod source;

pub use source::CONCURRENCY_DEFAULT;
pub use source::CONCURRENCY_MAX;

/// A manifest that can be used.
#[derive(Debug)]
pub struct Manifest {
    /// Its components. At least one stream runs.
    pub source: DeclarativeSource,
    /// What is ignored in it, in the order of its lines.
    pub warnings: Vec<Problem>,
}

/// Reads a manifest. To be called with [`crate::connector::yaml::STACK_BYTES`] of stack.
///
/// A stream that needs what is not run here is refused alone, see [`Code::is_of_one_stream`]; when that leaves none, the
/// manifest is refused.
///
/// # Errors
/// Every problem of the text, in the order of its lines.
pub fn read(text: &str) -> Result<Manifest, Vec<Problem>> {
    read_for(text, None)
}

/// Reads a manifest, and makes it that of one configuration where `making` says which.
///
/// # Errors
/// Every problem of the text, in the order of its lines.
pub fn read_for(text: &str, making: Option<&Making>) -> Result<Manifest, Vec<Problem>> {
    let mut reader = Reader::new(Document::Manifest);
    let document = match parse(text, Repeated::LastCounts) {
        Ok(document) => document,
        Err(error) => {
            reader.problem(Code::Unreadable, error.line, error.message);
            return Err(reader.into_problems());
        }
    };
    let is_source = document.type_name().is_none_or(|name| name == "DeclarativeSource") && document.get("check").is_some();
    if document.type_name() != Some("DeclarativeSource") && !is_source {
        let message = "is no declarative source; a manifest begins with `type: DeclarativeSource`".to_owned();
        reader.problem(Code::NotAManifest, 1, message);
        return Err(reader.into_problems());
    }
    let (resolved, broken) = reference::resolve(&document);
    for broken in broken {
        reader.problem(broken.code, broken.line, broken.message);
    }
    let mut source = match propagate(&resolved) {
        Ok(written) => {
            let source = DeclarativeSource::accept(&written, &mut reader);
            source.map(|mut source| {
                if let Some(making) = making {
                    making::make(&mut source, &written, making, &mut reader);
                }
                source
            })
        }
        Err(error) => {
            reader.problem(Code::Expansion, 1, error.to_string());
            None
        }
    };
    if let Some(source) = &mut source {
        consistency::check(source, making.is_some(), &mut reader);
    }
    match source {
        Some(source) if reader.is_clean() && (source.declared().next().is_some() || source.makes_streams()) => {
            Ok(Manifest { source, warnings: reader.take_warnings() })
        }
        source => {
            let refused = source.iter().flat_map(DeclarativeSource::refused).flat_map(|stream| stream.problems.iter().cloned());
            reader.take_over(refused.collect());
            Err(reader.into_problems())
        }
    }
}

/// Fills in types and parameters of what a source runs. Definitions that nothing refers to are left as they are.
fn propagate(document: &Rc<Node>) -> Result<Rc<Node>, propagation::TooLarge> {
    let Some(members) = document.as_map() else { return Ok(Rc::clone(document)) };
    let (unread, mut run): (Members, Members) = members.clone().into_iter().partition(|(key, _)| UNREAD.contains(&key.as_ref()));
    let kind = Rc::new(Node { line: document.line, tree: Tree::Text("DeclarativeSource".into()) });
    run.entry("type".into()).or_insert(Member { node: kind, line: 0, inherited: false });
    let run = Rc::new(Node { line: document.line, tree: Tree::Map(run) });
    let written = propagation::propagate(&run, "", "")?;
    let mut members = written.as_map().cloned().unwrap_or_default();
    for (key, member) in unread {
        members.insert(key, Member { node: Node::null(member.line), ..member });
    }
    Ok(Rc::new(Node { line: document.line, tree: Tree::Map(members) }))
}

/// Members of the source that are not components.
const UNREAD: &[&str] = &["definitions", "schemas", "metadata"];

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::connector::yaml::with_stack;

    const HEAD: &str = "type: DeclarativeSource\nversion: 6.0.0\ncheck: {type: CheckStream, stream_names: [a]}\nstreams:\n";

    fn shared() -> Option<PathBuf> {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
        let path = PathBuf::from(std::env::var("HEADGATE_SHARED").unwrap_or_else(|_| default.into()));
        path.is_dir().then_some(path)
    }

    /// The codes, lines and paths of the problems in a manifest whose streams are `streams`.
    fn check(streams: &str) -> Vec<(Code, u32, String)> {
        let text = format!("{HEAD}{streams}");
        match with_stack(|| read(&text).map(|_| ())) {
            Ok(()) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| (problem.code, problem.line, problem.path)).collect(),
        }
    }

    /// One stream called `a` whose retriever is `retriever` and whose other members are `members`; the retriever is on line 6.
    fn stream(retriever: &str, members: &str) -> String {
        format!("  - name: a\n    retriever: {retriever}\n{members}")
    }

    const SELECTOR: &str = "record_selector: {extractor: {field_path: []}}";

    /// What is not there, unknown, misplaced, custom or wrong is told with code, line and path; all of it at once.
    #[test]
    fn faults_are_told_by_name_and_line() {
        let request = |requester: &str| stream(&format!("{{requester: {{{requester}}}, {SELECTOR}}}"), "");
        type Case = (String, &'static [(Code, u32, &'static str)]);
        let cases: [Case; 16] = [
            (request("url: 'https://a.example'"), &[]),
            (request("url: 'https://a.example', name: n, $parameters: {anything: 1}"), &[]),
            (request("url: 'https://a.example', qps: 3"), &[]),
            (
                stream(&format!("{{requester: {{url: x}}, {SELECTOR}}}"), "    file_uploader: {}\n"),
                &[(Code::UnknownField, 7, "streams[0].file_uploader")],
            ),
            (request("url: \"{{ confg['x'] }}\""), &[(Code::BadExpression, 6, "streams[0].retriever.requester.url")]),
            (request("url: \"{{ config[ }}\""), &[(Code::BadExpression, 6, "streams[0].retriever.requester.url")]),
            (request("url: x, http_method: FETCH"), &[(Code::NotAccepted, 6, "streams[0].retriever.requester.http_method")]),
            (
                request("url: x, authenticator: {type: MagicAuthenticator}"),
                &[(Code::UnknownComponent, 6, "streams[0].retriever.requester.authenticator")],
            ),
            (request("url: x, authenticator: {class_name: a.B}"), &[(Code::CustomCode, 6, "streams[0].retriever.requester.authenticator")]),
            (
                request("url: x, error_handler: {max_retries: often}"),
                &[(Code::WrongKind, 6, "streams[0].retriever.requester.error_handler.max_retries")],
            ),
            (
                stream("{requester: '#/nowhere'}", ""),
                &[
                    (Code::MissingReference, 6, ""),
                    (Code::MissingField, 6, "streams[0].retriever"),
                    (Code::MissingField, 6, "streams[0].retriever"),
                ],
            ),
            (
                stream(
                    &format!("{{requester: {{url: x}}, {SELECTOR}}}"),
                    "    primary_key: 5\n    incremental_sync: {type: NoSuchCursor}\n",
                ),
                &[(Code::WrongKind, 7, "streams[0].primary_key"), (Code::UnknownComponent, 8, "streams[0].incremental_sync")],
            ),
            (
                stream(
                    &format!("{{requester: {{url: x}}, {SELECTOR}}}"),
                    "  - {name: a, retriever: {requester: {url: x}, record_selector: {extractor: {field_path: []}}}}\n",
                ),
                &[(Code::BadName, 7, "")],
            ),
            (
                stream(
                    &format!(
                        "{{requester: {{path: p, request_body_json: {{a: b}}, request_body_data: x, authenticator: {{type: ApiKeyAuthenticator, api_token: t}}}}, {SELECTOR},\n      paginator: {{type: DefaultPaginator, page_size_option: {{inject_into: header}}, pagination_strategy: {{type: OffsetIncrement}}}}}}"
                    ),
                    "    incremental_sync:\n      {type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%Q', start_datetime: now, step: 5 days}\n",
                ),
                &[
                    (Code::MissingField, 6, "streams[0].retriever.requester"),
                    (Code::Conflict, 6, "streams[0].retriever.requester"),
                    (Code::MissingField, 6, "streams[0].retriever.requester.authenticator"),
                    (Code::Conflict, 7, "streams[0].retriever.paginator"),
                    (Code::Conflict, 7, "streams[0].retriever.paginator"),
                    (Code::Conflict, 9, "streams[0].incremental_sync"),
                    (Code::BadFormat, 9, "streams[0].incremental_sync"),
                    (Code::BadFormat, 9, "streams[0].incremental_sync.step"),
                ],
            ),
            ("  - 5\n".to_owned(), &[(Code::WrongKind, 5, "streams[0]")]),
            ("  []\n".to_owned(), &[(Code::BadName, 3, ""), (Code::MissingField, 1, "")]),
        ];
        for (streams, expected) in cases {
            let found = check(&streams);
            let found: Vec<_> = found.iter().map(|(code, line, path)| (*code, *line, path.as_str())).collect();
            let mut expected = expected.to_vec();
            expected.sort_by_key(|(_, line, _)| *line);
            assert_eq!(found, expected, "{streams}");
        }
    }

    /// A stream that needs what is not run is refused by name, and so are its children; the others run. What the language does
    /// not have is ignored, and told. What is out of order refuses the manifest.
    #[test]
    fn streams_are_refused_one_by_one() {
        let good = format!("  - {{name: a, retriever: {{requester: {{url: x, qps: 3}}, {SELECTOR}}}}}\n");
        let bad = "  - {name: b, retriever: {class_name: a.B}, transformations: [{type: FlyAway}]}\n";
        let head = HEAD.replace("[a]", "[b]");
        let manifest = with_stack(|| {
            let manifest = read(&format!("{head}{good}{bad}")).unwrap();
            let refused: Vec<_> = manifest.source.refused().cloned().collect();
            let checked: Vec<_> = manifest.source.checked().iter().map(|stream| stream.name.clone()).collect();
            (refused, checked, manifest.warnings)
        });
        let (refused, checked, warnings) = manifest;
        assert_eq!((refused.len(), refused[0].name.as_str(), checked), (1, "b", vec!["a".to_owned()]));
        let codes: Vec<_> = refused[0].problems.iter().map(|problem| (problem.code, problem.line)).collect();
        assert_eq!(codes, [(Code::CustomCode, 6), (Code::UnknownComponent, 6)]);
        let told: Vec<_> = warnings.iter().map(|warning| (warning.code, warning.line, warning.path.as_str())).collect();
        assert_eq!(told, [(Code::IgnoredField, 5, "streams[0].retriever.requester.qps")]);
        assert_eq!(
            check(&format!("{good}{bad}  - {{name: c, retriever: 5}}\n")),
            [(Code::WrongKind, 7, "streams[2].retriever".to_owned())]
        );
    }

    /// What is no manifest at all is said to be none.
    #[test]
    fn other_documents_are_refused() {
        for (text, code) in
            [("a: [", Code::Unreadable), ("[]", Code::NotAManifest), ("type: Spec", Code::NotAManifest), ("", Code::NotAManifest)]
        {
            let problems = with_stack(|| read(text).err().unwrap());
            assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [code], "{text}");
        }
    }

    /// The manifest of the benchmark loads as it is, with all its streams.
    #[test]
    fn the_benchmark_manifest_loads() {
        let Some(shared) = shared() else { return println!("skipped: the shared folder is not there; set HEADGATE_SHARED") };
        let text = std::fs::read_to_string(shared.join("bench/peers/airbyte_manifest.yaml")).unwrap();
        let names =
            with_stack(|| read(&text).map(|manifest| manifest.source.declared().map(|stream| stream.name.clone()).collect::<Vec<_>>()));
        assert_eq!(names.unwrap(), ["orders", "orders_cursor", "orders_incremental"]);
    }

    /// Published manifests either load or are refused for something by name and line. A sample of them, for the time it takes.
    #[test]
    fn published_manifests_load_or_say_why_not() {
        let Some(shared) = shared() else { return println!("skipped: the shared folder is not there; set HEADGATE_SHARED") };
        let (mut loaded, mut all) = (0, 0);
        let mut folders: Vec<_> =
            std::fs::read_dir(shared.join("conformance/cases")).unwrap().map(|folder| folder.unwrap().path()).collect();
        folders.sort();
        for folder in folders.iter().step_by(8) {
            let text = std::fs::read_to_string(folder.join("manifest.yaml")).unwrap();
            all += 1;
            match with_stack(|| read(&text).map(|_| ())) {
                Ok(()) => loaded += 1,
                Err(problems) => {
                    assert!(problems.iter().all(|problem| problem.line > 0 && !problem.message.is_empty()), "{folder:?}: {problems:?}");
                    println!("{}: {}", folder.file_name().unwrap().to_string_lossy(), problems[0]);
                }
            }
        }
        println!("{loaded} of {all} load");
        assert!(loaded * 2 >= all, "fewer than half of the manifests load: {loaded} of {all}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A manifest with lines lost, doubled or changed is read or refused with lines, and never makes the loader panic.
        #[test]
        fn damaged_manifests_are_read_or_refused(seed in any::<proptest::sample::Selector>(), with in "(|[ ]{0,8}[a-z_$*&!|>'\"{}\\[\\]:#, -]{0,12})", twice: bool) {
            let lines: Vec<&str> = include_str!("../../../connectors/shipstation/manifest.yaml").lines().collect();
            let damaged = seed.select(0..lines.len());
            let text: String = lines.iter().enumerate().map(|(index, line)| match index == damaged {
                true if twice => format!("{line}\n{line}\n"),
                true => format!("{with}\n"),
                false => format!("{line}\n"),
            }).collect();
            let problems = with_stack(|| read(&text).err().unwrap_or_default());
            prop_assert!(problems.iter().all(|problem| problem.line > 0), "{problems:?}");
        }
    }
}
