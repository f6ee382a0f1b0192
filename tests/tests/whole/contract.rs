//! What the contract promises as a whole.

use std::collections::BTreeSet;

use flashsale_errors::Reason;
use flashsale_proto::{
    sale::{
        PauseSaleRequest, ScheduleSaleRequest, UpdateSaleRequest,
        sale_service_client::SaleServiceClient,
    },
    waitingroom::{
        RunDrawRequest, waiting_room_admin_service_client::WaitingRoomAdminServiceClient,
    },
};
use flashsale_testbed::{assert_failure, eventually};
use nix::sys::signal::{Signal, kill};

use crate::command::{Flashsale, channel, repository};

/// The calls of the contract that are not built yet.
const NOT_BUILT: [&str; 4] = ["UpdateSale", "ScheduleSale", "PauseSale", "RunDraw"];

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
    let mut sales = SaleServiceClient::new(channel.clone());
    let mut rooms = WaitingRoomAdminServiceClient::new(channel);
    macro_rules! refused {
        ($client:ident . $call:ident ( $request:ident )) => {{
            let mut request = $request::default();
            request.request_id = request_id.clone();
            request.sale_id = sale_id.clone();
            assert_failure(&$client.$call(request).await.unwrap_err(), Reason::NotImplemented);
        }};
    }
    refused!(sales.update_sale(UpdateSaleRequest));
    refused!(sales.schedule_sale(ScheduleSaleRequest));
    refused!(sales.pause_sale(PauseSaleRequest));
    refused!(rooms.run_draw(RunDrawRequest));

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
    assert!(said.contains("buf curl"), "the calls to try were not printed:\n{said}");
    assert_eq!(up.left_running(), Vec::<String>::new());
}
