//! `headgate explain`: what the fields of a record are made of, derived anew and compared.

use clap::Args;
use serde_json::Value;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::lineage::tree::Branch;
use crate::cli::output;
use crate::cli::transport::Request;

#[derive(Debug, Args)]
pub struct Explain {
    /// The record's id.
    #[arg(value_name = "RECORD")]
    record: String,
    /// One field of its operational view; without it, every field.
    #[arg(value_name = "FIELD")]
    field: Option<String>,
    /// This version of the record; without it, the newest.
    #[arg(long, value_name = "N")]
    of_version: Option<u32>,
    /// What the reading is for; without it, the first purpose that the customer agreed to.
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<String>,
}

impl Explain {
    /// Tells the derivation; what does not agree is told, and the exit code is 1.
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let request = Request::get(["v1", "records", &self.record, "explain"]);
        let request = request.query_maybe("field", self.field.as_deref()).query_maybe("version", self.of_version);
        let request = match &self.purpose {
            Some(purpose) => request.purpose(purpose)?,
            None => request,
        };
        let explanation = session.client.json(&request).await?;
        if session.output.is_json() {
            session.output.object(&explanation)?;
        } else {
            session.output.line(&told(&explanation).drawn())?;
        }
        if explanation["agrees"] == true {
            Ok(())
        } else {
            Err(Failure::outcome(format!("{} does not agree with what was written down", self.record)))
        }
    }
}

fn told(explanation: &Value) -> Branch {
    let at = |pointer: &str| output::shown(explanation.pointer(pointer).unwrap_or(&Value::Null));
    let agrees = |value: &Value| if value == true { "agrees" } else { "DOES NOT AGREE" };
    let content = format!("stored record: sha256 {}, {}", at("/content/digest"), agrees(&explanation["content"]["agrees"]));
    let response = format!(
        "response: {} {}, status {}, sha256 {}, pointer {}",
        at("/response/method"),
        at("/response/url"),
        at("/response/status"),
        at("/response/response_sha256"),
        at("/response/pointer"),
    );
    let connector = format!("connector: {}, definition sha256 {}", at("/connector/name"), at("/connector/digest"));
    let fields = explanation["fields"].as_array().into_iter().flatten().map(|field| {
        let heading = format!("{} = {}, {}", output::shown(&field["field"]), field["value"], agrees(&field["agrees"]));
        let masked = (field["masked"] == true).then(|| Branch::new("something in it was masked before it was stored"));
        let today =
            (!field["today"].is_null()).then(|| Branch::new(format!("the connector's newest definition makes it {}", field["today"])));
        Branch::new(heading).with_all(sources(field)).with_all(masked).with_all(today)
    });
    Branch::new(format!("record {} version {}", at("/record"), at("/version")))
        .with(Branch::new(content))
        .with(Branch::new(response))
        .with(Branch::new(connector))
        .with_all(fields)
}

fn sources(field: &Value) -> Vec<Branch> {
    let values = field["source_values"].as_array().into_iter().flatten().map(Some).chain(std::iter::repeat(None));
    let sources = field["sources"].as_array().into_iter().flatten().zip(values);
    let told = sources.map(|(source, value)| {
        let pointer = source["pointer"].as_str().filter(|pointer| !pointer.is_empty()).unwrap_or("the record as a whole");
        let value = value.filter(|_| !source["pointer"].as_str().unwrap_or_default().is_empty()).map(|value| format!(" = {value}"));
        let words = format!("{} {}", output::shown(&source["type"]), output::shown(&source["subtype"])).to_lowercase();
        Branch::new(format!("{words}: {}{}", output::plain(pointer), output::plain(&value.unwrap_or_default())))
    });
    told.collect()
}
