//! The README tells the truth: its commands run, in their order, and say what it shows.
//!
//! A block marked `sh` is run, a block marked `text` right behind it is compared with what came out. `demo` has the first
//! terminal, until the next `demo` or the end; everything else is one shell, the second terminal. The built binary stands
//! for what the README builds, and the addresses that the demo prints stand for its usual ones.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;

/// How the README starts the demo.
const DEMO: &str = "cargo run --release -- ";

/// How the README names the binary afterwards.
const BINARY: &str = "./target/release/headgate";

/// The command that runs the tests, which `.ci/run` must call too.
const TESTS: &str = "cargo test";

/// How the README chooses the gateway's address; the test takes a free one.
const LISTEN: &str = " --listen 127.0.0.1:8080";

/// What the demo says when it has told its story and stays up.
const STAYS: &str = "Ctrl-C stops both";

/// Where the README has the gateway and the shop.
const USUAL: [&str; 2] = ["http://127.0.0.1:8080", "http://127.0.0.1:43823"];

/// The longest wait for the demo to tell its story, or to end.
const DEMO_WAIT: Duration = Duration::from_secs(120);

/// A command of the README, and the output that it shows.
struct Block {
    line: usize,
    code: String,
    shown: Option<String>,
}

/// Goal: whoever follows the README sees what it shows. Method: run it.
#[test]
fn every_command_of_the_readme_does_what_it_shows() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: the README's commands use curl, which is not there");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut demo: Option<Demo> = None;
    let mut second_terminal: Vec<Block> = Vec::new();
    let mut demos = 0;
    for block in blocks(&read("README.md")) {
        if let Some(arguments) = block.code.trim().strip_prefix(DEMO) {
            if let Some(running) = demo.take() {
                running.stop();
            }
            let started = Demo::start(folder.path(), arguments);
            if let Some(shown) = &block.shown {
                compare(shown, &started.told, block.line);
            }
            demos += 1;
            demo = Some(started);
        } else if block.code.trim() == TESTS {
            assert!(read(".ci/run").lines().any(|line| line.starts_with(TESTS)), ".ci/run does not call `{TESTS}`");
        } else {
            second_terminal.push(block);
        }
    }
    assert_eq!(demos, 2, "the README starts the demo, and starts it again for the first ten minutes");
    let demo = demo.unwrap();
    follow(folder.path(), &second_terminal, &demo);
    demo.stop();
}

/// A link to a file of ours leads to one.
#[test]
fn links_of_the_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#\s]+)").unwrap();
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()).filter(|target| !target.contains("://")) {
            let beside = root().join(&document).parent().unwrap().join(&target);
            if !beside.exists() {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n  {}\n", broken.join("\n  "));
}

/// A check that the pages on safety and on compatibility name is a test.
#[test]
fn checks_that_are_named_exist() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&fs::read_to_string(entry).unwrap());
            }
        }
    }
    let name = Regex::new("`([a-z]+(?:_[a-z]+)+)`").unwrap();
    for (page, least) in [("docs/SAFETY.md", 20), ("docs/compat.md", 5)] {
        let text = read(page);
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let checks = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
        let named: Vec<String> = checks.flat_map(|checks| name.captures_iter(checks).map(|found| found[1].to_owned())).collect();
        assert!(named.len() > least, "{page} names its checks");
        let missing: Vec<_> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{page} names tests that there are not: {missing:?}");
    }
}

/// Runs the blocks in one shell and compares what each one says.
fn follow(folder: &Path, blocks: &[Block], demo: &Demo) {
    let mut script = String::from("set -eu\n");
    for (index, block) in blocks.iter().enumerate() {
        let code = demo.readdressed(&block.code).replace(BINARY, env!("CARGO_BIN_EXE_headgate"));
        script.push_str(&format!("{{\n{code}\n}} > out.{index}\n"));
    }
    let ended = Command::new("sh").arg("-c").arg(script).current_dir(folder).output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    for (index, block) in blocks.iter().enumerate() {
        let told = fs::read_to_string(folder.join(format!("out.{index}")));
        let told = told.unwrap_or_else(|_| panic!("README.md:{}: not reached\n{complaint}", block.line));
        if let Some(shown) = &block.shown {
            compare(&demo.readdressed(shown), &told, block.line);
        }
    }
    assert!(ended.status.success(), "the commands of README.md ended with {}\n{complaint}", ended.status);
}

