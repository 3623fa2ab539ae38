//! The tag: where one version of a record came from, and under which promise it is kept.
//!
//! A page's records share most of it, so it is stored in two parts, [`PageFacts`] once a page and [`RecordFacts`] once a
//! record; [`Tag::join`] makes the whole, with every name present. Both parts lie inside sealed blocks only.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::digest::Digest;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::ConsentId;
use crate::ids::PageId;
use crate::ids::RunId;
use crate::ids::TenantId;
use crate::record::Exchange;
use crate::record::JsonText;
use crate::record::Kind;
use crate::record::Mask;

/// Where one version of a record came from (`schemas/tag.schema.json`).
///
/// Every name is always present in JSON; what is unknown is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// Whose record it is.
    pub tenant: TenantId,
    /// The authorization under which it came.
    pub connection: ConnectionId,
    /// The definition that read it.
    pub connector: ConnectorRef,
    /// The stream it belongs to.
    pub stream: String,
    /// What it is read as, if the connector says so.
    pub kind: Option<Kind>,
    /// The values of the stream's primary key: an array, empty when the stream declares none.
    pub primary_key: JsonText,
    /// The run that fetched it; null for what came without a run (a signal, the proxy).
    pub run: Option<RunId>,
    /// The request and answer it came in.
    pub page: PageTag,
    /// The JSON Pointer (RFC 6901) of the record within the response.
    pub pointer: String,
    /// The slice of the stream that was asked for.
    pub partition: Option<JsonText>,
    /// The stream's state as written together with the page.
    pub cursor: Option<JsonText>,
    /// Which way it travelled.
    pub direction: Direction,
    /// The manifest's transformations that changed it, by name.
    pub transformations: Vec<String>,
    /// What was masked before it was stored.
    pub masks: Vec<Mask>,
    /// The digest of the schema that the manifest gives for the stream.
    pub schema_digest: Option<Digest>,
    /// The digest of the canonical form of the stored raw record.
    pub content_digest: Digest,
    /// The consent under which it was fetched.
    pub consent: ConsentId,
    /// The version of the policy that the consent names.
    pub policy_version: String,
    /// What the customer allowed it to be used for.
    pub purposes: Vec<Purpose>,
    /// How long it is kept.
    pub retention: Retention,
    /// The number of the version before this one, if there is one; versions count from 1.
    pub previous: Option<u32>,
}

/// A connector's definition at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorRef {
    /// The connector's name.
    pub name: String,
    /// The digest of its definition.
    pub digest: Digest,
}

/// The request and answer in which a record came, as a tag shows them: an [`Exchange`] with its page's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageTag {
    /// The page's id.
    pub id: String,
    /// As [`Exchange::method`].
    pub method: String,
    /// As [`Exchange::url`].
    pub url: String,
    /// As [`Exchange::status`].
    pub status: u16,
    /// As [`Exchange::attempt`].
    pub attempt: u32,
    /// As [`Exchange::requested_at`].
    pub requested_at: Timestamp,
    /// As [`Exchange::received_at`].
    pub received_at: Timestamp,
    /// As [`Exchange::response_sha256`].
    pub response_sha256: Digest,
    /// As [`Exchange::bytes`].
    pub bytes: u64,
    /// As [`Exchange::request_id`].
    pub request_id: Option<String>,
}

/// Which way a record travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Headgate asked for it.
    Pulled,
    /// The application sent it.
    Received,
    /// A service wrote it to the application through Headgate.
    Pushed,
}

/// How long a record is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The retention class that the connector names.
    pub class: String,
    /// From when it is to be erased.
    pub delete_after: Timestamp,
}

