//! Signing keys that change while instances run.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_admission::Signer;
use flashsale_proto::waitingroom::{GetAdmissionKeysRequest, GetPositionRequest, Outlook};
use flashsale_testbed::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::world::{Instance, World};

/// A private key as JSON, signing or only verifying.
fn key(signer: &Signer, signs: bool) -> Value {
    let set: Value = serde_json::from_str(&signer.to_private_jwks()).unwrap();
    let mut key = set["keys"][0].clone();
    if !signs {
        key.as_object_mut().unwrap().remove("use");
    }
    key
}

fn kid(key: &Value) -> String {
    key["kid"].as_str().unwrap().to_owned()
}

fn write(folder: &TempDir, keys: &[Value]) {
    let (file, beside) = (folder.path().join("keys.json"), folder.path().join("partial"));
    std::fs::write(&beside, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(&beside, &file).unwrap();
}

/// A ticket of a new buyer, and the key it is signed with.
async fn ticket(instance: &Instance, sale: Uuid) -> (String, String) {
    let joined = instance.join(sale, &Uuid::new_v4().to_string()).await.unwrap();
    let head = URL_SAFE_NO_PAD.decode(joined.ticket.split('.').next().unwrap()).unwrap();
    (joined.ticket, kid(&serde_json::from_slice(&head).unwrap()))
}

/// Waits until an instance has these keys in use, the first of those that sign above all.
async fn has(instance: &Instance, sale: Uuid, keys: &[Value]) {
    let signs = kid(keys.iter().find(|key| !key["use"].is_null()).unwrap());
    let known: BTreeSet<String> = keys.iter().map(kid).collect();
    eventually("the keys are in use", || async {
        let jwks =
            instance.room.clone().get_admission_keys(GetAdmissionKeysRequest {}).await.unwrap();
        let jwks: Value = serde_json::from_str(&jwks.into_inner().jwks_json).unwrap();
        let published: BTreeSet<String> =
            jwks["keys"].as_array().unwrap().iter().map(kid).collect();
        (published == known && ticket(instance, sale).await.1 == signs).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rotation_loses_no_ticket() {
    let world = World::open(100_000.0).await;
    let new = Signer::generate().unwrap();
    let steps = [
        vec![key(&world.signer, true)],
        vec![key(&new, false), key(&world.signer, true)],
        vec![key(&new, true), key(&world.signer, false)],
        vec![key(&new, true)],
    ];
    // One instance has each step at once, the other a step behind.
    let late_folder = tempfile::tempdir().unwrap();
    write(&late_folder, &steps[0]);
    let late = world.instance_in(&late_folder).await;
    let early = &world.one;
    for (step, keys) in steps.iter().enumerate().skip(1) {
        write(world.folder(), keys);
        has(early, world.sale, keys).await;
        for (issuer, reader) in [(early, &late), (&late, early)] {
            let (ticket, _) = ticket(issuer, world.sale).await;
            let read = reader.room.clone().get_position(GetPositionRequest { ticket }).await;
            let position = read.unwrap().into_inner().position.unwrap();
            assert!(
                matches!(position.outlook(), Outlook::Waiting | Outlook::Admitted),
                "step {step}: {position:?}"
            );
        }
        write(&late_folder, keys);
        has(&late, world.sale, keys).await;
    }

    // A file that is broken leaves the keys as they were.
    std::fs::write(world.folder().path().join("keys.json"), "{").unwrap();
    has(early, world.sale, &steps[3]).await;
}
