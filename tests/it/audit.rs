//! The log cannot be changed unseen, and what is signed verifies by code that is not Headgate's (section 2.4 of TRUST).

use std::path::Path;

use data_encoding::BASE64;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use serde_json::Value;

use crate::support::installation::Client;
use crate::support::installation::Ended;
use crate::support::installation::Installation;
use crate::support::installation::binary;
use crate::support::installation::copy;
use crate::support::installation::ended;
use crate::support::proof;

/// The byte that begins the key of a leaf (`src/store/layout.rs`).
const LEAVES: u8 = b'A';
/// Steps between entries that are tampered with one by one, over the whole log; `HEADGATE_AUDIT_STEPS` takes more.
const STEPS_DEFAULT: u64 = 2;

/// A finished life: a connection pulled, revoked, erased, and the checkpoint kept elsewhere.
struct Life {
    installation: Installation,
    certificate: String,
    keys: Value,
    /// A checkpoint taken early, and one of the end.
    notes: [String; 2],
    entries: Vec<Vec<u8>>,
    /// The consistency proof between the two notes.
    consistency: Value,
}

impl Life {
    async fn live() -> Self {
        let sandbox = Sandbox::start(sandbox::Options { records: 40, ..Default::default() }).await.unwrap();
        let installation = Installation::new(&sandbox.address().to_string());
        let server = installation.serve(Some(&sandbox)).await;
        let client = server.client();
        let connection = client.connect("acme", &sandbox).await.unwrap();
        let early = note(&client).await;
        assert_eq!(server.stop(), 0);
        copy(&installation.data(), &installation.beside("early"));
        let server = installation.serve(Some(&sandbox)).await;
        let client = server.client();
        client.pull(&connection).await.unwrap();
        client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
        let erasure = client.erase(&connection).await.unwrap();
        client.complete(&erasure).await.unwrap();
        let late = note(&client).await;
        let [from, to] = [&early, &late].map(|note| note.lines().nth(1).unwrap().to_owned());
        let consistency = client.get(&format!("/v1/audit/consistency?from={from}&to={to}")).await.unwrap();
        let mut entries = Vec::new();
        for index in 0..to.parse().unwrap() {
            let entry = client.get(&format!("/v1/audit/entries/{index}")).await.unwrap();
            entries.push(BASE64.decode(entry["leaf"].as_str().unwrap().as_bytes()).unwrap());
        }
        let keys = client.get("/.well-known/headgate-keys").await.unwrap();
        let certificate = installation.run(&["certificate", "show", &erasure]).stdout;
        assert_eq!(server.stop(), 0);
        Life { installation, certificate, keys, notes: [early, late], entries, consistency }
    }

    /// `audit verify` on the directory as it is, with or without the checkpoint that was kept elsewhere.
    fn verify(&self, with_checkpoint: bool) -> Ended {
        let file = self.installation.beside("checkpoint");
        std::fs::write(&file, &self.notes[1]).unwrap();
        let checkpoint = ["--checkpoint", file.to_str().unwrap()];
        self.installation.run(&[&["audit", "verify"][..], if with_checkpoint { &checkpoint[..] } else { &[] }].concat())
    }
}

async fn note(client: &Client) -> String {
    client.get("/v1/audit/checkpoint").await.unwrap().as_str().unwrap().to_owned()
}

/// Goal: notes, proofs, certificate and receipts hold by their published specifications alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_verifies_by_other_code() {
    let life = Life::live().await;
    let [early, late] = life.notes.each_ref().map(|note| proof::checkpoint(note, &life.keys["vkeys"]).expect("a signed checkpoint"));
    let leaves: Vec<proof::Hash> = life.entries.iter().map(|leaf| proof::leaf_hash(leaf)).collect();
    assert_eq!(proof::root(&leaves), late.1, "the root over all entries");
    assert_eq!(proof::root(&leaves[..early.0 as usize]), early.1);
    let path = proof::hashes(&life.consistency["hashes"]);
    assert!(proof::grows(early, late, &path));
    assert!(!proof::grows((early.0, late.1), late, &path));

    let envelope: Value = serde_json::from_str(&life.certificate).unwrap();
    let statement = proof::statement(&envelope, &life.keys["keys"]).expect("a signed statement");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "urn:headgate:erasure:v1");
    let audit = &statement["predicate"]["audit"];
    let head = proof::checkpoint(audit["checkpoint"].as_str().unwrap(), &life.keys["vkeys"]).expect("the certificate's checkpoint");
    let leaf = BASE64.decode(audit["leaf"].as_str().unwrap().as_bytes()).unwrap();
    let (index, path) = (audit["entry"].as_u64().unwrap(), proof::hashes(&audit["proof"]["hashes"]));
    assert_eq!(life.entries[index as usize], leaf);
    assert_eq!((audit["proof"]["tree_size"].as_u64(), audit["proof"]["leaf_index"].as_u64()), (Some(head.0), Some(index)));
    assert!(proof::includes(proof::leaf_hash(&leaf), index, head.0, &path, &head.1));
    assert!(!proof::includes(proof::leaf_hash(b"another"), index, head.0, &path, &head.1));
    let entry: Value = serde_json::from_slice(&leaf).unwrap();
    assert_eq!(entry["commitment"], statement["subject"][0]["digest"]["sha256"], "the entry commits to the statement's subject");
}