/// The part of a tag that all records of a page share, in stored form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageFacts {
    /// As [`Tag::tenant`].
    pub tenant: TenantId,
    /// As [`Tag::connection`].
    pub connection: ConnectionId,
    /// As [`Tag::connector`].
    pub connector: ConnectorRef,
    /// As [`Tag::stream`].
    pub stream: String,
    /// As [`Tag::kind`].
    pub kind: Option<Kind>,
    /// As [`Tag::run`].
    pub run: Option<RunId>,
    /// The connection's storage key, the first half of the page's id.
    pub owner: ConnectionKey,
    /// The page's number within the connection, the second half of its id.
    pub page: u64,
    /// The request and its answer.
    pub exchange: Exchange,
    /// As [`Tag::partition`].
    pub partition: Option<JsonText>,
    /// As [`Tag::cursor`].
    pub cursor: Option<JsonText>,
    /// As [`Tag::direction`].
    pub direction: Direction,
    /// As [`Tag::schema_digest`].
    pub schema_digest: Option<Digest>,
    /// As [`Tag::consent`].
    pub consent: ConsentId,
    /// As [`Tag::policy_version`].
    pub policy_version: String,
    /// As [`Tag::purposes`].
    pub purposes: Vec<Purpose>,
    /// As [`Retention::class`].
    pub retention_class: String,
    /// How many records of the response the manifest's filter left out.
    pub filtered: u64,
    /// How many items of the response were no records.
    pub ignored: u64,
    /// How many added values were texts that became another type.
    pub coerced: u64,
    /// How many of those are part of the primary key.
    pub coerced_keys: u64,
    /// The entry of the audit log under which the credential was unsealed for the run; none for what came without a run.
    pub entry: Option<u64>,
}

/// The part of a tag that is one record's own, in stored form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFacts {
    /// As [`Tag::pointer`].
    pub pointer: String,
    /// As [`Tag::primary_key`].
    pub primary_key: JsonText,
    /// The number of this version, from 1.
    pub version: u32,
    /// As [`Tag::previous`].
    pub previous: Option<u32>,
    /// As [`Tag::transformations`].
    pub transformations: Vec<String>,
    /// As [`Tag::masks`].
    pub masks: Vec<Mask>,
    /// As [`Retention::delete_after`], in whole milliseconds: a number takes a quarter of the text.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub delete_after: Timestamp,
}

impl Tag {
    /// Its JSON Schema (draft 2020-12).
    pub const SCHEMA: &'static str = include_str!("../../schemas/tag.schema.json");

    /// The whole tag of a record of a page. The digest is that of its stored text: kept nowhere, because the text is.
    pub fn join(page: &PageFacts, record: &RecordFacts, content_digest: Digest) -> Self {
        Self {
            tenant: page.tenant.clone(),
            connection: page.connection,
            connector: page.connector.clone(),
            stream: page.stream.clone(),
            kind: page.kind,
            primary_key: record.primary_key.clone(),
            run: page.run,
            page: page.shown(),
            pointer: record.pointer.clone(),
            partition: page.partition.clone(),
            cursor: page.cursor.clone(),
            direction: page.direction,
            transformations: record.transformations.clone(),
            masks: record.masks.clone(),
            schema_digest: page.schema_digest,
            content_digest,
            consent: page.consent,
            policy_version: page.policy_version.clone(),
            purposes: page.purposes.clone(),
            retention: Retention { class: page.retention_class.clone(), delete_after: record.delete_after },
            previous: record.previous,
        }
    }
}

impl PageFacts {
    /// The page's id.
    pub fn id(&self) -> PageId {
        PageId { owner: self.owner, page: self.page }
    }

