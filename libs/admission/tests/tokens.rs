//! Tokens through the public interface: the valid ones, and every kind that must be refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_admission::{
    Admission, KeyRing, KeysError, MAX_TOKEN_BYTES, Signer, Ticket, TicketInvalid, Verdict,
    admission_id,
};
use hmac::{Hmac, Mac as _};
use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

const NOW_MS: i64 = 1_795_000_000_000;
const SALE: Uuid = Uuid::from_u128(7);

fn admission() -> Admission {
    Admission {
        sale_id: SALE,
        buyer_id: "buyer-1".to_owned(),
        number: 42,
        generation: 0,
        expires_at_ms: NOW_MS + 60_000,
        quota: 1,
    }
}

fn ticket() -> Ticket {
    Ticket { sale_id: SALE, buyer_id: "buyer-1".to_owned(), number: 42, generation: 0 }
}

/// The verdict, which must be the same in a batch.
fn verify(ring: &KeyRing, token: &str) -> Result<Admission, Verdict> {
    let alone = ring.verify_admission(token, SALE, "buyer-1", NOW_MS, 0);
    let twice = ring.verify_admissions(&[(token, SALE, "buyer-1"); 2], NOW_MS, 0);
    assert_eq!(twice, [alone.clone(), alone.clone()], "in a batch and alone");
    alone
}

