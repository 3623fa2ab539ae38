//! Consents and their receipts.

use futures_util::FutureExt;
use std::sync::Arc;

use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::services::Scope;
use crate::audit::ConsentReceipt;
use crate::audit::Predicate;
use crate::audit::Statement;
use crate::audit::Subject;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::consent::Consent;
use crate::digest::Digest;
use crate::gateway::services::visible::sees;
use crate::ids::ConsentId;
use crate::vault::SigningUse;
use crate::vault::Vault;

/// [`services::Consents`] over the registry.
pub struct Consents {
    connections: Connections,
    vault: Arc<Vault>,
    test: bool,
}

impl Consents {
    /// Over a registry; `test` marks what a directory for tests signs.
    pub fn new(connections: Connections, vault: Arc<Vault>, test: bool) -> Self {
        Consents { connections, vault, test }
    }

    fn stated(&self, connection: &Connection, consent: &Consent) -> ConsentReceipt {
        ConsentReceipt {
            connection: connection.id,
            tenant: connection.tenant.clone(),
            connector: connection.connector.name.clone(),
            person: consent.person.clone(),
            organisation: consent.organisation.clone(),
            policy_version: consent.policy_version.clone(),
            policy_digest: consent.policy_digest,
            purposes: consent.purposes.iter().map(|purpose| purpose.as_str().to_owned()).collect(),
            streams: consent.streams.clone(),
            acknowledged: consent.acknowledged.iter().map(|statement| statement.as_str().to_owned()).collect(),
            agreed_at: consent.at,
            test: self.test,
        }
    }
}

impl services::Consents for Consents {
    /// The receipt is made anew each time, and is each time the same: a consent never changes. Its root is the digest of
    /// what it states, not a commitment under the connection's key: it has to be had after an erasure too, and hides nothing.
    fn receipt<'a>(&'a self, scope: Scope<'a>, id: ConsentId) -> Reply<'a, Vec<u8>> {
        async move {
            let found = self.connections.consent(id)?.filter(|(connection, _)| sees(scope, connection));
            let (connection, consent) = found.ok_or_else(|| Problem::not_found("consent", &id.to_string()))?;
            let receipt = self.stated(&connection, &consent);
            let root = Digest::of(&serde_json::to_vec(&receipt).map_err(Problem::internal)?);
            let statement = Statement { subject: Subject { name: id.to_string(), sha256: root }, predicate: Predicate::Consent(receipt) };
            Ok(statement.sign(&self.vault.signing_key(SigningUse::Statement)?).into_bytes())
        }
        .boxed()
    }
}
