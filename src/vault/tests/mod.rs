//! The vault as a whole, on real files: what was destroyed never opens, wherever a crash falls.

mod export;
mod rotation;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use data_encoding::BASE64;
use data_encoding::HEXLOWER;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::ids::Entropy;
use crate::secret::Secret;

const A: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };
const B: ConnectionKey = ConnectionKey { tenant: 1, connection: 2 };
const C: ConnectionKey = ConnectionKey { tenant: 2, connection: 3 };
const PLAIN: &[u8] = b"order 1001, two lamps";

fn master() -> MasterKey {
    MasterKey::new(Secret::new([7; 32]))
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_second(1_700_000_000).unwrap())
}

fn open(dir: &Path) -> Result<Vault, VaultError> {
    Vault::open(dir, &master(), Entropy::system(), clock())
}

/// Everything sealed under the keys of one connection, as the store and the segments would keep it.
struct Sealed {
    row: Vec<u8>,
    blocks: Vec<(u32, Vec<u8>)>,
    credential: Vec<u8>,
    revoking: Vec<u8>,
}

impl Sealed {
    fn make(vault: &Vault, owner: ConnectionKey) -> Self {
        let row = vault.connection(owner).unwrap().seal(Purpose::Row, b"key", PLAIN).unwrap();
        let mut blocks = Vec::new();
        for _ in 0..2 {
            let (number, extent) = vault.extent_create(owner, blocks.last().map(|(number, _)| *number)).unwrap();
            blocks.push((number, extent.seal_block(b"page", PLAIN.to_vec()).unwrap().as_bytes().to_vec()));
        }
        let credential = vault.credential_seal(owner, 3, PLAIN).unwrap();
        Sealed { row, blocks, credential, revoking: vault.revoking_seal(owner, PLAIN).unwrap() }
    }

    /// Which of row, first block, second block, credential and revoking credential open.
    fn opens(&self, vault: &Vault, owner: ConnectionKey) -> [bool; 5] {
        let block = |index: usize| {
            let (number, sealed) = &self.blocks[index];
            let mut block = sealed.clone();
            vault.extent(owner, *number).and_then(|extent| extent.open_block(b"page", &mut block)).is_ok_and(|()| block == PLAIN)
        };
        [
            vault.connection(owner).and_then(|keys| keys.open(Purpose::Row, b"key", &self.row)).is_ok_and(|row| row.expose() == PLAIN),
            block(0),
            block(1),
            vault.credential_open(owner, 3, &self.credential).is_ok(),
            vault.revoking_open(owner, &self.revoking).is_ok(),
        ]
    }
}

/// A data directory with three connections of two tenants, and what is sealed in them.
fn furnished() -> (TempDir, BTreeMap<ConnectionKey, Sealed>) {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::create(dir.path(), &master(), Entropy::system(), clock()).unwrap();
    for tenant in [1, 2] {
        vault.tenant_ensure(tenant).unwrap();
    }
    let sealed = [A, B, C].map(|owner| {
        vault.connection_create(owner).unwrap();
        (owner, Sealed::make(&vault, owner))
    });
    (dir, sealed.into())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    for folder in ["tenants", "connections", "credentials", "revoking"] {
        fs::create_dir_all(to.join("keyring").join(folder)).unwrap();
    }
}

/// Goal: P4. Everything sealed is from before, the keyring is from after, the master key is known.
#[test]
fn sealed_then_destroyed_never_opens() {
    let (dir, sealed) = furnished();
    let held = {
        let vault = open(dir.path()).unwrap();
        let before = fs::read(dir.path().join("keyring/connections/1-1")).unwrap();
        let (keys, extent) = (vault.connection(A).unwrap(), vault.extent(A, 0).unwrap());
        let gone = vault.connection_destroy(A).unwrap();
        assert_eq!(gone.ids.len(), 1 + 1 + 2, "the connection, a chunk of extents, two secrets");
        assert!(gone.ids[1].ends_with("/0-15"), "{gone:?}");
        assert_eq!(vault.connection_destroy(A).unwrap(), gone, "asked again, the same answer");
        assert!(vault.is_destroyed(A) && !vault.is_destroyed(B));
        let wrapped = &before[40..80];
        for file in files(dir.path()) {
            assert!(!fs::read(&file).unwrap().windows(wrapped.len()).any(|window| window == wrapped), "{file:?}");
        }
        (keys, extent)
    };
    assert!(matches!(held.0.open(Purpose::Row, b"key", &sealed[&A].row), Err(VaultError::Destroyed { .. })));
    assert!(matches!(held.1.seal_block(b"", Vec::new()), Err(VaultError::Destroyed { .. })));

    let vault = open(dir.path()).unwrap();
    assert_eq!(sealed[&A].opens(&vault, A), [false; 5]);
    assert_eq!(sealed[&B].opens(&vault, B), [true; 5]);
    assert!(matches!(vault.connection_create(A), Err(VaultError::Destroyed { .. })));
    drop(vault);

    // Without the list, too: the list makes it known, the keys' absence makes it so.
    fs::write(dir.path().join("keyring/destroyed"), b"").unwrap();
    let vault = open(dir.path()).unwrap();
    assert_eq!(sealed[&A].opens(&vault, A), [false; 5]);
    assert_eq!(sealed[&A].opens(&vault, B), [false; 5]);
}

