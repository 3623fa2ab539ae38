//! A directory whose key, keyring or owner is not what it should be is refused, with words that say what to do.

use std::fs;
use std::path::Path;

use data_encoding::BASE64;

use crate::support::installation::Ended;
use crate::support::installation::Installation;

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
