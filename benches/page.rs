//! What a page of 100 orders costs between the answer and the writer, stage by stage, and with lineage or sealing left out.
//!
//! `cargo bench --bench page`. The figures belong side by side, from one run: `whole` less `without_sealing` is what sealing
//! costs, `whole` less `without_lineage` what tags, origin and the index cost. The stages are those of `src/intake/seal.rs`,
//! put together here from the same parts, because intake itself has no switch that would leave a record without its tag.

#[path = "scale/orders.rs"]
mod orders;

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use headgate::clock::Clock;
use headgate::clock::Timestamp;
use headgate::connector::path::Extracted;
use headgate::connector::path::FieldPath;
use headgate::consent::Purpose;
use headgate::digest::Digest;
use headgate::ids::ConnectionId;
use headgate::ids::ConnectionKey;
use headgate::ids::ConsentId;
use headgate::ids::Entropy;
use headgate::ids::RunId;
use headgate::lineage::Block;
use headgate::lineage::Entry;
use headgate::lineage::Location;
use headgate::lineage::PageRow;
use headgate::lineage::Placement;
use headgate::lineage::RecordRow;
use headgate::lineage::block_aad;
use headgate::record::ConnectorRef;
use headgate::record::Direction;
use headgate::record::Exchange;
use headgate::record::JsonText;
use headgate::record::PageFacts;
use headgate::record::RecordFacts;
use headgate::record::content_digest;
use headgate::record::mask_cards;
use headgate::store::Unit;
use headgate::vault::ConnectionKeys;
use headgate::vault::ExtentKey;
use headgate::vault::MasterKey;
use headgate::vault::Vault;

const RECORDS: usize = 100;
const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };

fn main() {
    divan::main();
}

/// A page as it arrived, and the keys that it is sealed with.
struct Desk {
    body: Bytes,
    path: FieldPath,
    records: Vec<Extracted>,
    keys: Arc<ConnectionKeys>,
    extent: Arc<ExtentKey>,
    facts: PageFacts,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (entropy, clock) = (Entropy::system(), Clock::System);
        let master = MasterKey::new(headgate::secret::Secret::new(entropy.bytes()));
        let vault = Vault::create(folder.path(), &master, entropy.clone(), clock.clone()).expect("a vault");
        vault.tenant_ensure(OWNER.tenant).and_then(|()| vault.connection_create(OWNER)).expect("keys");
        let (_, extent) = vault.extent_create(OWNER, None).expect("an extent");
        let body = Bytes::from(orders::render(&(0..RECORDS).collect::<Vec<_>>()));
        let path = FieldPath::new(["orders"]);
        let records = path.extract(&body).expect("it is JSON");
        let facts = facts(&body, clock.now(), &entropy);
        Desk { keys: vault.connection(OWNER).expect("keys"), records, body, path, extent, facts, _folder: folder }
    }

    fn raw(&self, record: &Extracted) -> Bytes {
        self.body.slice(record.range.clone())
    }

    /// Cards, digest, identity, facts, blocks, seals and rows: the page as the writer takes it.
    fn page(&self, block: &mut Block, sealing: bool, lineage: bool) -> (Unit, usize) {
        let (mut unit, mut bytes) = (Unit::default(), 0);
        let mut row = PageRow { run: run(), stream: 1, extent: 0, offset: 0, facts_bytes: 0, block_bytes: Vec::new() };
        if lineage {
            let facts = postcard::to_stdvec(&self.facts).expect("facts");
            bytes += self.seal(zstd::bulk::compress(&facts, 1).expect("memory"), Placement::Facts, sealing);
        }
        for (number, record) in self.records.iter().enumerate() {
            if block.is_full() {
                row.block_bytes.push(self.close(block, row.block_bytes.len(), sealing));
            }
            let raw = self.raw(record);
            let masked = mask_cards(&raw).expect("it is JSON");
            let digest = content_digest(&raw).expect("it is JSON");
            let location = Location { page: 1, block: row.block_bytes.len() as u16, slot: block.len() as u16 };
            let hash = half(self.keys.index_hmac(&[b"record", &(number as u64).to_be_bytes()]));
            if lineage {
                let content = half(self.keys.index_hmac(&[b"content", &digest.to_bytes()]));
                unit.put(&(OWNER, (1, hash)), &RecordRow { version: 1, location, content, deleted: None });
            }
            let facts = if lineage { record_facts(record, self.facts.exchange.received_at) } else { no_facts() };
            let raw = masked.map_or(raw, |masked| Bytes::from(masked.raw));
            block.push(Entry { facts, previous: None, hash, raw, patch: Bytes::new() });
        }
        row.block_bytes.push(self.close(block, row.block_bytes.len(), sealing));
        bytes += row.block_bytes.iter().sum::<u32>() as usize;
        unit.put(&(OWNER, 1), &row);
        (unit, bytes)
    }

    fn close(&self, block: &mut Block, number: usize, sealing: bool) -> u32 {
        self.seal(block.take().expect("memory").0, Placement::Records(number as u16), sealing) as u32
    }

    fn seal(&self, bytes: Vec<u8>, placement: Placement, sealing: bool) -> usize {
        if !sealing {
            return divan::black_box(bytes).len();
        }
        self.extent.seal_block(&block_aad(OWNER, 1, placement), bytes).expect("the key is there").as_bytes().len()
    }
}

