//! One SMTP dialogue, without I/O: the order of commands (RFC 5321, section 4.1.4) and its replies.

use crate::command::{Bad, Command};

/// Recipients of one message at most ("at least 100", section 4.5.3.1.8).
pub const MAX_RECIPIENTS: usize = 100;

/// The sender and recipients of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    pub from: String,
    pub to: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Not greeted yet.
    Fresh,
    /// Greeted, no mail transaction begun.
    Idle,
    /// A mail transaction has begun.
    Mail(Envelope),
}

/// A reply: lines of text under one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Reply {
    #[must_use]
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, lines: vec![text.into()] }
    }

    /// The bytes on the wire (section 4.2.1): `250-first`, …, `250 last`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let last = self.lines.len().saturating_sub(1);
        let mut text = String::new();
        for (n, line) in self.lines.iter().enumerate() {
            let separator = if n == last { ' ' } else { '-' };
            text.push_str(&format!("{}{separator}{line}\r\n", self.code));
        }
        text.into_bytes()
    }
}

/// What the server does after its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Command,
    /// Reads the message of this envelope.
    Data(Envelope),
    Close,
}

#[derive(Debug, Clone)]
pub struct Session {
    state: State,
    max_size: u64,
    reject: Option<String>,
}

impl Session {
    /// A dialogue not greeted yet. Messages may have up to `max_size` bytes; recipients that
    /// contain `reject`, in any case, do not exist.
    #[must_use]
    pub fn new(max_size: u64, reject: Option<&str>) -> Self {
        Self { state: State::Fresh, max_size, reject: reject.map(str::to_lowercase) }
    }

    #[must_use]
    pub fn greeting() -> Reply {
        Reply::new(220, "smtp-sink ESMTP ready: mail is kept, never sent")
    }

    /// Handles a command line, without its CRLF.
    pub fn take(&mut self, line: &str) -> (Reply, Next) {
        match Command::parse(line) {
            Ok(command) => self.run(command),
            Err(bad) => (refuse(bad), Next::Command),
        }
    }

    fn run(&mut self, command: Command) -> (Reply, Next) {
        let reply = match command {
            Command::Ehlo => {
                self.state = State::Idle;
                let size = format!("SIZE {}", self.max_size);
                let lines = ["smtp-sink", "PIPELINING", size.as_str(), "8BITMIME", "SMTPUTF8"];
                Reply { code: 250, lines: lines.map(str::to_owned).to_vec() }
            }
            Command::Helo => {
                self.state = State::Idle;
                Reply::new(250, "smtp-sink")
            }
            Command::Mail { from, size } => self.mail(from, size),
            Command::Rcpt { to } => self.rcpt(to),
            Command::Data => return self.data(),
            Command::Rset => {
                self.reset();
                Reply::new(250, "OK")
            }
            Command::Noop => Reply::new(250, "OK"),
            Command::Vrfy => Reply::new(252, "Cannot VRFY user, but will accept message"),
            Command::Quit => return (Reply::new(221, "Bye"), Next::Close),
        };
        (reply, Next::Command)
    }

    /// Aborts the mail transaction; the greeting stays valid.
    fn reset(&mut self) {
        if matches!(self.state, State::Mail(_)) {
            self.state = State::Idle;
        }
    }

    fn mail(&mut self, from: String, size: Option<u64>) -> Reply {
        match self.state {
            State::Fresh => return Reply::new(503, "Say EHLO first"),
            State::Mail(_) => return Reply::new(503, "A mail is already begun: RSET forgets it"),
            State::Idle => {}
        }
        // RFC 1870, section 6.1: a message that is announced as too large is refused at once.
        if size.is_some_and(|size| size > self.max_size) {
            return too_big();
        }
        self.state = State::Mail(Envelope { from, to: Vec::new() });
        Reply::new(250, "OK")
    }