fn encode_json(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn part(token: &str, index: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Signs any header and claims with the signer's own key.
fn sign_raw(signer: &Signer, change: impl Fn(&mut Header, &mut Value)) -> String {
    let keys: Value = serde_json::from_str(&signer.to_private_jwks()).unwrap();
    let seed = URL_SAFE_NO_PAD.decode(keys["keys"][0]["d"].as_str().unwrap()).unwrap();
    let prefix = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let key = EncodingKey::from_ed_der(&[prefix.as_slice(), &seed].concat());
    let good = signer.mint_admission(&admission());
    let mut header: Header = serde_json::from_value(part(&good, 0)).unwrap();
    let mut claims = part(&good, 1);
    change(&mut header, &mut claims);
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

#[test]
fn admission_carries_its_claims() {
    let signer = Signer::generate().unwrap();
    let token = signer.mint_admission(&admission());
    let verified = verify(&KeyRing::from_jwks(&signer.public_jwks()).unwrap(), &token).unwrap();
    assert_eq!(verified, admission());
    assert_eq!(verified.id(), admission_id(SALE, 42, 0));
    assert_eq!(part(&token, 0)["alg"], "EdDSA");
    assert_eq!(part(&token, 0)["typ"], "admission+jwt");
    assert_eq!(part(&token, 1)["aud"], SALE.to_string());
    assert_eq!(part(&token, 1)["sub"], "buyer-1");
    assert_eq!(part(&token, 1)["exp"], (NOW_MS + 60_000) / 1_000);
    assert_eq!(part(&token, 1)["jti"], verified.id());
}

#[test]
fn minting_is_deterministic() {
    let signer = Signer::generate().unwrap();
    assert_eq!(signer.mint_admission(&admission()), signer.mint_admission(&admission()));
    assert_eq!(signer.mint_ticket(&ticket()), signer.mint_ticket(&ticket()));
}

#[test]
fn tickets_and_admissions_are_not_interchangeable() {
    let signer = Signer::generate().unwrap();
    let ring = signer.ring();
    assert_eq!(ring.verify_ticket(&signer.mint_ticket(&ticket())), Ok(ticket()));
    assert_eq!(verify(&ring, &signer.mint_ticket(&ticket())), Err(Verdict::Invalid));
    assert_eq!(ring.verify_ticket(&signer.mint_admission(&admission())), Err(TicketInvalid));
}

#[test]
fn other_token_types_are_refused() {
    let signer = Signer::generate().unwrap();
    for typ in [Some("JWT"), Some("Admission+JWT"), Some("admission+jwt "), Some(""), None] {
        let token = sign_raw(&signer, |header, _| header.typ = typ.map(str::to_owned));
        assert_eq!(verify(&signer.ring(), &token), Err(Verdict::Invalid), "{typ:?}");
    }
    assert!(verify(&signer.ring(), &sign_raw(&signer, |_, _| ())).is_ok());
}

#[test]
fn unknown_key_id_is_invalid() {
    let signer = Signer::generate().unwrap();
    let ring = signer.ring();
    let nameless = sign_raw(&signer, |header, _| header.kid = None);
    assert_eq!(verify(&ring, &nameless), Err(Verdict::Invalid));
    assert_eq!(ring.unknown_key(&nameless), None);
    let renamed = sign_raw(&signer, |header, _| header.kid = Some("other".to_owned()));
    assert_eq!(verify(&ring, &renamed), Err(Verdict::Invalid));
    assert_eq!(ring.unknown_key(&renamed), Some("other".to_owned()));
    assert_eq!(ring.unknown_key(&signer.mint_admission(&admission())), None);
}

#[test]
fn every_claim_is_required() {
    let signer = Signer::generate().unwrap();
    for claim in ["aud", "sub", "exp", "jti", "number", "generation", "quota"] {
        let token = sign_raw(&signer, |_, claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert_eq!(verify(&signer.ring(), &token), Err(Verdict::Invalid), "without {claim}");
    }
    let other_id = sign_raw(&signer, |_, claims| claims["jti"] = json!(admission_id(SALE, 43, 0)));
    assert_eq!(verify(&signer.ring(), &other_id), Err(Verdict::Invalid));
}

#[test]
fn foreign_key_forges_nothing() {
    let (ours, theirs) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    let forged = theirs.mint_admission(&admission());
    assert_eq!(verify(&ours.ring(), &forged), Err(Verdict::Invalid));
    // Also under the name of our key.
    let kid = part(&ours.mint_admission(&admission()), 0)["kid"].as_str().unwrap().to_owned();
    let forged = sign_raw(&theirs, |header, _| header.kid = Some(kid.clone()));
    assert_eq!(verify(&ours.ring(), &forged), Err(Verdict::Invalid));
}

#[test]
fn tokens_of_a_batch_are_independent() {
    let signer = Signer::generate().unwrap();
    let ring = KeyRing::from_jwks(&signer.public_jwks()).unwrap();
    let good = signer.mint_admission(&admission());
    let over = signer.mint_admission(&Admission { expires_at_ms: NOW_MS, ..admission() });
    let forged = sign_raw(&Signer::generate().unwrap(), |header, _| {
        let ours: Value = part(&good, 0);
        header.kid = ours["kid"].as_str().map(str::to_owned);
    });
    // Two swapped signatures are each well formed, and neither belongs to its token.
    let (body, signature) = good.rsplit_once('.').unwrap();
    let (other_body, other_signature) = over.rsplit_once('.').unwrap();
    let swapped = [format!("{body}.{other_signature}"), format!("{other_body}.{signature}")];
    let nonsense = "a.b.c".to_owned();
    for bad in [&forged, &swapped[0], &swapped[1], &nonsense, &String::new()] {
        for (at, expired) in [(0, 2), (1, 0), (2, 1)] {
            let mut tokens = [good.as_str(); 3];
            tokens[at] = bad;
            tokens[expired] = &over;
            let requests = tokens.map(|token| (token, SALE, "buyer-1"));
            let mut expected = [Ok(admission()), Ok(admission()), Ok(admission())];
            expected[at] = Err(Verdict::Invalid);
            expected[expired] = Err(Verdict::Expired);
            assert_eq!(ring.verify_admissions(&requests, NOW_MS, 0), expected, "{bad}");
        }
    }
    let requests =
        [(good.as_str(), SALE, "buyer-1"), (&good, SALE, "buyer-2"), (&over, SALE, "buyer-1")];
    assert_eq!(
        ring.verify_admissions(&requests, NOW_MS, 0),
        [Ok(admission()), Err(Verdict::Foreign), Err(Verdict::Expired)]
    );
    assert_eq!(
        ring.verify_admissions(
            &swapped.each_ref().map(|token| (token.as_str(), SALE, "buyer-1")),
            NOW_MS,
            0
        ),
        [Err(Verdict::Invalid), Err(Verdict::Invalid)]
    );
    assert!(ring.verify_admissions(&[], NOW_MS, 0).is_empty());
}

#[test]
fn other_algorithms_are_refused() {
    let signer = Signer::generate().unwrap();
    let good = signer.mint_admission(&admission());
    let (header, claims) = (part(&good, 0), part(&good, 1));

    for alg in ["none", "None", "HS256", "ES256", "RS256", "EdDsa", ""] {
        let mut header = header.clone();
        header["alg"] = json!(alg);
        let head = format!("{}.{}", encode_json(&header), encode_json(&claims));
        for signature in ["", good.rsplit('.').next().unwrap()] {
            let token = format!("{head}.{signature}");
            assert_eq!(verify(&signer.ring(), &token), Err(Verdict::Invalid), "{alg}");
        }
    }

    // The classic: the public key as the secret of an HMAC.
    let public: Value = serde_json::from_str(&signer.public_jwks()).unwrap();
    let x = public["keys"][0]["x"].as_str().unwrap();
    for secret in [
        URL_SAFE_NO_PAD.decode(x).unwrap(),
        x.as_bytes().to_vec(),
        signer.public_jwks().into_bytes(),
    ] {
        let mut header = header.clone();
        header["alg"] = json!("HS256");
        let head = format!("{}.{}", encode_json(&header), encode_json(&claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(head.as_bytes());
        let token = format!("{head}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(verify(&signer.ring(), &token), Err(Verdict::Invalid));
    }
}

#[test]
fn foreign_takes_precedence_over_expired() {
    let signer = Signer::generate().unwrap();
    let token = signer.mint_admission(&admission());
    let ring = signer.ring();
    for now_ms in [NOW_MS, NOW_MS + 3_600_000] {
        let other_sale = ring.verify_admission(&token, Uuid::from_u128(8), "buyer-1", now_ms, 0);
        assert_eq!(other_sale, Err(Verdict::Foreign));
        let other_buyer = ring.verify_admission(&token, SALE, "buyer-10", now_ms, 0);
        assert_eq!(other_buyer, Err(Verdict::Foreign));
    }
}

#[test]
fn leeway_extends_expiry() {
    let signer = Signer::generate().unwrap();
    let token = signer.mint_admission(&admission());
    let end = NOW_MS + 60_000;
    for (now_ms, leeway_ms, good) in [
        (end - 1, 0, true),
        (end, 0, false),
        (end, 5_000, true),
        (end + 4_999, 5_000, true),
        (end + 5_000, 5_000, false),
    ] {
        let verdict = signer.ring().verify_admission(&token, SALE, "buyer-1", now_ms, leeway_ms);
        assert_eq!(verdict.err(), (!good).then_some(Verdict::Expired), "{now_ms} with {leeway_ms}");
    }
}

#[test]
fn rotated_key_verifies_until_removed() {
    let old = Signer::generate().unwrap();
    let new = Signer::from_jwks(&old.rotated().unwrap().to_private_jwks()).unwrap();
    let (by_old, by_new) = (old.mint_admission(&admission()), new.mint_admission(&admission()));
    assert_ne!(part(&by_old, 0)["kid"], part(&by_new, 0)["kid"]);

    let ring = KeyRing::from_jwks(&old.public_jwks()).unwrap();
    let clone = ring.clone();
    assert_eq!(verify(&clone, &by_new), Err(Verdict::Invalid));
    ring.replace(&new.public_jwks()).unwrap();
    assert!(verify(&clone, &by_old).is_ok());
    assert!(verify(&clone, &by_new).is_ok());

    let mut keys: Value = serde_json::from_str(&new.to_private_jwks()).unwrap();
    keys["keys"].as_array_mut().unwrap().truncate(1);
    ring.replace(&Signer::from_jwks(&keys.to_string()).unwrap().public_jwks()).unwrap();
    assert_eq!(verify(&clone, &by_old), Err(Verdict::Invalid));
    assert!(verify(&clone, &by_new).is_ok());
}

#[test]
fn unreadable_key_set_keeps_the_ring() {
    let signer = Signer::generate().unwrap();
    let ring = signer.ring();
    for bad in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"a","k":"AA"}]}"#]
    {
        assert!(ring.replace(bad).is_err(), "{bad}");
    }
    assert!(verify(&ring, &signer.mint_admission(&admission())).is_ok());
    assert_eq!(
        verify(&KeyRing::empty(), &signer.mint_admission(&admission())),
        Err(Verdict::Invalid)
    );
}

#[test]
fn public_set_has_no_private_parts() {
    let signer = Signer::generate().unwrap().rotated().unwrap();
    let private: Value = serde_json::from_str(&signer.to_private_jwks()).unwrap();
    let public = signer.public_jwks();
    for key in private["keys"].as_array().unwrap() {
        let d = key["d"].as_str().unwrap();
        assert!(!public.contains(d));
        assert!(!format!("{signer:?}").contains(d));
    }
    let public: Value = serde_json::from_str(&public).unwrap();
    for key in public["keys"].as_array().unwrap() {
        assert!(key.get("d").is_none());
        assert_eq!(
            (&key["kty"], &key["crv"], &key["alg"]),
            (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
        );
    }
}

#[test]
fn unusable_private_set_names_the_cause() {
    let signer = Signer::generate().unwrap();
    let private = signer.to_private_jwks();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut keys: Value = serde_json::from_str(&private).unwrap();
        change(&mut keys["keys"]);
        Signer::from_jwks(&keys.to_string()).err()
    };
    let kid = serde_json::from_str::<Value>(&private).unwrap()["keys"][0]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(with(&|_| ()), None);
    assert_eq!(Signer::from_jwks(&signer.public_jwks()).err(), Some(KeysError::NoSigningKey));
    assert_eq!(with(&|keys| keys[0]["use"] = json!("enc")), Some(KeysError::NoSigningKey));
    assert_eq!(with(&|keys| keys[0]["kid"] = json!("")), Some(KeysError::NoKid { position: 1 }));
    assert_eq!(
        with(&|keys| keys[0]["crv"] = json!("Ed448")),
        Some(KeysError::NotEd25519 { kid: kid.clone() })
    );
    assert_eq!(
        with(&|keys| keys[0]["d"] = json!("AAAA")),
        Some(KeysError::Malformed { kid: kid.clone() })
    );
    let other = URL_SAFE_NO_PAD.encode([9; 32]);
    assert_eq!(
        with(&|keys| keys[0]["d"] = json!(other)),
        Some(KeysError::Malformed { kid: kid.clone() })
    );
    let twice = |keys: &mut Value| {
        let key = keys[0].clone();
        keys.as_array_mut().unwrap().push(key);
    };
    assert_eq!(with(&twice), Some(KeysError::RepeatedKid { kid }));
    let secret = "c2VjcmV0";
    let broken = format!("{{\"keys\":[{{\"d\":\"{secret}\",\"kid\":7}}]}}");
    assert!(!Signer::from_jwks(&broken).err().unwrap().to_string().contains(secret));
}

#[test]
fn key_from_another_tool_is_read() {
    // RFC 8037, appendix A.
    let keys = json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "rfc",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }]});
    let signer = Signer::from_jwks(&keys.to_string()).unwrap();
    assert!(verify(&signer.ring(), &signer.mint_admission(&admission())).is_ok());
}

