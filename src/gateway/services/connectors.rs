//! Connectors: as the operator sees them, and what a customer is told before agreeing.

use futures_util::FutureExt;
use serde_json::json;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::services;
use crate::api::services::Notice;
use crate::api::services::Reply;
use crate::api::wire;
use crate::clock::Clock;
use crate::connection;
use crate::connector::component::source::RefusedStream;
use crate::connector::definition::Connector;
use crate::connector::treatment::Anchor;
use crate::consent::Purpose;
use crate::gateway::services::problems::place;
use crate::gateway::services::visible;
use crate::record::Kind;

/// [`services::Connectors`] over those that can be connected.
pub struct Connectors {
    connectors: connection::Connectors,
    clock: Clock,
}

impl Connectors {
    /// Over the connectors of a gateway.
    pub fn new(connectors: connection::Connectors, clock: Clock) -> Self {
        Connectors { connectors, clock }
    }
}

impl services::Connectors for Connectors {
    fn list(&self, page: PageOrder) -> Reply<'_, List<wire::connector::Connector>> {
        async move {
            // There are as many as there are folders: all are looked at, and the page is cut out.
            let after: Option<u32> = place(page.after.as_deref())?;
            let from = after.map_or(0, |last| last.saturating_add(1));
            let all = self.connectors.list()?;
            let step = |after: Option<u32>, limit| {
                let from = after.map_or(from, |last| last.saturating_add(1));
                Ok((from..).zip(all.iter().skip(usize::try_from(from).unwrap_or(usize::MAX))).take(limit).collect::<Vec<_>>())
            };
            visible::page(
                page.limit,
                after,
                step,
                |(number, _)| *number,
                |(_, (connector, disabled))| Ok(Some(shown(connector, *disabled))),
            )
        }
        .boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> Reply<'a, wire::connector::Connector> {
        async move { Ok(shown(&*self.connectors.find(name)?, self.connectors.is_disabled(name)?)) }.boxed()
    }

    fn set_enabled<'a>(&'a self, by: &'a Principal, name: &'a str, enabled: bool) -> Reply<'a, wire::connector::Connector> {
        async move {
            self.connectors.switch(name, !enabled, by.actor()).await?;
            Ok(shown(&*self.connectors.find(name)?, !enabled))
        }
        .boxed()
    }

    fn notice<'a>(&'a self, name: &'a str) -> Reply<'a, Notice> {
        async move {
            let connector = self.connectors.to_connect(name, false)?;
            let treatment = &connector.treatment;
            let streams = connector.manifest.declared().map(|stream| {
                let kind = treatment.stream(&stream.name).and_then(|stream| stream.kind);
                (stream.name.clone(), kind.map_or("records as the application has them", in_plain_words).to_owned())
            });
            let scopes = treatment.authorization.iter().flat_map(|authorization| &authorization.scopes);
            let purposes = if treatment.purposes.is_empty() { vec![Purpose::Fulfilment] } else { treatment.purposes.clone() };
            Ok(Notice {
                display_name: connector.display_name().to_owned(),
                streams: streams.collect(),
                scopes: scopes.map(|scope| (scope.name.clone(), scope.text.clone())).collect(),
                purposes,
                retention: retention(&connector),
                spec: connector.asked_specification(),
                authorize_origin: authorize_origin(&connector, &self.clock),
            })
        }
        .boxed()
    }
}

fn shown(connector: &Connector, disabled: bool) -> wire::connector::Connector {
    let authorization = connector.treatment.authorization.as_ref();
    let scopes = authorization.into_iter().flat_map(|authorization| &authorization.scopes);
    wire::connector::Connector {
        name: connector.name.clone(),
        display_name: connector.display_name().to_owned(),
        digest: connector.digest.to_string(),
        state: if disabled { "disabled" } else { "enabled" }.into(),
        authorization: authorization.map_or("configuration", |authorization| authorization.r#type.as_str()).into(),
        streams: connector.manifest.declared().map(|stream| stream.name.clone()).collect(),
        refused: connector.manifest.refused().map(refused).collect(),
        scopes: scopes.map(|scope| wire::connector::Scope { name: scope.name.clone(), text: scope.text.clone() }).collect(),
        purposes: connector.treatment.purposes.clone(),
        hosts: connector.treatment.hosts.iter().map(|host| host.template().source().to_owned()).collect(),
        spec: connector.asked_specification(),
    }
}

fn refused(stream: &RefusedStream) -> wire::connector::Refused {
    wire::connector::Refused { name: stream.name.clone(), reasons: stream.problems.iter().map(ToString::to_string).collect() }
}

/// Where the authorization page is, when that does not depend on the configuration.
fn authorize_origin(connector: &Connector, clock: &Clock) -> Option<String> {
    let address = connector.treatment.authorization.as_ref()?.authorize_url.as_ref()?;
    let url = connector.address(address, "authorize_url", &json!({}), clock).ok()?;
    Some(url.origin().ascii_serialization())
}

fn retention(connector: &Connector) -> String {
    let retention = &connector.treatment.retention;
    let anchor = match retention.anchor {
        Anchor::Received => "it was read",
        Anchor::UpdatedAt => "it last changed at the application",
        Anchor::Pointer(_) => "the date that the record itself names",
    };
    format!("{} days after {anchor}", retention.days)
}

/// What a customer reads of a stream of that kind.
fn in_plain_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Order => "what your customers ordered",
        Kind::Invoice => "claims for payment",
        Kind::Shipment => "parcels and loads that leave or come in",
        Kind::Product => "what you sell or stock",
        Kind::Tracking => "where shipments are on their way",
        Kind::WorkflowArtifact => "labels, pick lists, approvals and other papers of your work",
        Kind::Customer => "who buys from you",
        Kind::Payment => "money that moved",
        Kind::Ticket => "conversations about problems",
    }
}