/// Goal: a certificate verifies under the gateway's key alone, and no other byte anywhere in it is taken.
#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_certificate_can_change() {
    let life = Life::live().await;
    let (file, keys) = (life.installation.beside("certificate.json"), life.installation.beside("keys.json"));
    std::fs::write(&keys, life.keys.to_string()).unwrap();
    std::fs::write(&file, &life.certificate).unwrap();
    let verify = |file: &Path| ended(binary().args(["certificate", "verify", file.to_str().unwrap(), "--key", keys.to_str().unwrap()]));
    assert_eq!(verify(&file).code, 0);
    let untrusted = ended(binary().args(["certificate", "verify", file.to_str().unwrap()]));
    assert_eq!(untrusted.code, 1);
    assert!(untrusted.stderr.contains("signer not trusted"), "{untrusted:?}");

    // Every byte through the library, since a process for each would take minutes; some through the binary.
    let set = headgate::audit::KeySet::parse(life.keys.to_string().as_bytes()).unwrap();
    let bytes = life.certificate.as_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(!headgate::audit::verify_file(&changed, Some(&set)).verified, "byte {at} was changed unseen");
        if at % (bytes.len() / 8) == 0 {
            std::fs::write(&file, &changed).unwrap();
            assert!(matches!(verify(&file).code, 1 | 2), "byte {at} was changed unseen by the binary");
        }
    }
    for longer in [format!("{} ", life.certificate), format!(" {}", life.certificate), life.certificate.trim_end().to_owned()] {
        std::fs::write(&file, longer).unwrap();
        assert!(matches!(verify(&file).code, 1 | 2), "a byte more or less was taken");
    }
}

/// Goal: any entry that is deleted, edited or moved is found, and so is a log that was cut and rebuilt, by a checkpoint that
/// was kept elsewhere. Method: the rows are changed in sled itself, on a copy for each.
#[tokio::test(flavor = "multi_thread")]
async fn no_entry_can_be_deleted_edited_or_moved() {
    let life = Life::live().await;
    let data = life.installation.data();
    let clean = life.installation.beside("clean");
    copy(&data, &clean);
    assert_eq!(life.verify(true).code, 0);
    let size = life.entries.len() as u64;
    let steps = std::env::var("HEADGATE_AUDIT_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(STEPS_DEFAULT);
    let mut places: Vec<u64> = (0..=steps).map(|step| (size - 1) * step / steps).collect();
    places.dedup();
    for at in places {
        for (act, tamper) in [("deleted", delete as Tamper), ("edited", edit), ("moved", swap)] {
            std::fs::remove_dir_all(&data).unwrap();
            copy(&clean, &data);
            // The last entry has no next one: it changes places with the one before.
            tampered(&data, at, if at + 1 < size { at + 1 } else { at - 1 }, tamper);
            let found = life.verify(at % 2 == 0);
            assert_eq!(found.code, 1, "entry {at} was {act} unseen: {found:?}");
            assert!(found.stdout.contains(&format!("entry {at} was {act}")), "{act} {at}: {found:?}");
        }
    }
    // The whole directory of an earlier day: consistent in itself, and shorter than what was signed.
    std::fs::remove_dir_all(&data).unwrap();
    copy(&life.installation.beside("early"), &data);
    assert_eq!(life.verify(false).code, 0);
    let cut = life.verify(true);
    assert!(cut.code == 1 && cut.stdout.contains("its end was cut off"), "{cut:?}");
    let file = life.installation.beside("foreign");
    std::fs::write(&file, life.notes[1].replace("\n\n", "\nextension\n\n")).unwrap();
    let refused = life.installation.run(&["audit", "verify", "--checkpoint", file.to_str().unwrap()]);
    assert_ne!(refused.code, 0, "a checkpoint with another text was taken: {refused:?}");
}

type Tamper = fn(&sled::Db, &[u8], &[u8]);

fn tampered(data: &Path, at: u64, other: u64, tamper: Tamper) {
    let key = |index: u64| [&[LEAVES], index.to_be_bytes().as_slice()].concat();
    // The segment that the store is made with.
    #[allow(deprecated)]
    let db = sled::Config::new().path(data.join("store")).segment_size(4 << 20).open().unwrap();
    assert!(db.contains_key(key(at)).unwrap());
    tamper(&db, &key(at), &key(other));
}

fn delete(db: &sled::Db, at: &[u8], _: &[u8]) {
    db.remove(at).unwrap();
}

fn edit(db: &sled::Db, at: &[u8], _: &[u8]) {
    let mut value = db.get(at).unwrap().unwrap().to_vec();
    // One letter of the action, so that it stays an entry in form.
    let last = value.len() - 4;
    value[last] ^= 1;
    db.insert(at, value).unwrap();
}

fn swap(db: &sled::Db, at: &[u8], other: &[u8]) {
    let (one, two) = (db.get(at).unwrap().unwrap(), db.get(other).unwrap().unwrap());
    db.insert(at, two).unwrap();
    db.insert(other, one).unwrap();
}
