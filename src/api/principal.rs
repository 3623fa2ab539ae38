//! Who asks: role, tenant and purposes, as an API key or the local socket proves them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::Serialize;

use crate::api::problem::Problem;
use crate::audit::Actor;
use crate::consent::Purpose;
use crate::ids::KeyId;
use crate::ids::SessionId;
use crate::ids::TenantId;

/// What a key may do. The rows of `api::ROUTES` say which role reaches which route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, opens connect sessions, runs pulls and asks lineage, for one tenant.
    Service,
    /// A service that also connects, revokes and asks for erasure, for one tenant.
    Customer,
    /// Does everything, for every tenant; alone approves and audits.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Role] = &[Role::Service, Role::Customer, Role::Operator];

    /// The role's word.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Service => "service",
            Role::Customer => "customer",
            Role::Operator => "operator",
        }
    }
}

/// The purposes that a principal may state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purposes {
    /// Any: the local operator, who is trusted to state the true one.
    Any,
    /// These alone.
    Listed(BTreeSet<Purpose>),
}

impl Purposes {
    /// Whether `purpose` may be stated.
    pub fn allow(&self, purpose: Purpose) -> bool {
        match self {
            Purposes::Any => true,
            Purposes::Listed(listed) => listed.contains(&purpose),
        }
    }
}

impl fmt::Display for Purposes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = match self {
            Purposes::Any => Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect(),
            Purposes::Listed(listed) if listed.is_empty() => vec!["none"],
            Purposes::Listed(listed) => listed.iter().map(|purpose| purpose.as_str()).collect(),
        };
        f.write_str(&words.join(", "))
    }
}

/// Who asks. A handler takes it as an argument; a route that is public has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What it may do.
    pub role: Role,
    /// The one tenant it speaks for; none for an operator, who speaks for all.
    pub tenant: Option<TenantId>,
    /// The purposes it may state.
    pub purposes: Purposes,
    /// What proved it.
    pub proof: Proof,
}

/// What proves who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// An API key.
    Key(KeyId),
    /// The local socket, or this very process.
    Local,
    /// A customer's link, opened in this browser.
    Session(SessionId),
}

impl Principal {
    /// The operator at the machine: whoever may open the socket or the data directory.
    pub fn local() -> Self {
        Principal { role: Role::Operator, tenant: None, purposes: Purposes::Any, proof: Proof::Local }
    }

    /// The customer who opened a connect session: speaks for its tenant, and reads nothing.
    pub fn session(id: SessionId, tenant: TenantId) -> Self {
        Principal { role: Role::Customer, tenant: Some(tenant), purposes: Purposes::Listed(BTreeSet::new()), proof: Proof::Session(id) }
    }

    /// Whether it came over the local socket or from within the process.
    pub fn is_local(&self) -> bool {
        self.proof == Proof::Local
    }

    /// Whether it may see what belongs to `tenant`.
    pub fn sees(&self, tenant: &TenantId) -> bool {
        self.role == Role::Operator || self.tenant.as_ref() == Some(tenant)
    }

    /// The one tenant that its questions are limited to; `None` for every tenant.
    pub fn scope(&self) -> Option<&TenantId> {
        match self.role {
            Role::Operator => None,
            Role::Service | Role::Customer => self.tenant.as_ref(),
        }
    }

    /// Refuses, as not found, a tenant that it may not see.
    ///
    /// # Errors
    /// [`Problem::NotFound`], the same whether such a tenant exists or not.
    pub fn must_see(&self, tenant: &TenantId) -> Result<(), Problem> {
        if self.sees(tenant) { Ok(()) } else { Err(Problem::not_found("tenant", tenant.as_str())) }
    }

    /// The one tenant that a question is about: the one it names, else the caller's own.
    ///
    /// # Errors
    /// [`Problem::BadParameter`] for an operator that names none, and that of [`Principal::must_see`].
    pub fn tenant_asked_for(&self, named: Option<TenantId>) -> Result<TenantId, Problem> {
        let needed = || Problem::BadParameter { name: "tenant".into(), reason: "an operator names the tenant that is meant".into() };
        let tenant = named.or_else(|| self.scope().cloned()).ok_or_else(needed)?;
        self.must_see(&tenant)?;
        Ok(tenant)
    }

    /// How the audit log names it.
    pub fn actor(&self) -> Actor {
        match self.proof {
            Proof::Key(key) => Actor::Key(key),
            Proof::Local => Actor::Local,
            Proof::Session(session) => Actor::Link(session),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Arc<Principal>>().map(|principal| (**principal).clone()).ok_or(Problem::Unauthenticated)
    }
}

/// The purpose that the request states, checked against the principal's. None is possible for the local operator alone,
/// whose reads then count under the connection's first purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatedPurpose(pub Option<Purpose>);

impl<S: Sync> FromRequestParts<S> for StatedPurpose {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::internal("a handler asks for a purpose that its row does not declare");
        parts.extensions.get::<StatedPurpose>().copied().ok_or_else(missing)
    }
}
