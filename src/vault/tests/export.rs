//! Exports and what becomes of them: a keyring that comes back has every key but those that were destroyed since.

use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;

use super::*;

fn later(days: i64) -> Timestamp {
    clock().now().checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

/// An export of a directory, written beside its keyring.
fn exported(dir: &Path) -> PathBuf {
    let path = dir.join("keyring.export");
    open(dir).unwrap().export(later(30)).unwrap().write_to(&path).unwrap();
    path
}

/// Imports into a new directory.
fn imported(export: &Path, destroyed: &Path, master: &MasterKey, now: Timestamp) -> Result<(TempDir, Imported), VaultError> {
    let dir = tempfile::tempdir().unwrap();
    let brought = import(dir.path(), export, destroyed, master, now, Entropy::system());
    if brought.is_err() {
        assert!(files(dir.path()).is_empty(), "a refused import leaves nothing");
    }
    brought.map(|brought| (dir, brought))
}

/// What is exported comes back whole; the file is its owner's alone, and is never written over another.
#[test]
fn an_export_brings_every_key_back() {
    let (dir, sealed) = furnished();
    let export = exported(dir.path());
    assert_eq!(fs::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&export).unwrap();
    let again = open(dir.path()).unwrap().export(later(1)).unwrap();
    assert!(matches!(again.write_to(&export), Err(VaultError::ExportPresent { .. })));
    assert_eq!(fs::read(&export).unwrap(), before);
    assert!(!files(dir.path()).iter().any(|path| path.extension().is_some_and(|extension| extension == "part")));

    let (back, brought) = imported(&export, &dir.path().join("keyring/destroyed"), &master(), later(29)).unwrap();
    assert_eq!((brought.keys, brought.left_out, brought.destroyed), (2 + 2 + 3 * 3, 0, 0));
    let vault = open(back.path()).unwrap();
    for owner in [A, B, C] {
        assert_eq!(sealed[&owner].opens(&vault, owner), [true; 5]);
    }
    assert_eq!(vault.signing_origin().unwrap(), open(dir.path()).unwrap().signing_origin().unwrap());
    let second = import(back.path(), &export, &dir.path().join("keyring/destroyed"), &master(), later(29), Entropy::system());
    assert!(matches!(second, Err(VaultError::Present { .. })), "a keyring is never replaced");
}

/// Goal: no destruction is undone by an import. Method: export, destroy keys of every kind, import with the list of after.
#[test]
fn what_was_destroyed_since_does_not_come_back() {
    let (dir, sealed) = furnished();
    let export = exported(dir.path());
    let early = dir.path().join("list-of-then");
    let list = dir.path().join("keyring/destroyed");
    fs::copy(&list, &early).unwrap();
    let vault = open(dir.path()).unwrap();
    vault.connection_destroy(A).unwrap();
    vault.credential_destroy(B).unwrap();
    vault.extents_destroy(B, &[1]).unwrap();
    vault.tenant_destroy(2).unwrap();

    let (back, brought) = imported(&export, &list, &master(), later(1)).unwrap();
    assert_eq!(brought.left_out, 3 + 1 + 4, "a connection, a credential, a tenant with a connection");
    assert_eq!(brought.last_destroyed_at, Some(clock().now()));
    let names = files(back.path()).len();
    assert_eq!(names, brought.keys as usize + 1, "not even a file");
    // The list makes it known, the absence of the keys makes it so.
    fs::write(back.path().join("keyring/destroyed"), b"").unwrap();
    let vault = open(back.path()).unwrap();
    assert_eq!(sealed[&A].opens(&vault, A), [false; 5]);
    assert_eq!(sealed[&B].opens(&vault, B), [true, true, false, false, true]);
    assert_eq!(sealed[&C].opens(&vault, C), [false; 5]);

    // A second export knows of the destructions: the list of before is refused from here on.
    let second = dir.path().join("second.export");
    open(dir.path()).unwrap().export(later(30)).unwrap().write_to(&second).unwrap();
    assert!(matches!(imported(&second, &early, &master(), later(1)), Err(VaultError::ListShort { needed, entries: 0, .. }) if needed > 1));
    // What cannot be known: the list of the export's own day is a list that goes on from it, by nothing.
    let (back, _) = imported(&export, &early, &master(), later(1)).unwrap();
    assert_eq!(sealed[&A].opens(&open(back.path()).unwrap(), A), [true; 5]);
}

/// Each thing that is wrong with an import has its own words, and leaves the directory as it was.
#[test]
fn an_import_is_refused_for_its_reason() {
    let (dir, _) = furnished();
    open(dir.path()).unwrap().credential_destroy(A).unwrap();
    let (export, list) = (exported(dir.path()), dir.path().join("keyring/destroyed"));
    assert!(matches!(imported(&export, &list, &master(), later(30)), Err(VaultError::ExportExpired { .. })));
    let other = MasterKey::new(Secret::new([9; 32]));
    assert!(matches!(imported(&export, &list, &other, later(1)), Err(VaultError::ExportOfOther { .. })));
    assert!(matches!(imported(&export, &dir.path().join("none"), &master(), later(1)), Err(VaultError::Io { .. })));
    assert!(matches!(imported(&export, &export, &master(), later(1)), Err(VaultError::ListDamaged { .. })));
    assert!(matches!(imported(&list, &list, &master(), later(1)), Err(VaultError::ExportDamaged { .. })));

    let (foreign, _) = furnished();
    open(foreign.path()).unwrap().credential_destroy(A).unwrap();
    let foreign = foreign.path().join("keyring/destroyed");
    assert!(matches!(imported(&export, &foreign, &master(), later(1)), Err(VaultError::ListForeign { entry: 1, .. })));

    let whole = fs::read(&export).unwrap();
    let damaged = dir.path().join("damaged");
    let mut refused = 0;
    for index in (0..whole.len()).step_by(7) {
        let mut altered = whole.clone();
        altered[index] ^= 0x10;
        for bytes in [&altered[..], &whole[..index]] {
            fs::write(&damaged, bytes).unwrap();
            assert!(matches!(imported(&damaged, &list, &master(), later(1)), Err(VaultError::ExportDamaged { .. })), "byte {index}");
            refused += 1;
        }
    }
    assert!(refused > 100);
}

/// The date is part of what is sealed: a forged one, with its check made anew, does not open.
#[test]
fn an_expiry_cannot_be_moved() {
    let (dir, _) = furnished();
    let (export, list) = (exported(dir.path()), dir.path().join("keyring/destroyed"));
    let mut bytes = fs::read(&export).unwrap();
    let text = later(30).to_string();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at..at + 4].copy_from_slice(b"2999");
    let guarded = bytes.len() - crate::vault::list::CHECK_BYTES;
    let check = crate::vault::list::check(&bytes[..guarded]);
    bytes[guarded..].copy_from_slice(&check);
    fs::write(&export, bytes).unwrap();
    assert!(matches!(imported(&export, &list, &master(), later(60)), Err(VaultError::ExportDamaged { .. })));
}

/// An import that a crash cut short leaves no keyring, and is done again.
#[test]
fn a_begun_import_is_done_again() {
    let (dir, sealed) = furnished();
    let (export, list) = (exported(dir.path()), dir.path().join("keyring/destroyed"));
    let back = tempfile::tempdir().unwrap();
    copy(dir.path(), back.path());
    fs::rename(back.path().join("keyring"), back.path().join("keyring.part")).unwrap();
    fs::remove_file(back.path().join("keyring.part/root")).unwrap();
    assert!(!Vault::is_in(back.path()));
    import(back.path(), &export, &list, &master(), later(1), Entropy::system()).unwrap();
    assert!(!back.path().join("keyring.part").exists());
    assert_eq!(sealed[&A].opens(&open(back.path()).unwrap(), A), [true; 5]);
}