/// Goal: each act is all or nothing wherever it stops, what was answered holds, and nothing is left lying about.
/// Method: stop before each step of the file system in turn, then open again.
#[test]
fn a_crash_at_any_step_is_finished_at_open() {
    type Act = fn(&Vault) -> Result<(), VaultError>;
    // Of A, what opens when the act has taken place.
    let acts: [(&str, Act, [bool; 5]); 6] = [
        ("connection", |vault| vault.connection_destroy(A).map(drop), [false; 5]),
        ("tenant", |vault| vault.tenant_destroy(1).map(drop), [false; 5]),
        ("credential", |vault| vault.credential_destroy(A).map(drop), [true, true, true, false, true]),
        ("revoking", |vault| vault.revoking_destroy(A).map(drop), [true, true, true, true, false]),
        ("extent", |vault| vault.extents_destroy(A, &[0]).map(drop), [true, false, true, true, true]),
        ("growth", |vault| vault.extent_create(A, Some(15)).map(drop), [true; 5]),
    ];
    let (furnished, sealed) = furnished();
    for (name, act, after) in acts {
        for steps in 0.. {
            let dir = tempfile::tempdir().unwrap();
            copy(furnished.path(), dir.path());
            let keyring = FileKeyring::open(&dir.path().join("keyring"), Entropy::system()).unwrap();
            let fault = keyring.fault();
            let vault = Vault::open_in(Box::new(keyring), &master(), Entropy::system(), clock()).unwrap();
            fault.stop_after(steps);
            let answered = act(&vault).is_ok();
            drop(vault);

            let vault = open(dir.path()).unwrap();
            let opens = sealed[&A].opens(&vault, A);
            assert!(opens == after || (!answered && opens == [true; 5]), "{name} stopped after {steps}: {opens:?}");
            assert_eq!(sealed[&C].opens(&vault, C), [true; 5], "{name} stopped after {steps}");
            let listed = !vault.destroyed_list().unwrap().is_empty();
            assert_eq!(listed, opens != [true; 5], "{name} stopped after {steps}: listed and destroyed are one");
            let left = files(dir.path()).into_iter().filter(|path| path.extension().is_some()).count();
            assert_eq!(left, 0, "{name} stopped after {steps}");
            if answered {
                break;
            }
        }
    }
}

/// What thousands of keys are called on a certificate fits into it, and says how many there were.
#[test]
fn the_keys_of_a_large_tenant_are_counted() {
    let quick = Some(Path::new("/dev/shm")).filter(|path| path.is_dir()).map_or_else(std::env::temp_dir, Path::to_owned);
    let dir = tempfile::tempdir_in(quick).unwrap();
    let vault = Vault::create(dir.path(), &master(), Entropy::system(), clock()).unwrap();
    vault.tenant_ensure(1).unwrap();
    for connection in 1..=250 {
        vault.connection_create(ConnectionKey { tenant: 1, connection }).unwrap();
    }
    let gone = vault.tenant_destroy(1).unwrap();
    assert!(gone.ids[0].starts_with("tenant/") && gone.ids[200] == "and 51 more below them", "{gone:?}");
    assert_eq!(vault.tenant_destroy(1).unwrap(), gone);
}

/// An older keyring that comes back beside today's list loses again what the list names.
#[test]
fn an_older_keyring_loses_what_is_listed() {
    let (dir, sealed) = furnished();
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    let vault = open(dir.path()).unwrap();
    vault.connection_destroy(A).unwrap();
    vault.extents_destroy(B, &[1]).unwrap();
    vault.tenant_destroy(2).unwrap();
    drop(vault);
    fs::copy(dir.path().join("keyring/destroyed"), old.path().join("keyring/destroyed")).unwrap();

    let vault = open(old.path()).unwrap();
    assert_eq!(sealed[&A].opens(&vault, A), [false; 5]);
    assert_eq!(sealed[&B].opens(&vault, B), [true, true, false, true, true]);
    assert_eq!(sealed[&C].opens(&vault, C), [false; 5]);
    assert!(!old.path().join("keyring/connections/1-1").exists() && !old.path().join("keyring/tenants/2").exists());
    assert_eq!(vault.highest_numbers().unwrap(), HighestNumbers { tenant: 2, connection: 3 });
}

