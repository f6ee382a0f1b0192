//! What must change together, under one lock: the books, the keys, the log and the journal.

use std::io;
use std::path::Path;

use crate::clock;
use crate::idempotency::Keys;
use crate::ledger::{Ledger, StoredEvent};
use crate::log::Log;
use crate::state::{self, Journal, Logged, Record};

/// See the module.
#[derive(Debug)]
pub struct Core {
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keys,
    log: Log,
    journal: Option<Journal>,
}

impl Core {
    /// Empty books over this log, or those that the state's file has.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(log: Log, state: Option<&Path>) -> io::Result<Self> {
        let (ledger, keys) = (Ledger::default(), Keys::default());
        let mut core = Self { ledger, keys, log, journal: None };
        if let Some(path) = state {
            let found = state::read(path)?;
            for record in found.records {
                core.apply(record);
            }
            if let Some(Logged { at, text }) = found.logged {
                core.log.complete(at, &text)?;
            }
            core.journal = Some(Journal::replace(path, core.records())?);
        }
        Ok(core)
    }

    /// Carries out a step: writes it to the journal, then its lines to the log, and then applies
    /// it.
    ///
    /// # Errors
    /// If it cannot be written; then it has not happened.
    pub(crate) fn commit(&mut self, records: Vec<Record>, log: String) -> io::Result<()> {
        let at = self.log.end();
        let mut before = None;
        let log = match &mut self.journal {
            Some(journal) => {
                let logged = (!log.is_empty()).then_some(Logged { at, text: log });
                before = Some(journal.append(&records, logged.as_ref())?);
                logged.map(|logged| logged.text).unwrap_or_default()
            }
            None => log,
        };
        if let Err(error) = self.log.append(&log) {
            if let (Some(journal), Some(before)) = (&mut self.journal, before) {
                journal.undo(before)?;
            }
            return Err(error);
        }
        for record in records {
            self.apply(record);
        }
        Ok(())
    }

    /// Notes that an event needs no more attempts.
    pub(crate) fn delivered(&mut self, id: &str) {
        if self.ledger.events.get(id).is_none_or(|event| !event.pending) {
            return;
        }
        if let Err(error) = self.commit(vec![Record::Delivered(id.to_owned())], String::new()) {
            tracing::error!(%error, "an event's delivery could not be noted; it may be sent again");
        }
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Intent(intent) => self.ledger.intents.put(*intent),
            Record::Charge(charge) => self.ledger.put_charge(*charge),
            Record::Refund(refund) => self.ledger.put_refund(refund),
            Record::Dispute(dispute) => self.ledger.disputes.put(dispute),
            Record::Token(token) => self.ledger.tokens.put(token),
            Record::Event(event) => self.ledger.put_event(event),
            Record::Delivered(id) => {
                if let Some(event) = self.ledger.events.get(&id).cloned() {
                    self.ledger.put_event(StoredEvent { pending: false, ..event });
                }
            }
            Record::Key(key) => self.keys.restore(key),
            Record::AheadMs(ahead_ms) => clock::resume(ahead_ms),
        }
    }

    /// Everything there is.
    fn records(&self) -> impl Iterator<Item = Record> {
        let Ledger { intents, charges, refunds, disputes, tokens, events, .. } = &self.ledger;
        let intents = intents.iter().cloned().map(Box::new).map(Record::Intent);
        [Record::AheadMs(clock::ahead_ms())]
            .into_iter()
            .chain(intents)
            .chain(charges.iter().cloned().map(Box::new).map(Record::Charge))
            .chain(refunds.iter().cloned().map(Record::Refund))
            .chain(disputes.iter().cloned().map(Record::Dispute))
            .chain(tokens.iter().cloned().map(Record::Token))
            .chain(events.iter().cloned().map(Record::Event))
            .chain(self.keys.answered().map(Record::Key))
    }
}
