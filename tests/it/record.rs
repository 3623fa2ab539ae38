//! What records are, held against real payloads and against our own connectors.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use headgate::record::Kind;
use headgate::record::content_digest;
use headgate::record::mask_cards;
use serde_json::Value;

/// Goal: our connectors speak the vocabulary of the operational kinds, so that one service reads all of them alike. Method:
/// every field of every mapping is looked up in the schema of its stream's kind.
#[test]
fn connectors_map_to_fields_of_the_schemas() {
    let mut unknown = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors")).unwrap() {
        let path = entry.unwrap().path().join("headgate.yaml");
        let treatment: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for (stream, treated) in treatment["streams"].as_object().unwrap() {
            let Some(kind) = treated["kind"].as_str() else { continue };
            let schema: Value = serde_json::from_str(kind.parse::<Kind>().unwrap().schema()).unwrap();
            let mapping = treated["mapping"].as_object().into_iter().flatten();
            let strangers = mapping.filter(|(field, _)| schema["properties"].get(field).is_none());
            unknown.extend(strangers.map(|(field, _)| format!("{path:?}: {stream}.{field} is no field of schemas/{kind}.schema.json")));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Goal: identifiers, times and digests of real applications are not taken for card numbers. Method: the payloads that
/// applications publish, none of which holds a card number, pass untouched, and each has a digest.
#[test]
fn published_payloads_hold_no_card_numbers() {
    let shared = std::env::var_os("HEADGATE_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let Ok(folders) = fs::read_dir(shared.join("provider-samples")) else {
        println!("skipped: no provider-samples in {shared:?}; HEADGATE_SHARED names the folder that holds them");
        return;
    };
    let mut payloads = 0;
    for file in folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).into_iter().flatten()) {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let raw = fs::read(&path).unwrap();
            assert_eq!(mask_cards(&raw), Ok(None), "{path:?}");
            content_digest(&raw).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            payloads += 1;
        }
    }
    assert!(payloads > 0, "no payload was looked at");
}
