//! `headgate keys`: who may ask over HTTP, and how to check what is signed here.

use clap::Subcommand;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make an API key. It is shown once.
    Create {
        /// What its holder may do.
        #[arg(long, value_enum, value_name = "ROLE")]
        role: Role,
        /// The tenant that it is for; an operator key needs none.
        #[arg(long, value_name = "TENANT", required_if_eq_any = [("role", "customer"), ("role", "service")])]
        tenant: Option<String>,
        /// A purpose that its holder may read records for; may be given more than once.
        #[arg(long = "purpose", value_name = "PURPOSE", value_parser = super::records::purpose())]
        purposes: Vec<String>,
    },
    /// List the API keys, without the keys themselves.
    List(Paging),
    /// Refuse an API key from now on.
    Revoke {
        /// The key's id, as `keys list` has it.
        id: String,
    },
    /// Print the public keys that verify certificates, receipts and checkpoints; `certificate verify --key` takes such a file.
    Public,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Role {
    /// Connects, revokes, asks for erasure and exports for its tenant, and all that a service does.
    Customer,
    /// Reads records, starts runs and asks for lineage for its tenant.
    Service,
    /// Does everything for every tenant; it alone approves erasures and reads the audit log.
    Operator,
}

const COLUMNS: &[(&str, &str)] = &[
    ("KEY", "/id"),
    ("ROLE", "/role"),
    ("TENANT", "/tenant"),
    ("PURPOSES", "/purposes"),
    ("CREATED", "/created_at"),
    ("REVOKED", "/revoked_at"),
];

impl Keys {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Keys::Create { role, tenant, purposes } => {
                let role = match role {
                    Role::Customer => "customer",
                    Role::Service => "service",
                    Role::Operator => "operator",
                };
                let body = json!({"role": role, "tenant": tenant, "purposes": purposes});
                let key = session.client.json(&Request::post(["admin", "keys"], body)).await?;
                session.output.result(&key, told)
            }
            Keys::List(paging) => paging.show(session, Request::get(["admin", "keys"]), COLUMNS, "no API keys").await,
            Keys::Revoke { id } => {
                let answer = session.client.json(&Request::delete(["admin", "keys", &id])).await?;
                let revoked = if answer.is_null() { json!({"id": id, "revoked": true}) } else { answer };
                session.output.result(&revoked, |_| format!("{id} is refused from now on"))
            }
            Keys::Public => {
                let keys = session.client.json(&Request::get([".well-known", "headgate-keys"])).await?;
                session.output.object(&keys)
            }
        }
    }
}

fn told(key: &Value) -> String {
    format!("{}\n\nThe key is shown this once. Send it as `Authorization: Bearer …`.", output::details(key))
}
