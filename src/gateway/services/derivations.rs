//! Derivations: what the company's own services made from what they were given.

use std::collections::HashSet;

use futures_util::FutureExt;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::services::Scope;
use crate::api::wire::derivation as wire;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Connections;
use crate::gateway::services::visible;
use crate::ids::ConnectionKey;
use crate::lineage;
use crate::lineage::DerivationError;
use crate::lineage::Facts;
use crate::lineage::Input;
use crate::lineage::Named;
use crate::lineage::Need;
use crate::lineage::NewDerivation;

/// [`services::Derivations`] over what is kept of them.
pub struct Derivations {
    derivations: lineage::Derivations,
    connections: Connections,
    clock: Clock,
}

impl Derivations {
    /// Over the derivations and the registry of a gateway.
    pub fn new(derivations: lineage::Derivations, connections: Connections, clock: Clock) -> Self {
        Derivations { derivations, connections, clock }
    }

    /// The order as it is written down, and the one tenant whose everything in it is. What the caller may not see is not there.
    fn read(&self, scope: Scope<'_>, told: &[wire::Derivation]) -> Result<(u32, Vec<NewDerivation>), Problem> {
        let own = scope.map(|tenant| self.connections.tenant(tenant)).transpose()?.flatten();
        let now = self.clock.now();
        let (mut tenant, mut seen, mut made) = (None, HashSet::new(), HashSet::new());
        let mut orders = Vec::with_capacity(told.len());
        for one in told {
            let mut inputs = Vec::with_capacity(one.inputs.len());
            for text in &one.inputs {
                let missing = || Problem::not_found("input", text);
                let input = text.parse().map(Input::Record).or_else(|_| text.parse().map(Input::Artifact)).map_err(|_| missing())?;
                let is_visible = match input {
                    Input::Record(id) => seen.contains(&id.owner) || self.sees(scope, id.owner)?,
                    Input::Artifact(id) => {
                        scope.is_none_or(|_| own == Some(id.tenant)) && (made.contains(&id) || self.derivations.is_known(id)?)
                    }
                };
                if !is_visible {
                    return Err(missing());
                }
                if let Input::Record(id) = input {
                    seen.insert(id.owner);
                }
                if *tenant.get_or_insert(input.tenant()) != input.tenant() {
                    return Err(Problem::member(
                        "/inputs",
                        "tenants",
                        "its inputs are of several tenants; tell each tenant's by themselves",
                    ));
                }
                inputs.push(input);
            }
            let order = order(one, inputs, now);
            if let Some(tenant) = tenant {
                made.insert(self.derivations.id(tenant, &order.named)?);
            }
            orders.push(order);
        }
        let tenant = tenant.ok_or_else(|| Problem::member("/inputs", "minItems", "name what it was made from"))?;
        Ok((tenant, orders))
    }

    fn sees(&self, scope: Scope<'_>, owner: ConnectionKey) -> Result<bool, Problem> {
        let found = self.connections.by_key(owner)?.filter(|connection| visible::sees(scope, connection));
        Ok(found.is_some_and(|connection| !matches!(connection.state, crate::connection::State::Erased(_))))
    }
}

impl services::Derivations for Derivations {
    fn derive<'a>(&'a self, by: &'a Principal, order: wire::Order) -> Reply<'a, wire::Answer> {
        async move {
            let (told, is_many) = match order {
                wire::Order::Many { derivations } => (derivations, true),
                wire::Order::One(one) => (vec![*one], false),
            };
            let (tenant, orders) = tokio::task::block_in_place(|| self.read(by.scope(), &told))?;
            let derived = self.derivations.derive(tenant, &orders).await.map_err(|(index, error)| refusal(index, is_many, error))?;
            match (is_many, told.into_iter().next(), derived.first()) {
                (false, Some(one), Some(made)) => Ok(wire::Answer::One(wire::Derived {
                    artifact: made.artifact,
                    name: one.artifact.name,
                    kind: one.artifact.kind,
                    need: one.need,
                    inputs: one.inputs.len(),
                    at: made.at,
                })),
                _ => Ok(wire::Answer::Many { artifacts: derived.into_iter().map(|made| made.artifact).collect() }),
            }
        }
        .boxed()
    }
}

fn order(told: &wire::Derivation, inputs: Vec<Input>, now: Timestamp) -> NewDerivation {
    NewDerivation {
        named: Named { name: told.artifact.name.clone(), kind: told.artifact.kind.clone() },
        need: if told.need == "any" { Need::Any } else { Need::All },
        inputs,
        facts: Facts {
            job: told.job.clone(),
            run: told.run.clone(),
            fields: told.fields.iter().map(|field| (field.from.clone(), field.to.clone())).collect(),
        },
        at: told.at.unwrap_or(now),
    }
}

fn refusal(index: usize, is_many: bool, error: DerivationError) -> Problem {
    let pointer = if is_many { format!("/derivations/{index}") } else { String::new() };
    match error {
        DerivationError::Unknown { input } => Problem::not_found("input", &input.to_string()),
        DerivationError::Gone { .. } | DerivationError::Busy => Problem::StateConflict { reason: error.to_string() },
        DerivationError::Cycle { .. } => Problem::member(&pointer, "cycle", error.to_string()),
        DerivationError::TooMany { .. } => Problem::member(&pointer, "too-many", error.to_string()),
        DerivationError::Lineage(error) => error.into(),
    }
}
