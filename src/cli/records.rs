//! `headgate records`: the records of one stream, as a table, as lines of JSON, or as a spreadsheet reads them.

mod csv;

use clap::Args;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::pages::Pages;
use crate::cli::transport::Request;
use crate::consent::Purpose;
use csv::Csv;

/// Rows of a table for a person when no limit is given.
const TABLE_ROWS: u64 = 50;

#[derive(Debug, Args)]
pub struct Records {
    /// The connection's id.
    #[arg(value_name = "CONNECTION")]
    connection: String,
    /// The stream's name.
    #[arg(long, value_name = "STREAM")]
    stream: String,
    /// The most records to print; without it a table ends after 50, the other formats after the last record.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// How to print them; without it a table, or with --json one object `{items,next}`.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// What the records are read for: one of the connection's purposes, the first without it. The audit log keeps it.
    #[arg(long, value_name = "PURPOSE", value_parser = purpose())]
    purpose: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One row a record, long values cut.
    Table,
    /// One JSON object a line, complete with its tag.
    Ndjson,
    /// Comma-separated values (RFC 4180), one column a field.
    Csv,
}

/// The purposes that data may be used for.
pub fn purpose() -> PossibleValuesParser {
    PossibleValuesParser::new(Purpose::ALL.map(Purpose::as_str))
}

const COLUMNS: &[(&str, &str)] = &[
    ("RECORD", "/id"),
    ("VERSION", "/version"),
    ("KIND", "/kind"),
    ("KEY", "/tag/primary_key"),
    ("RECEIVED", "/tag/page/received_at"),
    ("DATA", "/data"),
];

impl Records {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let is_json = session.output.is_json();
        let format = match (self.format, is_json) {
            (Some(Format::Table | Format::Csv), true) => {
                return Err(Failure::usage("--json prints JSON: leave out --format, or use --format ndjson"));
            }
            (Some(format), _) => Some(format),
            (None, true) => None,
            (None, false) => Some(Format::Table),
        };
        let purpose = match &self.purpose {
            Some(purpose) => purpose.clone(),
            None => first_purpose(session, &self.connection).await?,
        };
        let request =
            Request::get(["v1", "records"]).query("connection", &self.connection).query("stream", &self.stream).purpose(&purpose)?;
        let limit = self.limit.or((format == Some(Format::Table)).then_some(TABLE_ROWS));
        let pages = Pages::new(request, limit, None);
        match format {
            None => print_list(session, pages).await,
            Some(Format::Table) => print_table(session, pages).await,
            Some(Format::Ndjson) => print_lines(session, pages).await,
            Some(Format::Csv) => print_csv(session, pages).await,
        }
    }
}

async fn first_purpose(session: &Session<'_>, connection: &str) -> Result<String, Failure> {
    let found = session.client.json(&Request::get(["v1", "connections", connection])).await?;
    found["purposes"][0]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("{connection} names no purpose; give one with --purpose")))
}

/// One object `{items,next}` on one line, written as it arrives: it may be long.
async fn print_list(session: &mut Session<'_>, mut pages: Pages) -> Result<(), Failure> {
    session.output.raw(b"{\"items\":[")?;
    let mut separator = "";
    while let Some(items) = pages.next(&session.client).await? {
        for item in items {
            session.output.raw(format!("{separator}{item}").as_bytes())?;
            separator = ",";
        }
    }
    let next = pages.after().map_or(Value::Null, Value::from);
    session.output.line(&format!("],\"next\":{next}}}"))
}

async fn print_table(session: &mut Session<'_>, mut pages: Pages) -> Result<(), Failure> {
    let mut rows = Vec::new();
    while let Some(items) = pages.next(&session.client).await? {
        rows.extend(items);
    }
    if rows.is_empty() {
        return session.output.line("no records");
    }
    session.output.line(&output::table(COLUMNS, &rows))?;
    if pages.after().is_some() {
        session.output.say(&format!("{} records shown, there are more: --limit N, or --format ndjson for all", rows.len()));
    }
    Ok(())
}

async fn print_lines(session: &mut Session<'_>, mut pages: Pages) -> Result<(), Failure> {
    while let Some(items) = pages.next(&session.client).await? {
        for item in items {
            session.output.raw(format!("{item}\n").as_bytes())?;
        }
        session.output.flush()?;
    }
    Ok(())
}

async fn print_csv(session: &mut Session<'_>, mut pages: Pages) -> Result<(), Failure> {
    let mut columns: Option<Csv> = None;
    while let Some(items) = pages.next(&session.client).await? {
        if items.is_empty() {
            continue;
        }
        let csv = match &mut columns {
            Some(csv) => csv,
            None => {
                let csv = columns.insert(Csv::with_columns_of(&items));
                session.output.raw(csv.heading().as_bytes())?;
                csv
            }
        };
        for item in &items {
            session.output.raw(csv.row(item).as_bytes())?;
        }
        session.output.flush()?;
    }
    Ok(())
}
