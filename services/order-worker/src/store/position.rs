//! How far the claims have read a stream.

use flashsale_pg::{SteppedPool, statement};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::steps;

/// A position, with the creation time of its stream: a stream that was created again counts from 1
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When the stream was created, to the microsecond.
    pub created: OffsetDateTime,
    /// The sequence number of the last message that was processed; 0 before the first.
    pub seq: u64,
}

impl Position {
    /// The position before the first message of a stream created at `created`, which is cut to
    /// Postgres's microseconds.
    pub fn start_of(created: OffsetDateTime) -> Self {
        let nanos = created.nanosecond() / 1_000 * 1_000;
        Self { created: created.replace_nanosecond(nanos).unwrap_or(created), seq: 0 }
    }
}

/// Reads the position in `stream`, which was created at `created` and whose last message is
/// `last_seq`.
///
/// If the recorded position belongs to an earlier stream of that name, or is ahead of the stream
/// because that lost its newest messages, it goes back to the start: the whole stream is read
/// again, and messages that are already recorded have no effect.
///
/// # Errors
/// When Postgres does not answer.
pub async fn open(
    pool: &SteppedPool,
    stream: &str,
    created: OffsetDateTime,
    last_seq: u64,
) -> Result<Position, sqlx::Error> {
    let start = Position::start_of(created);
    loop {
        let Some(recorded) = read(pool, stream).await? else {
            statement!(
                steps::SQL_POSITION_BEGIN,
                sqlx::query_file!("sql/position_begin.sql", stream, start.created)
            )
            .execute(pool)
            .await?;
            continue;
        };
        if recorded.created == start.created && recorded.seq <= last_seq {
            return Ok(recorded);
        }
        tracing::warn!(
            stream,
            recorded_seq = recorded.seq,
            last_seq,
            made_anew = recorded.created != start.created,
            "the stream is not the one the position counts in: reading it from the start"
        );
        let mut transaction = pool.begin().await?;
        // If another instance moved it first, the next round reads its result.
        advance(&mut transaction, stream, recorded, start).await?;
        transaction.commit(steps::SQL_POSITION_RESTART).await?;
    }
}

/// Reads the recorded position in `stream`; `None` before the first claim.
///
/// # Errors
/// When Postgres does not answer.
pub async fn read(pool: &SteppedPool, stream: &str) -> Result<Option<Position>, sqlx::Error> {
    let row =
        statement!(steps::SQL_POSITION_READ, sqlx::query_file!("sql/position_read.sql", stream))
            .fetch_optional(pool)
            .await?;
    Ok(row.map(|row| Position {
        created: row.stream_created,
        seq: u64::try_from(row.seq).unwrap_or_default(),
    }))
}

/// Moves the position by compare-and-set; false if it was no longer `from`.
pub(super) async fn advance(
    connection: &mut PgConnection,
    stream: &str,
    from: Position,
    to: Position,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query_file!(
        "sql/position_advance.sql",
        stream,
        from.created,
        signed(from.seq),
        to.created,
        signed(to.seq)
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// A sequence number as Postgres stores it; JetStream will not reach 2⁶³.
pub(super) fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