#[test]
fn oversized_token_is_refused() {
    let signer = Signer::generate().unwrap();
    let ring = signer.ring();
    let long = Ticket { buyer_id: "b".repeat(MAX_TOKEN_BYTES), ..ticket() };
    assert_eq!(ring.verify_ticket(&signer.mint_ticket(&long)), Err(TicketInvalid));
    let long = Admission { buyer_id: "b".repeat(MAX_TOKEN_BYTES), ..admission() };
    assert_eq!(ring.read_admission(&signer.mint_admission(&long)), Err(Verdict::Invalid));
    // The longest buyer id of the contract fits, four bytes a character.
    let longest =
        Ticket { buyer_id: "🛒".repeat(128), number: i64::MAX, generation: u32::MAX, ..ticket() };
    assert_eq!(ring.verify_ticket(&signer.mint_ticket(&longest)), Ok(longest));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn truncated_token_is_invalid(cut in 0_usize..10_000) {
        let signer = Signer::generate().unwrap();
        let token = signer.mint_admission(&admission());
        let cut = &token[..cut % token.len()];
        prop_assert_eq!(verify(&signer.ring(), cut), Err(Verdict::Invalid));
    }

    #[test]
    fn altered_token_is_invalid(at in 0_usize..10_000, to in any::<u8>()) {
        let signer = Signer::generate().unwrap();
        let token = signer.mint_admission(&admission());
        let mut bytes = token.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(changed) = String::from_utf8(bytes) && changed != token {
            prop_assert_eq!(verify(&signer.ring(), &changed), Err(Verdict::Invalid));
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(token in "\\PC{0,3000}") {
        let ring = Signer::generate().unwrap().ring();
        prop_assert_eq!(verify(&ring, &token), Err(Verdict::Invalid));
        prop_assert_eq!(ring.verify_ticket(&token), Err(TicketInvalid));
        prop_assert_eq!(ring.unknown_key(&token), None);
    }

    #[test]
    fn minted_tokens_round_trip(buyer in "[^\\p{C}]{1,128}", number in 1_i64.., generation in any::<u32>(), seconds in 1_i64..4_000_000_000) {
        let signer = Signer::generate().unwrap();
        let minted = Admission { buyer_id: buyer, number, generation, expires_at_ms: seconds * 1_000, ..admission() };
        let token = signer.mint_admission(&minted);
        prop_assert_eq!(signer.ring().read_admission(&token), Ok(minted));
    }
}
