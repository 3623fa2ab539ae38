//! What the answers about an asynchronous job say: its status, where its results are, and what expressions see of them.
//!
//! Source: the job repository of airbyte-cdk (read there).

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Map;
use serde_json::Value;

use crate::connector::component::job::AsyncRetriever;
use crate::connector::expression::Scope;
use crate::connector::expression::python_text;
use crate::connector::reading::Answer;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;
use crate::connector::reading::decode::Decoding;
use crate::connector::reading::extraction::Extraction;

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// It is at work.
    Running,
    /// Its results can be read.
    Completed,
    /// It failed.
    Failed,
    /// It took too long.
    TimedOut,
    /// There is nothing to read.
    Skipped,
}

/// How the answers about the jobs of one stream are read.
#[derive(Debug)]
pub struct JobPlan {
    decoding: Decoding,
    status: Extraction,
    targets: Option<Extraction>,
    statuses: HashMap<String, JobStatus>,
}

impl JobPlan {
    /// How `retriever` reads them. `scope` has `config`.
    ///
    /// # Errors
    /// When a path cannot be evaluated, or one status means two things.
    pub fn new(retriever: &AsyncRetriever, scope: &Scope, compat: Compat) -> Result<Self, ReadingError> {
        let map = &retriever.status_mapping;
        let meanings = [
            (&map.running, JobStatus::Running),
            (&map.completed, JobStatus::Completed),
            (&map.failed, JobStatus::Failed),
            (&map.timeout, JobStatus::TimedOut),
            (&map.skipped, JobStatus::Skipped),
        ];
        let mut statuses = HashMap::new();
        for (words, status) in meanings {
            for word in words {
                if statuses.insert(word.clone(), status).is_some_and(|known| known != status) {
                    return Err(ReadingError::Value {
                        field: "status_mapping",
                        found: word.clone(),
                        needs: "one meaning for every status",
                    });
                }
            }
        }
        Ok(JobPlan {
            decoding: Decoding::new(retriever.decoder.as_ref(), compat),
            status: Extraction::new(&retriever.status_extractor, scope)?,
            targets: retriever.download_target_extractor.as_ref().map(|targets| Extraction::new(targets, scope)).transpose()?,
            statuses,
        })
    }

    /// What an answer says of the job.
    ///
    /// # Errors
    /// When it says nothing, or what has no meaning.
    pub fn status(&self, body: &Bytes) -> Result<JobStatus, ReadingError> {
        let word = self.found(&self.status, body)?.first().map_or_else(|| "None".to_owned(), python_text);
        let unknown = || ReadingError::JobStatus { status: crate::ids::cut(&word) };
        self.statuses.get(&word).copied().ok_or_else(unknown)
    }

    /// Where the results are; one empty text when the manifest has no place for them.
    ///
    /// # Errors
    /// When the answer cannot be read.
    pub fn targets(&self, body: &Bytes) -> Result<Vec<Value>, ReadingError> {
        match &self.targets {
            None => Ok(vec![Value::String(String::new())]),
            Some(targets) => self.found(targets, body),
        }
    }

    fn found(&self, extraction: &Extraction, body: &Bytes) -> Result<Vec<Value>, ReadingError> {
        let body = self.decoding.decode(body).map_err(|source| ReadingError::Body { source })?;
        let found = extraction.find(&body, &[])?;
        Ok(found.list.iter().filter_map(|item| serde_json::from_slice(&body[item.place.range.clone()]).ok()).collect())
    }
}

/// An answer as the expressions of later requests see it: the members of its body, and its `headers` and `request` beside them.
pub fn answer_members(answer: &Answer, method: &str) -> Value {
    let mut members = match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    if !members.contains_key("headers") {
        members.insert("headers".to_owned(), Value::Object(answer.headers.members()));
    }
    if !members.contains_key("request") {
        members.insert("request".to_owned(), serde_json::json!({ "method": method, "url": answer.url }));
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::source::Retriever;
    use crate::connector::reading::support::answer;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn plan(more: &str) -> Result<JobPlan, ReadingError> {
        let yaml = format!(
            "{{type: AsyncRetriever, record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: []}}}},
            status_mapping: {{running: [queued, '1'], completed: [done], failed: [failed, None], timeout: [late], skipped: [nothing]}},
            status_extractor: {{type: DpathExtractor, field_path: [job, status]}},
            creation_requester: {{type: HttpRequester, url: 'https://a.example'}}, polling_requester: {{type: HttpRequester, url: 'https://a.example'}},
            download_requester: {{type: HttpRequester, url: \"{{{{ download_target }}}}\"}} {more}}}"
        );
        let Retriever::AsyncRetriever(retriever) = component(&yaml, "DeclarativeStream", "retriever") else { panic!() };
        JobPlan::new(&retriever, &scope(&json!({})), Compat::Strict)
    }

    /// Statuses are compared as Python writes them; one without a meaning is an error.
    #[test]
    fn job_statuses_have_meanings() {
        let plan = plan("").unwrap();
        let status = |body: &'static str| plan.status(&Bytes::from_static(body.as_bytes()));
        for (body, expected) in [
            (r#"{"job": {"status": "queued"}}"#, JobStatus::Running),
            (r#"{"job": {"status": 1}}"#, JobStatus::Running),
            (r#"{"job": {"status": ["done", "late"]}}"#, JobStatus::Completed),
            (r#"{"job": {"status": "nothing"}}"#, JobStatus::Skipped),
            (r#"{"job": {}}"#, JobStatus::Failed),
        ] {
            assert_eq!(status(body).unwrap(), expected, "{body}");
        }
        assert!(matches!(status(r#"{"job": {"status": "gone"}}"#), Err(ReadingError::JobStatus { .. })));
    }

    /// Results are named by the extractor, or there is one without a name.
    #[test]
    fn results_are_named() {
        let body = Bytes::from_static(br#"{"files": [{"url": "a"}, {"url": "b"}]}"#);
        assert_eq!(plan("").unwrap().targets(&body).unwrap(), [json!("")]);
        let named = plan(", download_target_extractor: {type: DpathExtractor, field_path: [files, '*', url]}").unwrap();
        assert_eq!(named.targets(&body).unwrap(), [json!("a"), json!("b")]);
        let members = answer_members(&answer(200, &[("x-location", "there")], r#"{"id": 7}"#), "POST");
        assert_eq!(
            (&members["id"], &members["headers"]["X-Location"], &members["request"]["method"]),
            (&json!(7), &json!("there"), &json!("POST"))
        );
    }
}