    fn shown(&self) -> PageTag {
        let exchange = &self.exchange;
        PageTag {
            id: self.id().to_string(),
            method: exchange.method.clone(),
            url: exchange.url.clone(),
            status: exchange.status,
            attempt: exchange.attempt,
            requested_at: exchange.requested_at,
            received_at: exchange.received_at,
            response_sha256: exchange.response_sha256,
            bytes: exchange.bytes,
            request_id: exchange.request_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::ids::Entropy;
    use crate::record::MaskReason;

    fn facts() -> (PageFacts, RecordFacts) {
        let (at, entropy) = ("2026-11-24T07:00:00.123456789Z".parse().unwrap(), Entropy::system());
        let page = PageFacts {
            tenant: "acme".parse().unwrap(),
            connection: ConnectionId::new(at, &entropy),
            connector: ConnectorRef { name: "shop".into(), digest: Digest::of(b"manifest") },
            stream: "orders".into(),
            kind: Some(Kind::Order),
            run: Some(RunId::new(at, &entropy)),
            owner: ConnectionKey { tenant: 1, connection: 2 },
            page: 3,
            exchange: Exchange {
                method: "GET".into(),
                url: "https://shop.example/orders?page=1".into(),
                status: 200,
                attempt: 1,
                requested_at: at,
                received_at: at,
                response_sha256: Digest::of(b"{}"),
                bytes: 2,
                request_id: Some("req-1".into()),
                credential: Some(1),
            },
            partition: Some(JsonText::of(&json!({"shop": 1.50}))),
            cursor: Some(JsonText::of(&json!({"updated_at": "2026-11-24"}))),
            direction: Direction::Pulled,
            schema_digest: Some(Digest::of(b"schema")),
            consent: ConsentId::new(at, &entropy),
            policy_version: "2026-11".into(),
            purposes: vec![Purpose::Fulfilment],
            retention_class: "default".into(),
            filtered: 0,
            ignored: 0,
            coerced: 0,
            coerced_keys: 0,
            entry: Some(7),
        };
        let record = RecordFacts {
            pointer: "/orders/0".into(),
            primary_key: JsonText::of(&json!([1001, "a"])),
            version: 2,
            previous: Some(1),
            transformations: vec!["AddFields".into()],
            masks: vec![Mask { pointer: "/note".into(), reason: MaskReason::PaymentCard }],
            delete_after: Timestamp::from_millisecond(at.as_millisecond()).unwrap(),
        };
        (page, record)
    }

    /// A tag fits its schema, with everything known and with all that may be unknown; and the schema asks for every name.
    #[test]
    fn tags_fit_their_schema() {
        let schema = serde_json::from_str(Tag::SCHEMA).unwrap();
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        let (page, record) = facts();
        let full = serde_json::to_value(Tag::join(&page, &record, Digest::of(b"{}"))).unwrap();
        let unknown = PageFacts {
            kind: None,
            run: None,
            partition: None,
            cursor: None,
            schema_digest: None,
            exchange: Exchange { request_id: None, ..page.exchange.clone() },
            ..page
        };
        let sparse =
            serde_json::to_value(Tag::join(&unknown, &RecordFacts { previous: None, masks: vec![], ..record }, Digest::of(b"{}"))).unwrap();
        for tag in [&full, &sparse] {
            assert!(validator.is_valid(tag), "{:?}", validator.iter_errors(tag).map(|error| error.to_string()).collect::<Vec<_>>());
            for name in tag.as_object().unwrap().keys() {
                let mut lacking = tag.clone();
                lacking.as_object_mut().unwrap().remove(name);
                assert!(!validator.is_valid(&lacking), "{name}");
            }
        }
        assert_eq!(full["page"]["id"], "page_aaaaaaiaaaaaeaaaaaaaaaaaam");
        assert_eq!(sparse["partition"], Value::Null);
    }

    /// The stored parts survive the store, and a tag survives an answer, to the nanosecond and the digit.
    #[test]
    fn parts_and_whole_read_back() {
        let (page, record) = facts();
        assert_eq!(postcard::from_bytes::<PageFacts>(&postcard::to_stdvec(&page).unwrap()).unwrap(), page);
        assert_eq!(postcard::from_bytes::<RecordFacts>(&postcard::to_stdvec(&record).unwrap()).unwrap(), record);
        let tag = Tag::join(&page, &record, Digest::of(b"{}"));
        assert_eq!(serde_json::from_str::<Tag>(&serde_json::to_string(&tag).unwrap()).unwrap(), tag);
    }
}
