//! Rotations: what they leave of older copies, and that no crash locks anybody out.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::*;

fn new_master() -> MasterKey {
    MasterKey::new(Secret::new([9; 32]))
}

fn open_new(dir: &Path) -> Result<Vault, VaultError> {
    Vault::open(dir, &new_master(), Entropy::system(), clock())
}

fn rotate(vault: &Vault) -> Result<(), VaultError> {
    vault.rotation_finish(vault.rotation_begin()?, &new_master())
}

fn all_open(vault: &Vault, sealed: &BTreeMap<ConnectionKey, Sealed>) -> bool {
    [A, B, C].iter().all(|owner| sealed[owner].opens(vault, *owner) == [true; 5])
}

/// The running vault goes on, keys handed out before included; the next opening needs the new master key.
#[test]
fn a_rotation_changes_everything_but_what_is_sealed() {
    let (dir, sealed) = furnished();
    let vault = open(dir.path()).unwrap();
    let held = vault.connection(A).unwrap();
    let before: BTreeMap<_, _> = files(dir.path()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    rotate(&vault).unwrap();
    assert!(vault.is_under(&new_master()).unwrap() && !vault.is_under(&master()).unwrap());
    assert!(all_open(&vault, &sealed));
    assert_eq!(held.open(Purpose::Row, b"key", &sealed[&A].row).unwrap().expose(), PLAIN);
    let after = files(dir.path());
    assert_eq!(before.keys().cloned().collect::<Vec<_>>(), after, "the same files, and nothing beside them");
    let unchanged = after.iter().filter(|path| before[*path] == fs::read(path).unwrap()).collect::<Vec<_>>();
    assert_eq!(unchanged, [&dir.path().join("keyring/destroyed")]);

    vault.connection_destroy(B).unwrap();
    vault.extent_create(A, Some(15)).unwrap();
    vault.signing_rotate(SigningUse::Note).unwrap();
    drop(vault);
    assert!(matches!(open(dir.path()), Err(VaultError::WrongMaster)));
    let vault = open_new(dir.path()).unwrap();
    assert_eq!([A, B, C].map(|owner| sealed[&owner].opens(&vault, owner)), [[true; 5], [false; 5], [true; 5]]);
    vault.signing_key(SigningUse::Statement).unwrap();
}

/// Goal: no file of before a rotation is of use to whoever has the new master key and everything of after; with one file of
/// before in the place of today's, nothing that hangs on it opens. Method: each file of before, in turn, put back.
#[test]
fn files_of_before_are_worth_nothing() {
    let (dir, sealed) = furnished();
    let before = tempfile::tempdir().unwrap();
    copy(dir.path(), before.path());
    let vault = open(dir.path()).unwrap();
    // What is destroyed lies on the medium below the file system, and is found there.
    vault.connection_destroy(A).unwrap();
    vault.extents_destroy(B, &[0]).unwrap();
    rotate(&vault).unwrap();
    drop(vault);
    for name in ["root", "tenants/1", "connections/1-1", "connections/1-2", "credentials/1-1", "signing"] {
        let today = tempfile::tempdir().unwrap();
        copy(dir.path(), today.path());
        // Even the list is gone: nothing but the keys themselves keeps it from opening.
        fs::write(today.path().join("keyring/destroyed"), b"").unwrap();
        fs::copy(before.path().join("keyring").join(name), today.path().join("keyring").join(name)).unwrap();
        let Ok(vault) = open_new(today.path()) else {
            assert_eq!(name, "root");
            continue;
        };
        assert_eq!(sealed[&A].opens(&vault, A), [false; 5], "{name}");
        assert!(!sealed[&B].opens(&vault, B)[1], "{name}");
        assert!(name != "signing" || vault.signing_key(SigningUse::Note).is_err());
    }
    // The whole of before, under the old master key: that is what the old master key must be destroyed for.
    assert!(all_open(&open(before.path()).unwrap(), &sealed));
    assert!(matches!(open_new(before.path()), Err(VaultError::WrongMaster)));
}

/// Goal: at any step exactly one of the two master keys opens the keyring, with every key in it, and nothing lies about.
/// Method: stop before each step of the file system in turn, then open with both.
#[test]
fn a_crash_in_a_rotation_locks_nobody_out() {
    let (furnished, sealed) = furnished();
    let mut turned = 0;
    // In memory where there is such a file system: each of some hundred stops syncs dozens of files.
    let quick = Some(Path::new("/dev/shm")).filter(|path| path.is_dir()).map_or_else(std::env::temp_dir, Path::to_owned);
    for steps in 0.. {
        let dir = tempfile::tempdir_in(&quick).unwrap();
        copy(furnished.path(), dir.path());
        let keyring = FileKeyring::open(&dir.path().join("keyring"), Entropy::system()).unwrap();
        let fault = keyring.fault();
        let vault = Vault::open_in(Box::new(keyring), &master(), Entropy::system(), clock()).unwrap();
        fault.stop_after(steps);
        let answered = rotate(&vault);
        // The vault that is at work goes on too, whichever way it went, unless files are not where they belong.
        fault.stop_after(i64::MAX);
        assert!(all_open(&vault, &sealed) || matches!(answered, Err(VaultError::TurnUnfinished { .. })), "stopped after {steps}");
        drop(vault);
        let (old, new) = (open(dir.path()), open_new(dir.path()));
        assert!(old.is_ok() != new.is_ok(), "stopped after {steps}: one key, not both and not none");
        turned += u64::from(new.is_ok());
        assert!(new.is_ok() || answered.is_err());
        assert!(old.is_ok() || !matches!(answered, Err(VaultError::Io { .. })) || turned > 1, "stopped after {steps}: {answered:?}");
        assert!(all_open(&old.or(new).unwrap(), &sealed), "stopped after {steps}");
        assert_eq!(files(dir.path()).len(), files(furnished.path()).len(), "stopped after {steps}");
        assert!(!dir.path().join("keyring/next.part").exists() && !dir.path().join("keyring/old").exists());
        if answered.is_ok() {
            break;
        }
    }
    assert!(turned > 20, "the turn has {turned} steps");
}

/// What is made and destroyed between the two halves of a rotation is as it should be afterwards.
#[test]
fn changes_during_a_rotation_are_kept() {
    const D: ConnectionKey = ConnectionKey { tenant: 3, connection: 4 };
    let (dir, mut sealed) = furnished();
    let vault = open(dir.path()).unwrap();
    let rotation = vault.rotation_begin().unwrap();
    vault.tenant_ensure(3).unwrap();
    vault.connection_create(D).unwrap();
    sealed.insert(D, Sealed::make(&vault, D));
    vault.connection_destroy(A).unwrap();
    vault.credential_destroy(B).unwrap();
    vault.extents_destroy(B, &[1]).unwrap();
    vault.tenant_destroy(2).unwrap();
    vault.rotation_finish(rotation, &new_master()).unwrap();
    drop(vault);
    fs::write(dir.path().join("keyring/destroyed"), b"").unwrap();
    let vault = open_new(dir.path()).unwrap();
    assert_eq!(sealed[&A].opens(&vault, A), [false; 5]);
    assert_eq!(sealed[&B].opens(&vault, B), [true, true, false, false, true]);
    assert_eq!(sealed[&C].opens(&vault, C), [false; 5]);
    assert_eq!(sealed[&D].opens(&vault, D), [true; 5]);
}

/// Goal: nobody who uses keys notices a rotation. Method: readers and makers at work, while it turns again and again.
#[test]
fn work_goes_on_during_rotations() {
    let (dir, sealed) = furnished();
    let vault = open(dir.path()).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = || {
            let mut rounds = 0_u64;
            while !ended.load(Ordering::SeqCst) {
                assert!(all_open(&vault, &sealed));
                assert_eq!(vault.highest_numbers().unwrap(), HighestNumbers { tenant: 2, connection: 3 });
                vault.signing_key(SigningUse::Statement).unwrap();
                assert_eq!(vault.public_keys().unwrap().len(), 2);
                vault.signing_origin().unwrap();
                rounds += 1;
            }
            rounds
        };
        let growing = || {
            let mut last = Some(1);
            while !ended.load(Ordering::SeqCst) {
                last = Some(vault.extent_create(C, last).unwrap().0);
                // Read from its file each time.
                vault.connections.write().unwrap().clear();
            }
        };
        let (reads, grows) = (scope.spawn(reading), scope.spawn(growing));
        for _ in 0..5 {
            rotate(&vault).unwrap();
        }
        ended.store(true, Ordering::SeqCst);
        grows.join().unwrap();
        assert!(reads.join().unwrap() > 0);
    });
    assert!(all_open(&open_new(dir.path()).unwrap(), &sealed));
}

