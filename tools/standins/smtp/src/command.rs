//! The commands of RFC 5321, section 4.1, read from one line.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Ehlo,
    Helo,
    /// `MAIL FROM:<path> [SIZE=n] [BODY=…] [SMTPUTF8]`; the size the client announces, in bytes.
    Mail {
        from: String,
        size: Option<u64>,
    },
    Rcpt {
        to: String,
    },
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
}

/// Why a line is refused, with its reply code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// 500: not a command.
    Unknown,
    /// 501: malformed arguments.
    Arguments,
    /// 502: a command of the protocol that this server does not implement.
    NotImplemented,
    /// 555: a parameter this server does not know.
    Parameter,
}

impl Command {
    /// Parses a line, without its CRLF.
    ///
    /// # Errors
    /// [`Bad`], with the code to reply.
    pub fn parse(line: &str) -> Result<Self, Bad> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let bare = |command: Self| if rest.is_empty() { Ok(command) } else { Err(Bad::Arguments) };
        match verb.trim_end().to_ascii_uppercase().as_str() {
            "EHLO" if !rest.is_empty() => Ok(Self::Ehlo),
            "HELO" if !rest.is_empty() => Ok(Self::Helo),
            "EHLO" | "HELO" => Err(Bad::Arguments),
            "MAIL" => mail(rest),
            "RCPT" => rcpt(rest),
            "DATA" => bare(Self::Data),
            "RSET" => bare(Self::Rset),
            // "NOOP [string]", "VRFY string": the argument is ignored.
            "NOOP" => Ok(Self::Noop),
            "QUIT" => bare(Self::Quit),
            "VRFY" if !rest.is_empty() => Ok(Self::Vrfy),
            "VRFY" => Err(Bad::Arguments),
            "EXPN" | "HELP" | "STARTTLS" | "AUTH" | "TURN" => Err(Bad::NotImplemented),
            _ => Err(Bad::Unknown),
        }
    }
}

fn mail(rest: &str) -> Result<Command, Bad> {
    let (from, parameters) = path(rest, "FROM:")?;
    // "MAIL FROM:<>" is the null path of a bounce; anything else is an address.
    if !from.is_empty() && !plausible(&from) {
        return Err(Bad::Arguments);
    }
    let mut size = None;
    for parameter in parameters.split_whitespace() {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name.to_ascii_uppercase().as_str() {
            "SIZE" => size = Some(value.parse().map_err(|_| Bad::Arguments)?),
            "BODY" if ["7BIT", "8BITMIME"].contains(&value.to_ascii_uppercase().as_str()) => {}
            "BODY" => return Err(Bad::Arguments),
            "SMTPUTF8" if value.is_empty() => {}
            _ => return Err(Bad::Parameter),
        }
    }
    Ok(Command::Mail { from, size })
}

fn rcpt(rest: &str) -> Result<Command, Bad> {
    let (to, parameters) = path(rest, "TO:")?;
    if !parameters.trim().is_empty() {
        return Err(Bad::Parameter);
    }
    if !plausible(&to) {
        return Err(Bad::Arguments);
    }
    Ok(Command::Rcpt { to })
}

/// `FROM:<path> parameters` → the path and the parameters. A source route (`@a,@b:`) is dropped,
/// as section 4.1.2 says it should be.
fn path<'a>(rest: &'a str, keyword: &str) -> Result<(String, &'a str), Bad> {
    let head = rest.get(..keyword.len()).ok_or(Bad::Arguments)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(Bad::Arguments);
    }
    // Some clients put a space there, which the grammar forbids and servers accept.
    let open = rest[keyword.len()..].trim_start().strip_prefix('<').ok_or(Bad::Arguments)?;
    let (inner, parameters) = open.split_once('>').ok_or(Bad::Arguments)?;
    let inner = match inner.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((_, address)) => address,
        None => inner,
    };
    Ok((inner.to_owned(), parameters))
}

/// Section 4.5.3.1: a path up to 256 octets, a local part up to 64, a domain up to 255.
fn plausible(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let clean = !address.chars().any(|c| c.is_control() || c.is_whitespace());
    clean
        && (1..=64).contains(&local.len())
        && (1..=255).contains(&domain.len())
        && address.len() <= 254
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn commands_follow_the_grammar() {
        let mail = |from: &str, size| Ok(Command::Mail { from: from.into(), size });
        let rcpt = |to: &str| Ok(Command::Rcpt { to: to.into() });
        let long = format!("RCPT TO:<{}@x.example>", "l".repeat(65));
        let rows = [
            ("EHLO me.example", Ok(Command::Ehlo)),
            ("ehlo [127.0.0.1]", Ok(Command::Ehlo)),
            ("HELO", Err(Bad::Arguments)),
            ("MAIL FROM:<a@b.example>", mail("a@b.example", None)),
            ("mail from:<a@b.example> SIZE=12 BODY=8BITMIME", mail("a@b.example", Some(12))),
            ("MAIL FROM:<a@b.example> SMTPUTF8", mail("a@b.example", None)),
            ("MAIL FROM:<>", mail("", None)),
            ("MAIL FROM: <a@b.example>", mail("a@b.example", None)),
            ("MAIL FROM:a@b.example", Err(Bad::Arguments)),
            ("MAIL TO:<a@b.example>", Err(Bad::Arguments)),
            ("MAIL FROM:<a@b.example> SIZE=big", Err(Bad::Arguments)),
            ("MAIL FROM:<a@b.example> RET=FULL", Err(Bad::Parameter)),
            ("RCPT TO:<a@b.example>", rcpt("a@b.example")),
            ("RCPT TO:<@relay.example:a@b.example>", rcpt("a@b.example")),
            ("RCPT TO:<>", Err(Bad::Arguments)),
            ("RCPT TO:<a b@c.example>", Err(Bad::Arguments)),
            (long.as_str(), Err(Bad::Arguments)),
            ("DATA", Ok(Command::Data)),
            ("DATA now", Err(Bad::Arguments)),
            ("noop ignored", Ok(Command::Noop)),
            ("VRFY ada", Ok(Command::Vrfy)),
            ("STARTTLS", Err(Bad::NotImplemented)),
            ("GET / HTTP/1.1", Err(Bad::Unknown)),
            ("", Err(Bad::Unknown)),
        ];
        for (line, expected) in rows {
            assert_eq!(Command::parse(line), expected, "{line}");
        }
    }
}