    fn rcpt(&mut self, to: String) -> Reply {
        let State::Mail(envelope) = &mut self.state else {
            return Reply::new(503, "Say MAIL first");
        };
        if self.reject.as_ref().is_some_and(|part| to.to_lowercase().contains(part)) {
            return Reply::new(550, "No such user here");
        }
        if envelope.to.len() == MAX_RECIPIENTS {
            return Reply::new(452, "Too many recipients");
        }
        envelope.to.push(to);
        Reply::new(250, "OK")
    }

    fn data(&mut self) -> (Reply, Next) {
        let envelope = match &self.state {
            State::Fresh => return (Reply::new(503, "Say EHLO first"), Next::Command),
            State::Idle => return (Reply::new(503, "Say MAIL first"), Next::Command),
            State::Mail(envelope) if envelope.to.is_empty() => {
                return (Reply::new(503, "No valid recipients"), Next::Command);
            }
            State::Mail(envelope) => envelope.clone(),
        };
        self.state = State::Idle;
        (Reply::new(354, "End data with <CR><LF>.<CR><LF>"), Next::Data(envelope))
    }
}

/// 552 (RFC 1870, section 6.3).
#[must_use]
pub fn too_big() -> Reply {
    Reply::new(552, "Message exceeds the fixed maximum size")
}

fn refuse(bad: Bad) -> Reply {
    match bad {
        Bad::Unknown => Reply::new(500, "Command not recognised"),
        Bad::Arguments => Reply::new(501, "Syntax error in parameters or arguments"),
        Bad::NotImplemented => Reply::new(502, "Command not implemented"),
        Bad::Parameter => Reply::new(555, "Parameter not recognised"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn out_of_order_commands_change_nothing() {
        let rows: [(&[&str], u16); 11] = [
            (&["MAIL FROM:<a@b.c>"], 503),
            (&["RCPT TO:<a@b.c>"], 503),
            (&["DATA"], 503),
            (&["EHLO me", "RCPT TO:<a@b.c>"], 503),
            (&["EHLO me", "DATA"], 503),
            (&["EHLO me", "MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>"], 503),
            (&["EHLO me", "MAIL FROM:<a@b.c>", "DATA"], 503),
            (&["EHLO me", "MAIL FROM:<a@b.c>", "RSET", "RCPT TO:<a@b.c>"], 503),
            (&["EHLO me", "MAIL FROM:<a@b.c>", "EHLO me", "RCPT TO:<a@b.c>"], 503),
            (&["NOOP"], 250),
            (&["HELO me", "MAIL FROM:<>", "DATA", "RCPT TO:<a@b.c>"], 250),
        ];
        for (lines, code) in rows {
            let mut session = Session::new(1000, None);
            let mut last = 0;
            for line in lines {
                last = session.take(line).0.code;
            }
            assert_eq!(last, code, "{lines:?}");
        }
    }

    #[test]
    fn full_dialogue_yields_the_envelope() {
        let mut session = Session::new(1000, Some("NOBODY"));
        session.take("EHLO me");
        session.take("MAIL FROM:<a@b.c>");
        assert_eq!(session.take("RCPT TO:<nobody@x.y>").0.code, 550);
        assert_eq!(session.take("RCPT TO:<d@e.f>").0.code, 250);
        let expected = Envelope { from: "a@b.c".into(), to: vec!["d@e.f".into()] };
        assert_eq!(session.take("DATA").1, Next::Data(expected));
        assert_eq!(session.take("MAIL FROM:<a@b.c> SIZE=1001").0.code, 552);
        assert_eq!(session.take("QUIT").1, Next::Close);
    }

    #[test]
    fn number_of_recipients_is_bounded() {
        let mut session = Session::new(1000, None);
        session.take("EHLO me");
        session.take("MAIL FROM:<a@b.c>");
        for n in 0..MAX_RECIPIENTS {
            assert_eq!(session.take(&format!("RCPT TO:<u{n}@b.c>")).0.code, 250);
        }
        assert_eq!(session.take("RCPT TO:<more@b.c>").0.code, 452);
    }
}