fn facts(body: &[u8], now: Timestamp, entropy: &Entropy) -> PageFacts {
    PageFacts {
        tenant: "bench".parse().expect("a slug"),
        connection: ConnectionId::new(now, entropy),
        connector: ConnectorRef { name: "shop".into(), digest: Digest::of(b"connector") },
        stream: "orders".into(),
        kind: None,
        run: Some(run()),
        owner: OWNER,
        page: 1,
        exchange: Exchange {
            method: "GET".into(),
            url: "https://shop.example/orders?page=1".into(),
            status: 200,
            attempt: 1,
            requested_at: now,
            received_at: now,
            response_sha256: Digest::of(body),
            bytes: body.len() as u64,
            request_id: None,
            credential: Some(1),
        },
        partition: None,
        cursor: None,
        direction: Direction::Pulled,
        schema_digest: Some(Digest::of(b"schema")),
        consent: ConsentId::new(now, entropy),
        policy_version: "1".into(),
        purposes: vec![Purpose::Fulfilment],
        retention_class: "default".into(),
        filtered: 0,
        ignored: 0,
        coerced: 0,
        coerced_keys: 0,
        entry: Some(1),
    }
}

fn record_facts(record: &Extracted, delete_after: Timestamp) -> RecordFacts {
    RecordFacts {
        pointer: record.pointer.clone(),
        primary_key: JsonText::of(&serde_json::json!([7_000_000])),
        version: 1,
        previous: None,
        transformations: Vec::new(),
        masks: Vec::new(),
        delete_after,
    }
}

/// As little as the form allows.
fn no_facts() -> RecordFacts {
    let nothing = Extracted { range: 0..0, pointer: String::new() };
    RecordFacts { primary_key: JsonText::of(&serde_json::json!([])), ..record_facts(&nothing, Timestamp::UNIX_EPOCH) }
}

fn run() -> RunId {
    RunId::from_bytes([1; 16])
}

fn half(hash: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|index| hash[index])
}

fn timed(bencher: Bencher, work: impl Fn(&Desk, &mut Block) -> usize) {
    let desk = Desk::new();
    let mut block = Block::new().expect("memory");
    bencher.counter(divan::counter::ItemsCount::new(RECORDS)).bench_local(|| work(&desk, &mut block));
}

/// What each part does to one page.
mod stage {
    use super::*;

    #[divan::bench]
    fn find_records(bencher: Bencher) {
        timed(bencher, |desk, _| desk.path.extract_with(&desk.body, &["id"]).expect("it is JSON").records.len());
    }

    #[divan::bench]
    fn look_for_cards(bencher: Bencher) {
        timed(bencher, |desk, _| {
            desk.records.iter().filter(|record| mask_cards(&desk.raw(record)).is_ok_and(|found| found.is_some())).count()
        });
    }

    #[divan::bench]
    fn digest_contents(bencher: Bencher) {
        timed(bencher, |desk, _| desk.records.iter().filter(|record| content_digest(&desk.raw(record)).is_ok()).count());
    }

    #[divan::bench]
    fn digest_the_answer(bencher: Bencher) {
        timed(bencher, |desk, _| usize::from(Digest::of(&desk.body).to_bytes()[0]));
    }
}

/// The whole page, and the page with a part left out.
mod page {
    use super::*;

    #[divan::bench]
    fn whole(bencher: Bencher) {
        timed(bencher, |desk, block| desk.page(block, true, true).1);
    }

    #[divan::bench]
    fn without_sealing(bencher: Bencher) {
        timed(bencher, |desk, block| desk.page(block, false, true).1);
    }

    #[divan::bench]
    fn without_lineage(bencher: Bencher) {
        timed(bencher, |desk, block| desk.page(block, true, false).1);
    }
}
