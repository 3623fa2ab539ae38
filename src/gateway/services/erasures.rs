//! Erasures: asked for, approved, shown.

use futures_util::FutureExt;
use serde_json::Value;
use serde_json::json;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::services::Scope;
use crate::api::wire;
use crate::api::wire::erasure::Counts;
use crate::api::wire::erasure::Erasure;
use crate::api::wire::erasure::Order;
use crate::connection::Connections;
use crate::digest::Digest;
use crate::erasure;
use crate::erasure::ErasureRow;
use crate::erasure::ErasureState;
use crate::erasure::Plan;
use crate::erasure::PlanRow;
use crate::gateway::services::impact::Impact;
use crate::gateway::services::problems::place;
use crate::gateway::services::visible;
use crate::ids::ErasureId;
use crate::ids::RecordId;
use crate::ids::TenantId;
use crate::revocation;
use crate::revocation::Revocations;

/// [`services::Erasures`] over the acts.
pub struct Erasures {
    erasures: erasure::Erasures,
    revocations: Revocations,
    connections: Connections,
    impact: Impact,
}

impl Erasures {
    /// Over the erasures and revocations of a gateway.
    pub fn new(erasures: erasure::Erasures, revocations: Revocations, connections: Connections, impact: Impact) -> Self {
        Erasures { erasures, revocations, connections, impact }
    }

    /// What the scope covers. What the caller may not see comes first, so that a scope which this version does not erase tells
    /// nothing of it.
    fn plan(&self, by: &Principal, scope: &Value) -> Result<Plan, Problem> {
        let text = |member: &str| scope.get(member).and_then(Value::as_str);
        if let Some(text) = text("connection") {
            let id = text.parse().map_err(|_| Problem::not_found("connection", text))?;
            let connection = visible::connection(&self.connections, by.scope(), id)?;
            return if scope.get("stream").is_none() { Ok(self.erasures.plan(connection.id)?) } else { Err(narrower()) };
        }
        if let Some(text) = text("record") {
            let id: RecordId = text.parse().map_err(|_| Problem::not_found("record", text))?;
            visible::of_record(&self.connections, by.scope(), id)?;
        }
        if let Some(text) = text("tenant") {
            let tenant: TenantId = text.parse().map_err(|_| Problem::not_found("tenant", text))?;
            by.must_see(&tenant)?;
            if scope.get("subject").is_none() {
                return Ok(self.erasures.plan_tenant(&tenant)?);
            }
        }
        Err(narrower())
    }

    fn shown(&self, row: ErasureRow) -> Result<Erasure, Problem> {
        let plan = self.erasures.planned(&row)?;
        Ok(shown(row, plan))
    }

    fn row(&self, scope: Scope<'_>, id: ErasureId) -> Result<ErasureRow, Problem> {
        let row = self.erasures.find(id)?;
        let within = scope.is_none_or(|tenant| *tenant == row.tenant);
        if within { Ok(row) } else { Err(Problem::not_found("erasure", &id.to_string())) }
    }
}

impl services::Erasures for Erasures {
    /// A dry run tells what there is to erase whether or not the connection is revoked yet.
    fn request<'a>(&'a self, by: &'a Principal, order: Order, dry_run: bool) -> Reply<'a, Erasure> {
        async move {
            let plan = self.plan(by, &order.scope)?;
            if dry_run {
                let (of, scope) = (self.impact.clone(), plan.scope);
                let impact = visible::blocking(move || of.of(&scope, true)).await?;
                return Ok(planned(&plan, order.reason, impact));
            }
            if order.revoke && plan.unrevoked.is_some() {
                let scope = match plan.scope {
                    erasure::Scope::Connection { connection, .. } => revocation::Scope::Connection(connection),
                    erasure::Scope::Tenant { .. } => revocation::Scope::Tenant(plan.tenant.clone()),
                };
                self.revocations.revoke(&scope, order.reason.clone(), &by.actor()).await?;
            }
            self.shown(self.erasures.request(plan, order.reason, by.actor()).await?)
        }
        .boxed()
    }

    fn approve<'a>(&'a self, by: &'a Principal, id: ErasureId) -> Reply<'a, Erasure> {
        async move {
            self.row(by.scope(), id)?;
            self.shown(self.erasures.approve(id, by.actor()).await?)
        }
        .boxed()
    }

    /// Newest first.
    fn list<'a>(&'a self, scope: Scope<'a>, page: PageOrder) -> Reply<'a, List<Erasure>> {
        async move {
            let before = place(page.after.as_deref())?.map(ErasureId::from_bytes);
            let step = |before: Option<[u8; 16]>, limit| Ok(self.erasures.list(before.map(ErasureId::from_bytes), limit)?);
            let within = |row: &ErasureRow| scope.is_none_or(|tenant| *tenant == row.tenant);
            let keep = |row: ErasureRow| within(&row).then(|| self.shown(row)).transpose();
            visible::page(page.limit, before.map(ErasureId::to_bytes), step, |row| row.id.to_bytes(), keep)
        }
        .boxed()
    }

    fn get<'a>(&'a self, scope: Scope<'a>, id: ErasureId) -> Reply<'a, Erasure> {
        async move { self.shown(self.row(scope, id)?) }.boxed()
    }

    fn certificate<'a>(&'a self, scope: Scope<'a>, id: ErasureId) -> Reply<'a, Vec<u8>> {
        async move {
            let row = self.row(scope, id)?;
            let unfinished = || Problem::StateConflict {
                reason: format!("erasure {id} is {}; its certificate is made when it is complete", row.state.name()),
            };
            row.certificate.clone().map(String::into_bytes).ok_or_else(unfinished)
        }
        .boxed()
    }
}

fn narrower() -> Problem {
    Problem::member("/scope", "unsupported", "this version of Headgate erases whole connections and tenants: name one of them alone")
}

fn planned(plan: &Plan, reason: Option<String>, impact: wire::impact::Impact) -> Erasure {
    Erasure {
        id: None,
        state: "planned".into(),
        scope: scope_shown(&plan.scope, &plan.tenant),
        reason,
        counts: Counts { records: plan.counts.records, versions: plan.counts.versions },
        impact: Some(impact),
        plan: None,
        kept: what_stays(&plan.scope),
        certificate: None,
        requested_at: None,
        completed_at: None,
    }
}

fn shown_plan(plan: PlanRow) -> wire::erasure::Plan {
    let PlanRow { records, artifacts, survivors, root } = plan;
    wire::erasure::Plan { records, dies: artifacts, survives: survivors, digest: Digest::from_bytes(root).to_string() }
}

fn shown(row: ErasureRow, plan: Option<PlanRow>) -> Erasure {
    let is_complete = row.state == ErasureState::Complete;
    Erasure {
        id: Some(row.id),
        state: row.state.name().into(),
        scope: scope_shown(&row.scope, &row.tenant),
        reason: row.reason,
        counts: Counts { records: row.counts.records, versions: row.counts.versions },
        impact: None,
        plan: plan.map(shown_plan),
        kept: what_stays(&row.scope),
        certificate: is_complete.then(|| format!("/v1/erasures/{}/certificate", row.id)),
        requested_at: Some(row.requested_at),
        completed_at: row.completed_at,
    }
}

fn scope_shown(scope: &erasure::Scope, tenant: &TenantId) -> Value {
    serde_json::to_value(scope.named(tenant)).unwrap_or_default()
}

fn what_stays(scope: &erasure::Scope) -> Vec<Value> {
    scope.kept().into_iter().map(|(what, reason)| json!({ "what": what, "reason": reason })).collect()
}
