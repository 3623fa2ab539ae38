//! An impact in plain words: what a dry run says.

use serde_json::Value;

use crate::cli::output;

/// What an erasure would take, and what would stay, a sentence a line.
pub fn of_erasure(impact: &Value) -> String {
    let count = |member: &str, one: &str, many: &str| counted(&impact[member], one, many);
    let derived = |member: &str| counted(&impact["derived"][member], "artifact", "artifacts");
    let streams = impact["streams"].as_array().map_or(0, Vec::len);
    let mut lines = vec![
        format!(
            "{} ({}) in {streams} {} would become unreadable for good",
            count("records", "record", "records"),
            count("versions", "version", "versions"),
            if streams == 1 { "stream" } else { "streams" }
        ),
        format!("{} made from them would go too: nothing of what they need would be left", derived("dies")),
        format!("{} would lose an input and stay", derived("survives")),
    ];
    for (member, one, many) in
        [("recipients", "recipient was", "recipients were"), ("downstream", "dataset or job is", "datasets and jobs are")]
    {
        let entries = impact[member].as_array().map_or(0, Vec::len);
        if entries > 0 {
            lines.push(format!("{entries} {} given or fed with them; `--json` names them", if entries == 1 { one } else { many }));
        }
    }
    if let Some(digest) = impact["digest"].as_str() {
        lines.push(format!("the certificate would sign {digest}"));
    }
    lines.join("\n")
}

fn counted(count: &Value, one: &str, many: &str) -> String {
    format!("{} {}", output::shown(count), if *count == 1 { one } else { many })
}
