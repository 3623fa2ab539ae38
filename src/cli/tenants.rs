//! `headgate tenants`: for whom there are connections.

use clap::Subcommand;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List the tenants: those that are active, and those whose data was erased.
    List(Paging),
    /// Show one tenant.
    Show {
        /// Its name.
        tenant: String,
    },
}

const COLUMNS: &[(&str, &str)] =
    &[("TENANT", "/tenant"), ("STATE", "/state"), ("CONNECTIONS", "/connections"), ("CREATED", "/created_at"), ("ERASURE", "/erasure")];

impl Tenants {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Tenants::List(paging) => paging.show(session, Request::get(["admin", "tenants"]), COLUMNS, "no tenants").await,
            Tenants::Show { tenant } => {
                let tenant = session.client.json(&Request::get(["admin", "tenants", &tenant])).await?;
                session.output.result(&tenant, output::details)
            }
        }
    }
}
