//! The demo is the whole house at work: gateway, shop, browser and proof, through the built binary and real sockets.

use std::process::Command;

use serde_json::Value;

/// The steps, in the order in which they are told.
const STEPS: [&str; 11] = ["start", "connect", "pull", "origin", "key", "changes", "revoke", "keep", "erase", "gone", "certificate"];

/// Every step holds, the exit code says so, and the certificate that is left verifies with the command of its own.
#[test]
fn every_step_of_the_demo_holds() {
    let folder = tempfile::tempdir().unwrap();
    let headgate = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_headgate")).args(arguments).current_dir(folder.path()).output().unwrap();
        let words = [output.stdout.as_slice(), &output.stderr].concat();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&words).into_owned())
    };

    let (code, told, words) = headgate(&["demo", "--once", "--records", "300", "--json"]);
    assert_eq!(code, Some(0), "{words}");
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, steps) = events.split_last().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, STEPS);
    assert!(steps.iter().all(|step| step["held"] == true && step["checks"].as_u64() > Some(0)), "{told}");
    assert_eq!((&end["event"], &end["held"]), (&"end".into(), &true.into()));

    let (certificate, keys) = ("headgate-demo-certificate.json", "headgate-demo-keys.json");
    let (code, _, words) = headgate(&["certificate", "verify", certificate, "--key", keys]);
    assert_eq!(code, Some(0), "{words}");
    let (code, _, words) = headgate(&["certificate", "verify", certificate]);
    assert_eq!(code, Some(1), "{words}");
}