/// The first terminal.
struct Demo {
    child: Child,
    told: String,
    addresses: Vec<String>,
}

impl Demo {
    /// Starts the demo and waits until it has told its story and stays up.
    fn start(folder: &Path, arguments: &str) -> Self {
        let file = folder.join("first-terminal");
        let out = File::create(&file).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.args(arguments.replace(LISTEN, "").split_whitespace()).current_dir(folder).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap();
        let mut demo = Demo { child, told: String::new(), addresses: Vec::new() };
        let deadline = Instant::now() + DEMO_WAIT;
        while !demo.told.contains(STAYS) {
            assert!(Instant::now() < deadline && demo.child.try_wait().unwrap().is_none(), "the demo did not get through:\n{}", demo.told);
            std::thread::sleep(Duration::from_millis(50));
            demo.told = fs::read_to_string(&file).unwrap();
        }
        let address = Regex::new(r"http://127\.0\.0\.1:\d+").unwrap();
        demo.addresses = address.find_iter(&demo.told).take(2).map(|found| found.as_str().to_owned()).collect();
        for (usual, actual) in USUAL.iter().zip(&demo.addresses) {
            demo.told = demo.told.replace(actual, usual);
        }
        demo
    }

    /// A text of the README with the demo's real addresses.
    fn readdressed(&self, text: &str) -> String {
        let placed = USUAL.iter().enumerate().fold(text.to_owned(), |text, (index, usual)| text.replace(usual, &format!("@{index}@")));
        self.addresses.iter().enumerate().fold(placed, |text, (index, actual)| text.replace(&format!("@{index}@"), actual))
    }

    /// Ctrl-C, and a clean end.
    fn stop(mut self) {
        let interrupted = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.child.id())).status().unwrap();
        assert!(interrupted.success());
        let deadline = Instant::now() + DEMO_WAIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "the demo ended with {status} at Ctrl-C");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the demo did not end at Ctrl-C");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every line that is shown comes, in its order. `…` is anything, a line of it any lines; blanks in a row count as one.
fn compare(shown: &str, told: &str, line: usize) {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let told_lines: Vec<String> = told.lines().map(squeezed).collect();
    let mut rest = told_lines.iter();
    for wanted in shown.lines().map(squeezed).filter(|wanted| !wanted.is_empty() && wanted != "…") {
        let pattern = wanted.split('…').map(|part| regex::escape(part.trim())).collect::<Vec<_>>().join(".*");
        let pattern = Regex::new(&format!("^{pattern}$")).unwrap();
        assert!(rest.any(|said| pattern.is_match(said)), "README.md:{line}: no line `{wanted}` (or not in this order) in\n{told}");
    }
}

/// The `sh` blocks of a document, each with the `text` block that follows it.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((index, fence)) = lines.next() {
        let Some(language) = fence.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let text = text.join("\n");
        match language {
            "sh" => blocks.push(Block { line: index + 1, code: text, shown: None }),
            "text" => {
                // The picture of the demo stands behind the two first commands, and is the first one's.
                let owner = blocks.iter_mut().rev().find(|block| block.code.trim() != TESTS).expect("output follows a command");
                assert!(owner.shown.replace(text).is_none(), "README.md:{}: output of nothing", index + 1);
            }
            _ => panic!("README.md:{}: a block is marked sh or text, so that it is tested", index + 1),
        }
    }
    blocks
}

fn documents() -> Vec<String> {
    let mut documents = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for folder in ["docs", "docs/decisions", "docs/problems"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                documents.push(format!("{folder}/{name}"));
            }
        }
    }
    documents
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