/// Tenant, connection, extent, generation, purpose and place are part of what is sealed, and so is every byte.
#[test]
fn nothing_opens_in_another_place() {
    let (dir, sealed) = furnished();
    let vault = open(dir.path()).unwrap();
    let keys = vault.connection(A).unwrap();
    let refused = |opened: Result<Secret<Vec<u8>>, VaultError>| matches!(opened, Err(VaultError::Unopened { .. }));
    for other in [B, C] {
        assert!(refused(vault.connection(other).unwrap().open(Purpose::Row, b"key", &sealed[&A].row)));
        assert!(refused(vault.credential_open(other, 3, &sealed[&A].credential)));
    }
    assert!(refused(keys.open(Purpose::Lineage, b"key", &sealed[&A].row)));
    assert!(refused(keys.open(Purpose::Row, b"kez", &sealed[&A].row)));
    assert!(refused(vault.credential_open(A, 4, &sealed[&A].credential)));
    for index in 0..sealed[&A].row.len() {
        let mut altered = sealed[&A].row.clone();
        altered[index] ^= 1;
        assert!(refused(keys.open(Purpose::Row, b"key", &altered)), "byte {index}");
        assert!(refused(keys.open(Purpose::Row, b"key", &sealed[&A].row[..index])), "cut to {index}");
    }
    let mut block = sealed[&A].blocks[0].1.clone();
    assert!(vault.extent(A, 1).unwrap().open_block(b"page", &mut block).is_err() && block.is_empty());
    drop(vault);

    // A key file under another's name.
    fs::copy(dir.path().join("keyring/connections/1-1"), dir.path().join("keyring/connections/1-2")).unwrap();
    let vault = open(dir.path()).unwrap();
    assert!(matches!(vault.connection(B), Err(VaultError::Malformed { .. })));
}

/// Parts are told apart by their lengths, and hashes by purpose and connection.
#[test]
fn keyed_hashes_are_told_apart() {
    let (dir, _) = furnished();
    let vault = open(dir.path()).unwrap();
    let (a, b) = (vault.connection(A).unwrap(), vault.connection(B).unwrap());
    let hashes =
        [a.index_hmac(&[b"ab", b"c"]), a.index_hmac(&[b"a", b"bc"]), a.commitment_hmac(&[b"ab", b"c"]), b.index_hmac(&[b"ab", b"c"])];
    assert!(hashes.iter().enumerate().all(|(index, hash)| !hashes[..index].contains(hash)));
    assert_eq!(hashes[0], open(dir.path()).unwrap().connection(A).unwrap().index_hmac(&[b"ab", b"c"]));
}

/// Goal: no key lies plain in any file, as bytes, hex or base64.
#[test]
fn no_file_holds_a_plain_key() {
    let (dir, _) = furnished();
    let vault = open(dir.path()).unwrap();
    let mut keys = vault.plain_keys(&[A, B, C]);
    keys.push(*master().expose());
    assert_eq!(keys.len(), 1 + 2 + 3 * (1 + 16) + 1);
    for file in files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        for key in &keys {
            for form in [key.to_vec(), HEXLOWER.encode(key).into_bytes(), BASE64.encode(key).into_bytes()] {
                assert!(!bytes.windows(form.len()).any(|window| window == form), "{file:?}");
            }
        }
    }
}

/// Wherever the making of a keyring stops it can be made again.
#[test]
fn a_crash_in_creation_locks_nobody_out() {
    for steps in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let keyring = FileKeyring::create(&dir.path().join("keyring"), Entropy::system()).unwrap();
        let fault = keyring.fault();
        fault.stop_after(steps);
        let made = Vault::create_in(Box::new(keyring), &master(), Entropy::system(), clock());
        let Ok(vault) = made else {
            let again = Vault::create(dir.path(), &master(), Entropy::system(), clock()).map(drop);
            again.or_else(|_| open(dir.path()).map(drop)).unwrap();
            continue;
        };
        drop(vault);
        open(dir.path()).unwrap();
        break;
    }
}

/// Threads that ask for extents and keys at once get the same ones, and none is lost from the file.
#[test]
fn extents_are_made_once() {
    let (dir, _) = furnished();
    let vault = open(dir.path()).unwrap();
    let walk = || {
        let mut last = None;
        std::iter::repeat_with(|| {
            let (number, _) = vault.extent_create(B, last).unwrap();
            last = Some(number);
            number
        })
        .take(40)
        .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let walks = [scope.spawn(walk), scope.spawn(walk), scope.spawn(walk)];
        for numbers in walks.map(|walk| walk.join().unwrap()) {
            assert_eq!(numbers, (0..40).collect::<Vec<_>>());
        }
    });
    let mut block = vault.extent(B, 39).unwrap().seal_block(b"", PLAIN.to_vec()).unwrap().as_bytes().to_vec();
    open(dir.path()).unwrap().extent(B, 39).unwrap().open_block(b"", &mut block).unwrap();
    assert_eq!(block, PLAIN);
    assert!(matches!(vault.extent(B, 48), Err(VaultError::NoKey { .. })));
    vault.extents_destroy(B, &[39]).unwrap();
    assert!(matches!(vault.extent(B, 39), Err(VaultError::Destroyed { .. })));
    assert_eq!(vault.extent_create(B, Some(38)).unwrap().0, 40, "a number does not come again");
}

