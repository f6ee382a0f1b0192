//! The clients in `clients/`: a shop's programs in other languages, against a running
//! `flashsale up`.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use flashsale_errors::Reason;
use flashsale_testbed::eventually;
use nix::sys::signal::{Signal, kill};

use crate::command::{Flashsale, Said, repository, tools};

/// Builds the command of a client; the address, the sale and the sku are yet to be appended.
type Client = fn(made: &Path) -> Command;

/// One test for all clients, because a start of the platform takes seconds.
#[tokio::test]
async fn generated_clients_complete_the_journey() {
    // Three of each: one buyer takes two, the next one wants two.
    let mut up = Flashsale::start(&["up", "--quantity", "3"]);
    let made = up.home().join("clients");
    for language in ["python", "typescript"] {
        let mut script = Command::new(repository().join("scripts/clients.sh"));
        let said = Said::by(script.arg(language).arg(made.join(language)));
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    eventually("up is up", || {
        let there = up.home().join("up.json").exists();
        async move { there.then_some(()) }
    })
    .await;
    let about = up.json("up.json");
    let [address, sale_id, key] =
        ["grpc", "sale_id", "shop_key_file"].map(|name| about[name].as_str().unwrap());

    for (client, sku) in [(python_journey as Client, "TW-CAP-OLV"), (typescript, "TW-CAP-SND")] {
        let said = Said::by(client(&made).args([&shaky(address), sale_id, sku, key]));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(without_what_depends_on_time(&said.out), journey(sku), "{said:?}");
    }
    reflection_is_enough(&made, &[address, sale_id, "TW-MUG-01", key]);
    what_was_not_expected_ends_with_its_reason(&made, &[address, sale_id, "NO-SUCH-SKU", key]);

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}

/// The output of either client, without numbers in the line and passing states of an order.
fn journey(sku: &str) -> String {
    format!(
        "# Ada buys two\n\
         admitted\n\
         held: 2 x {sku} for 58.00 EUR\n\
         placed\n\
         sent again: the same order\n\
         # The same request id for something else\n\
         refused: ALREADY_EXISTS REQUEST_ID_REUSED (flashsale.dev)\n\
         \x20 field request_id: was used for a request with other content\n\
         \x20 help {reused}\n\
         # A request that makes no sense\n\
         refused: INVALID_ARGUMENT ARGUMENT_INVALID (flashsale.dev)\n\
         \x20 field contact.email: must be one mail address such as ada@example.com, at most 254 ASCII characters\n\
         \x20 help {invalid}\n\
         # Bob wants two, and there is one\n\
         admitted\n\
         refused: FAILED_PRECONDITION SOLD_OUT (flashsale.dev)\n\
         \x20 available = 1\n\
         \x20 requested = 2\n\
         \x20 sku = {sku}\n\
         \x20 help {sold_out}\n\
         left: 1\n\
         placed\n\
         # Ada's order\n\
         order: CONFIRMED\n\
         paid: 58.00 EUR\n\
         # Bob's order\n\
         order: CONFIRMED\n\
         paid: 29.00 EUR\n",
        reused = Reason::RequestIdReused.help_url(),
        invalid = Reason::ArgumentInvalid.help_url(),
        sold_out = Reason::SoldOut.help_url(),
    )
}

fn without_what_depends_on_time(said: &str) -> String {
    let passing = ["ACCEPTANCE_PENDING", "ACCEPTED", "CLAIMED", "PAYING"];
    let stays = |line: &&str| {
        !line.starts_with("joined: number ")
            && !passing.iter().any(|state| *line == format!("order: {state}"))
    };
    said.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

fn reflection_is_enough(made: &Path, arguments: &[&str]) {
    let mut command = python(made, "reflection.py");
    // Without our generated code: the client has to use the server's reflection.
    command.env("PYTHONPATH", packages("python"));
    let said = Said::by(command.args(arguments));
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "serves flashsale.checkout.v1.CheckoutService",
        "serves grpc.health.v1.Health",
        "OUTLOOK_ADMITTED",
        "ORDER_STATE_CONFIRMED",
        "refused: NOT_FOUND ORDER_NOT_FOUND (flashsale.dev)",
    ] {
        assert!(said.out.lines().any(|each| each == line), "no line {line:?}: {said:?}");
    }
}

fn what_was_not_expected_ends_with_its_reason(made: &Path, arguments: &[&str]) {
    for client in [python_journey as Client, typescript, python_reflection] {
        let said = Said::by(client(made).args(arguments));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("this was not to be refused"), "{said:?}");
        assert!(
            said.err.contains("SKU_NOT_FOUND: the sale does not offer NO-SUCH-SKU"),
            "{said:?}"
        );
        let said = Said::by(&mut client(made));
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("usage:"), "{said:?}");
    }
}

/// Another address of the server, where the first two connections break, so that a client has to
/// reconnect.
fn shaky(address: &str) -> String {
    let server: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming().skip(2) {
            let (here, there) = (connection.unwrap(), TcpStream::connect(server).unwrap());
            for (mut from, mut to) in
                [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)]
            {
                thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    // The other direction ends too.
                    to.shutdown(std::net::Shutdown::Both).ok();
                });
            }
        }
    });
    address
}

fn python_journey(made: &Path) -> Command {
    python(made, "journey.py")
}

fn python_reflection(made: &Path) -> Command {
    python(made, "reflection.py")
}

fn python(made: &Path, program: &str) -> Command {
    let path = [packages("python"), made.join("python/gen")];
    let mut command = Command::new("python3");
    command
        .arg(repository().join("clients/python").join(program))
        .env("PYTHONPATH", std::env::join_paths(path).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

fn typescript(made: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(made.join("typescript/dist/src/journey.js")).stdin(Stdio::null());
    command
}

/// The packages that set-up has installed for a language.
fn packages(language: &str) -> PathBuf {
    tools().join("clients").join(language)
}
