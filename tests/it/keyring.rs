//! A directory whose key, keyring or owner is not what it should be is refused, with words that say what to do.

use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use headgate::sandbox;
use headgate::sandbox::Sandbox;

use crate::support::installation::Ended;
use crate::support::installation::Installation;
use crate::support::installation::copy;

fn refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

fn ready() -> Installation {
    let installation = Installation::new("127.0.0.1:9");
    assert_eq!(installation.run(&["connections", "list"]).code, 0);
    installation
}

/// Each wrong key has its own words; none of them is repeated; and the right one still opens.
#[test]
fn a_wrong_or_missing_master_key_is_told() {
    let installation = ready();
    let beside = installation.beside("data.master.key");
    let right = fs::read_to_string(&beside).unwrap();
    let other = BASE64.encode(&[7; 32]);
    let given = |text: &str| {
        let file = installation.beside("given.key");
        fs::write(&file, text).unwrap();
        let ended = installation.run(&["--master-key-file", file.to_str().unwrap(), "connections", "list"]);
        assert!(!ended.stderr.contains(text.trim()), "the key is in the message: {ended:?}");
        ended
    };
    refused(&given(&other), 1, &["master key", "not the one"]);
    refused(&given("not a key"), 2, &["master key", "32 bytes", "base64"]);
    let absent = installation.run(&["--master-key-file", "/nowhere/at.all", "connections", "list"]);
    refused(&absent, 2, &["/nowhere/at.all", "--master-key-file"]);
    let mut environment = installation.command(&["connections", "list"]);
    environment.env("HEADGATE_MASTER_KEY", &other);
    refused(&crate::support::installation::ended(&mut environment), 1, &["not the one"]);
    let command = installation.run(&["--master-key-command", "exit 3", "connections", "list"]);
    refused(&command, 1, &["master key command", "3"]);

    fs::remove_file(&beside).unwrap();
    refused(&installation.run(&["connections", "list"]), 1, &["HEADGATE_MASTER_KEY", "--master-key-file"]);
    assert!(!beside.exists(), "a new key was made for an old directory");
    assert_eq!(given(&right).code, 0);
    let printed = format!("echo {}", right.trim());
    assert_eq!(installation.run(&["--master-key-command", &printed, "connections", "list"]).code, 0);
}

/// A keyring that is gone is told, and no new one is made over the store. One that was only begun when the power went is
/// begun again.
#[test]
fn a_missing_keyring_is_told_and_a_begun_one_is_finished() {
    let installation = ready();
    let keyring = installation.data().join("keyring");
    let away = installation.beside("away");
    fs::rename(&keyring, &away).unwrap();
    refused(&installation.run(&["connections", "list"]), 1, &["keyring", "missing", "put back"]);
    assert!(!keyring.join("root").exists(), "a new root key was made for an old store");
    fs::rename(&away, &keyring).unwrap();
    assert_eq!(installation.run(&["connections", "list"]).code, 0);
    let root = keyring.join("root");
    let bytes = fs::read(&root).unwrap();
    fs::write(&root, &bytes[..bytes.len() - 1]).unwrap();
    refused(&installation.run(&["connections", "list"]), 1, &["root", "damaged"]);

    // What a kill within the making of a keyring leaves: folders, perhaps signing keys, and no root.
    let begun = Installation::new("127.0.0.1:9");
    fs::create_dir_all(begun.data().join("elsewhere")).unwrap();
    let made = ready();
    copy_marker(&made.data(), &begun.data());
    fs::copy(made.beside("data.master.key"), begun.beside("data.master.key")).unwrap();
    fs::create_dir_all(begun.data().join("keyring/tenants")).unwrap();
    let ended = begun.run(&["connections", "list"]);
    assert_eq!(ended.code, 0, "a keyring that was begun is not finished: {ended:?}");
}

fn copy_marker(from: &Path, to: &Path) {
    fs::copy(from.join("format.json"), to.join("format.json")).unwrap();
}

/// Someone else's folder is left as it is; a directory that a server holds is not opened twice, and a second server says who
/// has it.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_and_held_directories_are_told() {
    let foreign = Installation::new("127.0.0.1:9");
    fs::write(foreign.data().join("thesis.tex"), "").unwrap();
    refused(&foreign.run(&["connections", "list"]), 1, &["thesis.tex", "--data"]);
    assert!(!foreign.data().join("lock").exists() && !foreign.beside("data.master.key").exists());

    let installation = Installation::new("127.0.0.1:9");
    let server = installation.serve(None).await;
    refused(&installation.run(&["serve", "--listen", "127.0.0.1:0"]), 1, &["held by", "headgate serve", "process"]);
    assert_eq!(installation.run(&["connections", "list"]).code, 0, "other commands go through the holder");
    assert_eq!(server.stop(), 0);
    assert_eq!(installation.run(&["connections", "list"]).code, 0);
}