/// A missing keyring, a damaged file and a second creation are told apart, and say what to do.
#[test]
fn what_is_wrong_with_a_keyring_is_said() {
    let (dir, _) = furnished();
    assert!(matches!(Vault::create(dir.path(), &master(), Entropy::system(), clock()), Err(VaultError::Present { .. })));
    let path = dir.path().join("keyring/connections/1-1");
    let whole = fs::read(&path).unwrap();
    let vault = open(dir.path()).unwrap();
    for index in 0..whole.len() {
        let mut altered = whole.clone();
        altered[index] ^= 0x10;
        fs::write(&path, altered).unwrap();
        assert!(matches!(vault.connection(A), Err(VaultError::Corrupt { .. })), "byte {index}");
    }
    vault.connection_destroy(A).expect("a key whose file is damaged can still be destroyed");
    drop(vault);
    fs::remove_file(dir.path().join("keyring/root")).unwrap();
    assert!(matches!(open(dir.path()), Err(VaultError::Missing { .. })));
}

/// A list whose last entry was cut loses that entry and grows on; one that is damaged before its end is refused.
#[test]
fn a_torn_list_is_told_from_a_damaged_one() {
    let (dir, _) = furnished();
    let clock = clock();
    let vault = Vault::open(dir.path(), &master(), Entropy::system(), clock.clone()).unwrap();
    let later = |seconds| clock.set(clock.now() + jiff::SignedDuration::from_secs(seconds));
    vault.credential_destroy(A).unwrap();
    later(1);
    vault.credential_destroy(B).unwrap();
    let list = dir.path().join("keyring/destroyed");
    let whole = fs::read(&list).unwrap();
    let half = whole.len() / 2;
    for cut in half..whole.len() {
        fs::write(&list, &whole[..cut]).unwrap();
        assert_eq!(vault.destroyed_list().unwrap().len(), 1, "cut to {cut}");
    }
    later(1);
    vault.credential_destroy(C).unwrap();
    assert_eq!(vault.destroyed_list().unwrap().len(), 2);
    later(1);
    vault.connection_destroy(B).unwrap();
    let mut damaged = fs::read(&list).unwrap();
    assert!(damaged.len() > 2 * half && damaged.len().is_multiple_of(half), "what was torn is gone before the list grows");
    damaged[half / 2] ^= 1;
    fs::write(&list, &damaged).unwrap();
    assert!(matches!(vault.destroyed_list(), Err(VaultError::Corrupt { .. })));
    drop(vault);
    assert!(matches!(open(dir.path()), Err(VaultError::Corrupt { .. })));
}

/// The master key beside the data directory is its owner's alone, reads back, and is never made twice.
#[test]
fn a_master_key_is_kept_beside() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    fs::create_dir(&dir).unwrap();
    assert!(MasterKey::read_beside(&dir, &Entropy::system()).unwrap().is_none());
    let made = MasterKey::create_beside(&dir, &Entropy::system()).unwrap();
    let path = parent.path().join("data.master.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(MasterKey::read_beside(&dir, &Entropy::system()).unwrap().unwrap().expose(), made.expose());
    assert!(MasterKey::create_beside(&dir, &Entropy::system()).is_err());
    for malformed in ["", "AAAA", &BASE64.encode(&[0; 33]), "hunter2"] {
        assert!(matches!(MasterKey::from_base64(malformed), Err(VaultError::MasterMalformed)));
    }
}

/// A retired signing key stays listed, and the one in its place signs.
#[test]
fn signing_keys_are_replaced_and_stay_listed() {
    let (dir, _) = furnished();
    let vault = open(dir.path()).unwrap();
    let (old, note) = (vault.signing_key(SigningUse::Statement).unwrap(), vault.signing_key(SigningUse::Note).unwrap());
    vault.signing_rotate(SigningUse::Statement).unwrap();
    let vault = open(dir.path()).unwrap();
    let new = vault.signing_key(SigningUse::Statement).unwrap();
    let listed: Vec<_> = vault.public_keys().unwrap().into_iter().map(|key| (key.key, key.retired_at.is_some())).collect();
    assert_eq!(listed, [(old.public(), true), (note.public(), false), (new.public(), false)]);
    let verifier = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, new.public());
    assert!(verifier.verify(b"message", &new.sign(b"message")).is_ok());
}