/// A key file that a rotation left beside the old one is taken if it opens the keyring, and wiped if it does not; when neither
/// opens it both stay.
#[test]
fn of_two_key_files_the_right_one_stays() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let entropy = Entropy::system();
    fs::create_dir(&dir).unwrap();
    let first = MasterKey::create_beside(&dir, &entropy).unwrap();
    let vault = Vault::create(&dir, &first, Entropy::system(), clock()).unwrap();
    let beside = || MasterKey::read_beside(&dir, &entropy).unwrap().unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // Before the rotation was decided.
    MasterKey::stage_beside(&dir, &entropy).unwrap();
    assert_eq!(beside().expose(), first.expose());
    assert_eq!(names(), ["data", "data.master.key"]);
    // A key file that was cut short.
    fs::write(parent.path().join("data.master.key.new"), "c2hvcnQ").unwrap();
    assert_eq!(beside().expose(), first.expose());
    assert_eq!(names(), ["data", "data.master.key"]);
    // After it was decided, at each step of the exchange.
    let second = MasterKey::stage_beside(&dir, &entropy).unwrap();
    vault.rotation_finish(vault.rotation_begin().unwrap(), &second).unwrap();
    for step in 0..3 {
        let (path, new, old) = (MasterKey::path_beside(&dir).unwrap(), "data.master.key.new", "data.master.key.old");
        let (new, old) = (parent.path().join(new), parent.path().join(old));
        let text = |key: &MasterKey| key.to_base64().expose().clone();
        fs::write(&path, text(&first)).unwrap();
        fs::write(&new, text(&second)).unwrap();
        if step > 0 {
            fs::hard_link(&path, &old).unwrap();
        }
        if step > 1 {
            fs::rename(&new, &path).unwrap();
        }
        assert_eq!(beside().expose(), second.expose(), "step {step}");
        assert_eq!(names(), ["data", "data.master.key"], "step {step}");
    }
    // Neither: the keyring is another's, and nothing is wiped.
    MasterKey::stage_beside(&dir, &entropy).unwrap();
    fs::remove_file(dir.join("keyring/root")).unwrap();
    assert_eq!(beside().expose(), second.expose());
    assert_eq!(names(), ["data", "data.master.key", "data.master.key.new"]);
}