/// Goal: a rotation changes the keys under a running server, which goes on; afterwards the new master key opens the directory
/// and the old one does not, not even with the keyring of before beside the store of today.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_changes_the_master_key() {
    let sandbox = Sandbox::start(sandbox::Options { records: 60, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &sandbox).await.unwrap();
    client.pull(&connection).await.unwrap();
    let beside = installation.beside("data.master.key");
    let first = fs::read_to_string(&beside).unwrap();
    let before = installation.beside("keyring-before");
    copy(&installation.data().join("keyring"), &before);

    let rotated = installation.result(&["keyring", "rotate"]);
    assert_eq!((&rotated["master_key_file"], &rotated["old_key_wiped"]), (&beside.to_str().unwrap().into(), &true.into()));
    assert!(fs::read_to_string(&beside).unwrap() != first && !installation.beside("data.master.key.new").exists());
    sandbox.advance();
    let runs = client.pull(&connection).await.unwrap();
    assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
    let second = client.connect("globex", &sandbox).await.unwrap();
    client.pull(&second).await.unwrap();
    assert_eq!(server.stop(), 0);

    let old = installation.beside("old.key");
    fs::write(&old, &first).unwrap();
    let with = |key: &str| installation.run(&["--master-key-file", key, "connections", "list"]);
    refused(&with(old.to_str().unwrap()), 1, &["not the one"]);
    let records = |key: &str| {
        let arguments = ["--master-key-file", key, "records", &connection, "--stream", "orders", "--limit", "3"];
        installation.run(&arguments)
    };
    assert_eq!(records(beside.to_str().unwrap()).code, 0);
    assert_eq!(installation.run(&["audit", "verify"]).code, 0);

    // To a key that the operator keeps, without a server: the file beside is wiped, and nobody looks for it again.
    let kept = installation.beside("kept.key");
    fs::write(&kept, BASE64.encode(&[5; 32])).unwrap();
    let kept = kept.to_str().unwrap();
    let rotated = installation.result(&["keyring", "rotate", "--new-master-key-file", kept]);
    assert_eq!((&rotated["master_key_file"], &rotated["old_key_wiped"]), (&serde_json::Value::Null, &true.into()));
    assert!(!beside.exists());
    refused(&installation.run(&["connections", "list"]), 1, &["HEADGATE_MASTER_KEY", "--master-key-file"]);
    assert_eq!(records(kept).code, 0);
    let unnamed = installation.run(&["--master-key-file", kept, "keyring", "rotate"]);
    refused(&unnamed, 1, &["--new-master-key-file"]);
    refused(&installation.run(&["--master-key-file", kept, "keyring", "rotate", "--new-master-key-file", kept]), 1, &["of now"]);
    let malformed = installation.run(&["--master-key-file", kept, "keyring", "rotate", "--new-master-key-command", "echo no-key"]);
    refused(&malformed, 2, &["--master-key-command", "32 bytes"]);
    assert_eq!(records(kept).code, 0, "a refused rotation changed something");

    // One old key file in today's keyring opens nothing.
    fs::copy(before.join("tenants/1"), installation.data().join("keyring/tenants/1")).unwrap();
    assert_eq!(records(kept).code, 1);
}

/// An export is the operator's alone, is told in the log before it is made, and never overwrites a file.
#[test]
fn an_export_is_made_once_and_told() {
    let installation = ready();
    let file = installation.beside("keyring.export");
    let path = file.to_str().unwrap();
    let export = installation.result(&["keyring", "export", "--to", path, "--expires", "40d"]);
    assert_eq!((export["file"].as_str(), export["bytes"].as_u64()), (Some(path), Some(fs::metadata(&file).unwrap().len())));
    let entries = installation.result(&["audit", "tail"]);
    let told = entries["items"].as_array().unwrap().iter().map(|entry| &entry["entry"]).find(|entry| entry["action"] == "keyring exported");
    let digest = ring::digest::digest(&ring::digest::SHA256, &fs::read(&file).unwrap());
    assert_eq!(told.unwrap()["commitment"], data_encoding::HEXLOWER.encode(digest.as_ref()));
    let bytes = fs::read(&file).unwrap();
    refused(&installation.run(&["keyring", "export", "--to", path]), 1, &["never overwrites"]);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    refused(&installation.run(&["keyring", "export", "--to", "/nowhere/at/all"]), 1, &["does not exist"]);
    refused(&installation.run(&["keyring", "export", "--to", path, "--expires", "91d"]), 2, &["1 to 90"]);
}
