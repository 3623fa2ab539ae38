//! Tenants, as the API tells them.

use futures_util::FutureExt;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::wire::tenant::Tenant;
use crate::connection::Connections;
use crate::connection::TenantRow;
use crate::gateway::services::problems::place;
use crate::gateway::services::visible;
use crate::ids::TenantId;

/// [`services::Tenants`] over the registry.
pub struct Tenants {
    connections: Connections,
}

impl Tenants {
    /// Over a registry.
    pub fn new(connections: Connections) -> Self {
        Tenants { connections }
    }
}

impl services::Tenants for Tenants {
    fn list(&self, page: PageOrder) -> Reply<'_, List<Tenant>> {
        async move {
            let after: Option<TenantId> = place(page.after.as_deref())?;
            let mut rows = self.connections.tenants(after.as_ref(), page.limit + 1)?;
            let is_end = rows.len() <= page.limit;
            rows.truncate(page.limit);
            let end = rows.last().map(|(tenant, _)| tenant.clone()).filter(|_| !is_end);
            visible::list(rows.into_iter().map(shown).collect(), end)
        }
        .boxed()
    }

    fn get<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, Tenant> {
        async move {
            let row = self.connections.tenant_row(tenant)?.ok_or_else(|| Problem::not_found("tenant", tenant.as_str()))?;
            Ok(shown((tenant.clone(), row)))
        }
        .boxed()
    }

    fn must_be_open<'a>(&'a self, tenant: &'a TenantId) -> Reply<'a, ()> {
        async move { Ok(self.connections.open_tenant(tenant).map(drop)?) }.boxed()
    }
}

fn shown((tenant, row): (TenantId, TenantRow)) -> Tenant {
    let TenantRow { number: _, created_at, connections, state } = row;
    Tenant { tenant, state: state.name().into(), created_at, connections, erasure: state.erasure() }
}
