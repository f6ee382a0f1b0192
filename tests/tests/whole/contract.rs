//! What the contract promises as a whole.

use std::collections::BTreeSet;

use flashsale_errors::Reason;
use flashsale_proto::waitingroom::{
    RunDrawRequest, waiting_room_admin_service_client::WaitingRoomAdminServiceClient,
};
use flashsale_testbed::{assert_failure, eventually};
use nix::sys::signal::{Signal, kill};

use crate::command::{Flashsale, channel, repository};

/// The calls of the contract that are not built yet.
const NOT_BUILT: [&str; 1] = ["RunDraw"];

#[test]
fn contract_marks_unbuilt_calls() {
    let mut said = BTreeSet::new();
    for package in ["sale", "inventory", "waitingroom", "checkout", "order", "payment"] {
        let folder = repository().join("proto/flashsale").join(package).join("v1");
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let mut comment = String::new();
            for line in text.lines().map(str::trim) {
                if let Some(words) = line.strip_prefix("//") {
                    comment.push_str(words);
                } else {
                    if let Some(call) = line.strip_prefix("rpc ")
                        && comment.contains("Not built yet")
                    {
                        said.insert(call.split('(').next().unwrap().to_owned());
                    }
                    comment.clear();
                }
            }
        }
    }
    assert_eq!(said, NOT_BUILT.into_iter().map(str::to_owned).collect());
}

#[tokio::test]
async fn unbuilt_calls_answer_not_implemented() {
    let mut up = Flashsale::start(&["up"]);
    let about = eventually("up has written down where it is", || {
        let file = up.home().join("up.json");
        async move {
            serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(file).ok()?).ok()
        }
    })
    .await;
    let channel = channel(&about).await;
    let request_id = uuid::Uuid::new_v4().to_string();
    let sale_id = about["sale_id"].as_str().unwrap().to_owned();
    let mut rooms = WaitingRoomAdminServiceClient::new(channel);
    let draw = RunDrawRequest { request_id, sale_id };
    assert_failure(&rooms.run_draw(draw).await.unwrap_err(), Reason::NotImplemented);

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
    assert!(said.contains("buf curl"), "the calls to try were not printed:\n{said}");
    assert_eq!(up.left_running(), Vec::<String>::new());
}
