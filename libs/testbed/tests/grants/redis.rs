//! What Redis grants.

use std::{collections::BTreeSet, fs, path::Path};

use flashsale_testbed::{Reply, ask_redis, grants::Grants};

const SALE: &str = "fs:{6f1c9a52-31c1-4a2b-9a0e-7f0d4f4f9a11}";

/// Whether the server would have this user run a command.
async fn may(port: u16, user: &str, command: &[&str]) -> bool {
    let asked = [&["ACL", "DRYRUN", user], command].concat();
    match ask_redis(port, &asked).await {
        Ok(Reply::Text(answer)) if answer == "OK" => true,
        // Why not.
        Ok(Reply::Text(answer)) if answer.contains("no permissions") => false,
        other => panic!("{user} {command:?}: {other:?}"),
    }
}

/// The keys that docs/stores.md names, and what no service may touch.
fn keys() -> Vec<String> {
    let list = &Grants::list().redis.users;
    let patterns = list.values().flat_map(|user| &user.keys);
    let known = patterns.map(|pattern| pattern.replacen("fs:{*}", SALE, 1));
    let others = ["fs:other", "other", "fs:6f1c9a52:meta"].map(str::to_owned);
    known.chain(others).chain([format!("{SALE}:other")]).collect()
}

#[tokio::test]
async fn users_reach_their_keys_and_no_others() {
    let redis = flashsale_testbed::redis().await;
    let port = redis.server.port();
    for (name, user) in &Grants::list().redis.users {
        let has = |command: &str| user.commands.iter().any(|one| one == command);
        let any = user.reads.iter().any(|pattern| pattern == "fs:{*}:*");
        for key in keys() {
            let pattern = key.replacen(SALE, "fs:{*}", 1);
            let writes = user.keys.contains(&pattern);
            let reads = writes || user.reads.contains(&pattern) || any && key.starts_with(SALE);
            for (command, words, may_it) in [
                ("hset", &["HSET", &key, "f", "v"][..], writes),
                ("zadd", &["ZADD", &key, "1", "v"], writes),
                ("set", &["SET", &key, "v"], writes),
                ("del", &["DEL", &key], writes),
                ("hget", &["HGET", &key, "f"], reads),
                ("hexists", &["HEXISTS", &key, "f"], reads),
                ("hgetall", &["HGETALL", &key], reads),
                ("type", &["TYPE", &key], reads),
                // What the script does there is looked at as above.
                ("evalsha", &["EVALSHA", "sha", "1", &key], reads),
                ("eval_ro", &["EVAL_RO", "return 1", "1", &key], reads),
            ] {
                let expected = has(command) && may_it;
                assert_eq!(may(port, name, words).await, expected, "{name}: {words:?}");
            }
        }
    }
}

#[tokio::test]
async fn users_run_no_commands_of_operators() {
    let redis = flashsale_testbed::redis().await;
    let key = format!("{SALE}:meta");
    for user in Grants::list().redis.users.keys() {
        for command in [
            &["FLUSHALL"][..],
            &["FLUSHDB"],
            &["KEYS", "*"],
            &["SCAN", "0"],
            &["DEBUG", "SLEEP", "1"],
            &["CONFIG", "GET", "*"],
            &["CONFIG", "SET", "maxmemory", "1"],
            &["ACL", "LIST"],
            &["ACL", "SETUSER", "mine"],
            &["SHUTDOWN"],
            &["REPLICAOF", "NO", "ONE"],
            &["CLUSTER", "FAILOVER"],
            &["CLIENT", "KILL", "127.0.0.1:1"],
            &["CLIENT", "PAUSE", "1000"],
            &["MONITOR"],
            &["EVAL", "return 1", "0"],
            &["FUNCTION", "LOAD", "x"],
            &["SCRIPT", "KILL"],
            &["PUBLISH", "c", "m"],
            &["SUBSCRIBE", "c"],
            &["RENAME", &key, &key],
            &["COPY", &key, &key],
            &["DUMP", &key],
            &["EXPIRE", &key, "1"],
        ] {
            assert!(!may(redis.server.port(), user, command).await, "{user}: {command:?}");
        }
    }
}

/// The commands that the scripts of a service call.
fn called(service: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services").join(service);
    let files = fs::read_dir(folder.join("lua")).unwrap().map(|file| file.unwrap().path());
    let mut called = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for call in text.split("call('").skip(1) {
            called.insert(call.split('\'').next().unwrap().to_lowercase());
        }
    }
    called
}

/// What only scripts of the version before call: its instances are served while the new ones roll
/// out.
const CALLED_BEFORE: [(&str, &str); 1] = [("inventory", "hgetall")];

#[test]
fn commands_are_those_that_scripts_call() {
    let sent = ["evalsha", "script|load", "script|flush"].map(str::to_owned);
    for service in ["inventory", "waiting-room"] {
        let granted: BTreeSet<String> =
            Grants::list().redis.users[service].commands.iter().cloned().collect();
        let before = CALLED_BEFORE.iter().filter(|(of, _)| *of == service);
        let before = before.map(|(_, command)| (*command).to_owned());
        let wanted: BTreeSet<String> =
            called(service).into_iter().chain(sent.clone()).chain(before).collect();
        assert_eq!(granted, wanted, "{service}");
    }
}

#[test]
fn every_key_has_one_writer() {
    let users = &Grants::list().redis.users;
    let all: Vec<&String> = users.values().flat_map(|user| &user.keys).collect();
    let once: BTreeSet<&String> = all.iter().copied().collect();
    assert_eq!(all.len(), once.len());
    // A pattern must not match another one's keys: what stands behind a sale's tag is literal.
    for key in all {
        assert!(key.replacen("fs:{*}:", "fs:", 1).chars().all(|c| c.is_alphanumeric() || c == ':'));
    }
}
