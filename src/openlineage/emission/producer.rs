//! Who tells, and in which namespaces.

use url::Url;

use crate::ids::ConnectionId;
use crate::ids::TenantId;
use crate::openlineage::emission::event::DatasetName;

/// Who produces the events: constant for one version of Headgate, wherever it runs and wherever its sources lie.
const PRODUCER: &str = concat!("urn:headgate:producer:", env!("CARGO_PKG_VERSION"));

/// This gateway as the producer of events.
#[derive(Debug, Clone)]
pub struct Producer {
    /// Where it is reached, without a slash at the end.
    public_url: String,
    /// The host in it: what tells one gateway's namespaces from another's.
    instance: String,
}

impl Producer {
    /// Of the gateway that is reached at this address.
    pub fn new(public_url: &Url) -> Self {
        let instance = public_url.host_str().unwrap_or("localhost").trim_matches(['[', ']']).replace(':', "-");
        Producer { public_url: public_url.as_str().trim_end_matches('/').to_owned(), instance }
    }

    /// What stands as `producer` and `_producer`.
    pub fn uri(&self) -> &'static str {
        PRODUCER
    }

    /// Where the gateway is reached, without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The namespace of a tenant's jobs and stored datasets.
    pub fn namespace(&self, tenant: &TenantId) -> String {
        format!("headgate://{}/{tenant}", self.instance)
    }

    /// The name of what a connection stores of a stream.
    pub fn stored(&self, tenant: &TenantId, connector: &str, connection: ConnectionId, stream: &str) -> DatasetName {
        DatasetName { namespace: self.namespace(tenant), name: format!("{}.{connection}.{}", plain(connector), plain(stream)) }
    }
}

/// A part of a name without the colon, at which readers of node ids split.
pub(super) fn plain(text: &str) -> String {
    text.replace(':', "-")
}

/// A UUID as OpenLineage writes run ids.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The instance is the host alone: a port, a path or the brackets of an address would break a node id.
    #[test]
    fn namespaces_hold_no_port() {
        let tenant: TenantId = "acme".parse().unwrap();
        let cases =
            [("https://gate.example.com/hg", "gate.example.com"), ("http://127.0.0.1:8080/", "127.0.0.1"), ("http://[::1]:80/", "--1")];
        for (url, instance) in cases {
            let producer = Producer::new(&Url::parse(url).unwrap());
            assert_eq!(producer.namespace(&tenant), format!("headgate://{instance}/acme"));
        }
        let producer = Producer::new(&Url::parse("https://gate.example.com/hg/").unwrap());
        assert_eq!(producer.public_url(), "https://gate.example.com/hg");
    }
}
