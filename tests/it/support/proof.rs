//! A second opinion on everything that Headgate signs: notes, trees and envelopes read from their specifications alone.
//! Nothing here calls Headgate's code.

use data_encoding::BASE64;
use data_encoding::BASE64URL_NOPAD;
use ring::digest;
use ring::signature;
use serde_json::Value;

/// A tree's hash.
pub type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    digest::digest(&digest::SHA256, &parts.concat()).as_ref().try_into().unwrap()
}

fn signed_by(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ED25519, public).verify(message, signature).is_ok()
}

/// A leaf's hash (RFC 6962, 2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root over leaves, by the definition itself (RFC 6962, 2.1).
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(&root(&leaves[..split]), &root(&leaves[split..]))
        }
    }
}

/// Whether a leaf stands at `index` of the tree with that size and root (RFC 9162, 2.1.3.2).
pub fn includes(leaf: Hash, index: u64, size: u64, path: &[Hash], expected: &Hash) -> bool {
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    if index >= size {
        return false;
    }
    for step in path {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at % 2 == 0 && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        at /= 2;
        last /= 2;
    }
    last == 0 && hash == *expected
}

/// Whether one tree is the beginning of another (RFC 9162, 2.1.4.2).
pub fn grows(from: (u64, Hash), to: (u64, Hash), path: &[Hash]) -> bool {
    let ((first, first_root), (second, second_root)) = (from, to);
    if first == second {
        return path.is_empty() && first_root == second_root;
    }
    let mut steps = path.to_vec();
    if first.is_power_of_two() {
        steps.insert(0, first_root);
    }
    let (mut at, mut last) = (first - 1, second - 1);
    while at % 2 == 1 {
        at /= 2;
        last /= 2;
    }
    let Some((start, steps)) = steps.split_first() else { return false };
    let (mut older, mut newer) = (*start, *start);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            older = node_hash(step, &older);
            newer = node_hash(step, &newer);
            while at % 2 == 0 && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            newer = node_hash(&newer, step);
        }
        at /= 2;
        last /= 2;
    }
    last == 0 && older == first_root && newer == second_root
}

/// The hashes of a proof, from standard base64.
pub fn hashes(texts: &Value) -> Vec<Hash> {
    let hash = |text: &Value| BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap();
    texts.as_array().unwrap().iter().map(hash).collect()
}

/// Size and root of a checkpoint that one of the verifier keys has signed (C2SP signed-note and tlog-checkpoint).
pub fn checkpoint(note: &str, vkeys: &Value) -> Option<(u64, Hash)> {
    let (text, signatures) = note.split_once("\n\n")?;
    let text = format!("{text}\n");
    let mut lines = text.lines();
    let (origin, size, root) = (lines.next()?, lines.next()?.parse().ok()?, BASE64.decode(lines.next()?.as_bytes()).ok()?);
    let signed = signatures.lines().any(|line| {
        let Some((name, signature)) = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' ')) else { return false };
        let signature = BASE64.decode(signature.as_bytes()).unwrap();
        vkeys.as_array().unwrap().iter().any(|vkey| {
            let mut parts = vkey.as_str().unwrap().splitn(3, '+');
            let (known, id, key) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let key = BASE64.decode(key.as_bytes()).unwrap();
            let hash = sha256(&[known.as_bytes(), b"\n", &key]);
            let id_holds = hash[..4] == signature[..4] && u32::from_str_radix(id, 16).unwrap().to_be_bytes() == hash[..4];
            key[0] == 1 && known == name && known == origin && id_holds && signed_by(&key[1..], text.as_bytes(), &signature[4..])
        })
    });
    signed.then_some((size, root.try_into().ok()?))
}

/// The statement in a DSSE envelope that one of the JWKs has signed.
pub fn statement(envelope: &Value, keys: &Value) -> Option<Value> {
    let kind = envelope["payloadType"].as_str()?;
    let payload = BASE64.decode(envelope["payload"].as_str()?.as_bytes()).ok()?;
    let message = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), &payload].concat();
    let signed = envelope["signatures"].as_array()?.iter().any(|entry| {
        let key = keys.as_array().unwrap().iter().find(|key| key["kid"] == entry["keyid"]);
        let public = key.map(|key| BASE64URL_NOPAD.decode(key["x"].as_str().unwrap().as_bytes()).unwrap());
        let signature = BASE64.decode(entry["sig"].as_str().unwrap().as_bytes()).unwrap();
        public.is_some_and(|public| signed_by(&public, &message, &signature))
    });
    signed.then(|| serde_json::from_slice(&payload).unwrap())
}
