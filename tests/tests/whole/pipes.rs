//! A reader that closes the pipe early, as `head` does: no command may panic, or leave anything
//! running.

use std::process::Stdio;

use crate::command::{Said, ended, flashsale, left_running, own_home, piped, read_until};

/// The exit code by which shells report SIGPIPE.
const READER_GONE: i32 = 128 + 13;

/// The write end of a pipe without a reader.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn closed_stdout_ends_a_command_quietly() {
    let home = own_home();
    for args in [
        &["errors"][..],
        &["errors", "SOLD_OUT"],
        &["errors", "--json"],
        &["errors", "SOLD_OUT", "--json"],
    ] {
        let said = Said::by(flashsale(home.path(), args).stdout(closed()).stderr(Stdio::piped()));
        assert_eq!((said.code, said.err.as_str()), (Some(READER_GONE), ""), "{args:?}");
    }
    // The argument parser prints help itself.
    let said =
        Said::by(flashsale(home.path(), &["--help"]).stdout(closed()).stderr(Stdio::piped()));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn closed_stderr_keeps_the_exit_code() {
    let home = own_home();
    for (args, code) in [
        (&["errors", "NO_SUCH"][..], 1),
        (&["sale", "show", "--addr", "http://127.0.0.1:1"], 1),
        (&["run", "--buyers", "0"], 1),
        (&["run", "--export", "no-such-file.csv"], 1),
        (&["no-such-command"], 2),
    ] {
        let said = Said::by(flashsale(home.path(), args).stdout(Stdio::piped()).stderr(closed()));
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{args:?}");
    }
    let args = ["errors", "NO_SUCH", "--json"];
    let said = Said::by(flashsale(home.path(), &args).stdout(closed()).stderr(Stdio::piped()));
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
}

#[tokio::test]
async fn closed_pipe_stops_a_run() {
    let home = own_home();
    let mut command = flashsale(home.path(), &["run", "--buyers", "5000", "--rate", "20"]);
    let (mut child, mut output) = piped(&mut command);
    read_until(&mut output, "is open");
    drop(output);
    assert_eq!(ended(&mut child).await.code(), Some(READER_GONE));
    assert_eq!(left_running(home.path()), Vec::<String>::new());
    assert!(!home.path().join("report.json").exists(), "an unfinished run has proved nothing");
}

#[tokio::test]
async fn closed_pipe_stops_up() {
    let home = own_home();
    let (mut child, mut output) = piped(&mut flashsale(home.path(), &["up"]));
    read_until(&mut output, "starting Redis");
    drop(output);
    assert_eq!(ended(&mut child).await.code(), Some(READER_GONE));
    assert_eq!(left_running(home.path()), Vec::<String>::new());
    assert!(!home.path().join("up.json").exists());
}
