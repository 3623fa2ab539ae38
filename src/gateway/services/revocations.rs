//! Revocations: stopping, and telling what it would stop.

use futures_util::FutureExt;
use serde_json::Value;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::wire::revocation::Revoked;
use crate::api::wire::revocation::RevokedConnection;
use crate::api::wire::revocation::Scope;
use crate::audit::CredentialFate;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::Connectors;
use crate::connection::State;
use crate::gateway::services::impact::Impact;
use crate::gateway::services::visible;
use crate::revocation;
use crate::revocation::Stopped;

/// [`services::Revocations`] over the acts.
pub struct Revocations {
    revocations: revocation::Revocations,
    connections: Connections,
    connectors: Connectors,
    impact: Impact,
}

impl Revocations {
    /// Over the revocations of a gateway.
    pub fn new(revocations: revocation::Revocations, connections: Connections, connectors: Connectors, impact: Impact) -> Self {
        Revocations { revocations, connections, connectors, impact }
    }

    /// The scope as the act takes it, when it names something that the caller may stop: a name that was mistyped must not
    /// be answered as if all of it had been stopped.
    fn scope(&self, by: &Principal, scope: Scope) -> Result<revocation::Scope, Problem> {
        match scope {
            Scope::Connection(id) => {
                visible::connection(&self.connections, by.scope(), id)?;
                Ok(revocation::Scope::Connection(id))
            }
            Scope::Tenant(tenant) => match self.connections.tenant(&tenant)? {
                Some(_) if by.sees(&tenant) => Ok(revocation::Scope::Tenant(tenant)),
                _ => Err(Problem::not_found("tenant", tenant.as_str())),
            },
            Scope::Connector(name) => {
                let scope = revocation::Scope::Connector(name.clone());
                // One that was connected by its path is on no list.
                if self.connectors.find(&name).is_err() && self.revocations.plan(&scope)?.is_empty() {
                    return Err(Problem::not_found("connector", &name));
                }
                Ok(scope)
            }
        }
    }

    fn planned(&self, connection: &Connection) -> Result<RevokedConnection, Problem> {
        let credential = match connection.state {
            State::Revoked(_) | State::Erased(_) => fate(self.revocations.fate(connection.key)?),
            _ => "held",
        };
        let state = connection.state.to_string();
        let impact = self.impact.of_revocation(connection)?;
        Ok(RevokedConnection { connection: connection.id, state, credential: credential.into(), receipt: None, impact: Some(impact) })
    }
}

impl services::Revocations for Revocations {
    fn revoke<'a>(&'a self, by: &'a Principal, scope: Scope, reason: Option<String>, dry_run: bool) -> Reply<'a, Revoked> {
        async move {
            let scope = self.scope(by, scope)?;
            if dry_run {
                let planned = self.revocations.plan(&scope)?;
                return Ok(Revoked { revoked: planned.iter().map(|connection| self.planned(connection)).collect::<Result<_, _>>()? });
            }
            let stopped = self.revocations.revoke(&scope, reason, &by.actor()).await?;
            Ok(Revoked { revoked: stopped.into_iter().map(shown).collect::<Result<_, _>>()? })
        }
        .boxed()
    }
}

fn shown(stopped: Stopped) -> Result<RevokedConnection, Problem> {
    let Stopped { connection, credential, receipt } = stopped;
    let receipt: Option<Value> = receipt.map(|file| serde_json::from_str(&file)).transpose().map_err(Problem::internal)?;
    Ok(RevokedConnection {
        connection: connection.id,
        state: connection.state.to_string(),
        credential: fate(credential).into(),
        receipt,
        impact: None,
    })
}

fn fate(credential: CredentialFate) -> &'static str {
    match credential {
        CredentialFate::None => "none",
        CredentialFate::Revoking => "revoking",
        CredentialFate::Destroyed | CredentialFate::Revoked => "destroyed",
    }
}
