//! Pools whose statements are steps.

use std::ops::{Deref, DerefMut};

use flashsale_failpoint::{AsStep as _, Step};
#[cfg(doc)]
use sqlx::Error;
use sqlx::{
    FromRow, IntoArguments, PgConnection, PgPool, Postgres, Result, Transaction,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow},
    query::{Map, Query, QueryScalar},
};

/// A pool on which every statement names its step, see [`statement!`](crate::statement), and every
/// transaction the step of its commit. A clone is a handle on the same pool.
#[derive(Debug, Clone)]
pub struct SteppedPool(PgPool);

impl SteppedPool {
    /// Over a pool that may not be connected yet.
    pub const fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// The pool itself, for statements that change nothing: they have no kill points.
    pub const fn reads(&self) -> &PgPool {
        &self.0
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin(&self) -> Result<SteppedTransaction> {
        self.0.begin().await.map(SteppedTransaction)
    }

    /// A connection for several statements.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn acquire(&self) -> Result<SteppedConnection> {
        self.0.acquire().await.map(SteppedConnection)
    }
}

/// A connection of a [`SteppedPool`].
#[derive(Debug)]
pub struct SteppedConnection(PoolConnection<Postgres>);

/// A transaction of a [`SteppedPool`]. Its statements are part of its commit; it is rolled back if
/// it is dropped.
#[derive(Debug)]
pub struct SteppedTransaction(Transaction<'static, Postgres>);

impl SteppedTransaction {
    /// Commits, as `step`.
    ///
    /// # Errors
    /// When Postgres does not answer; the transaction may be committed.
    pub async fn commit(self, step: Step) -> Result<()> {
        self.0.commit().step(step).await
    }

    /// Rolls back.
    ///
    /// # Errors
    /// When Postgres does not answer; the transaction has no effect.
    pub async fn rollback(self) -> Result<()> {
        self.0.rollback().await
    }
}

impl Deref for SteppedTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for SteppedTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// A statement and its step: `statement!(steps::SQL_LOOKUP, query_file!("sql/lookup.sql", id))`,
/// with any of sqlx's macros for statements in files. It does not compile when the file is not the
/// one that the step is named after.
#[macro_export]
macro_rules! statement {
    ($step:expr, $($query:ident)::+ !($($row:ident,)? $file:literal $($args:tt)*)) => {{
        const STEP: $crate::Step = $step;
        const { assert!(STEP.is_of($file), "the step is named after another statement") };
        $crate::Statement::of(STEP, $($query)::+ !($($row,)? $file $($args)*))
    }};
}

/// A statement that is a step, see [`statement!`](crate::statement).
#[derive(Debug)]
#[must_use = "a statement does nothing unless it is sent"]
pub struct Statement<Q> {
    step: Step,
    query: Q,
}

impl<Q> Statement<Q> {
    /// For [`statement!`](crate::statement).
    #[doc(hidden)]
    pub const fn of(step: Step, query: Q) -> Self {
        Self { step, query }
    }
}

impl<A: Send + IntoArguments<Postgres>> Statement<Query<'_, Postgres, A>> {
    /// Sends it, for its effect.
    ///
    /// # Errors
    /// Those of Postgres.
    pub async fn execute(self, pool: &SteppedPool) -> Result<PgQueryResult> {
        self.query.execute(&pool.0).step(self.step).await
    }
}

/// What is sent for its rows: `query_file!` with rows and `query_file_as!` make a [`Map`] of it,
/// `query_file_scalar!` a [`QueryScalar`].
macro_rules! sent_for_rows {
    ($([$($generics:tt)*] $query:ty where { $($bounds:tt)* })+) => {$(
        impl<$($generics)*> Statement<$query>
        where
            $($bounds)*
        {
            /// Sends it; all of its rows.
            ///
            /// # Errors
            /// Those of Postgres.
            pub async fn fetch_all(self, pool: &SteppedPool) -> Result<Vec<O>> {
                self.query.fetch_all(&pool.0).step(self.step).await
            }

            /// Sends it on a connection that is kept; all of its rows.
            ///
            /// # Errors
            /// Those of Postgres.
            pub async fn fetch_all_on(self, connection: &mut SteppedConnection) -> Result<Vec<O>> {
                self.query.fetch_all(&mut *connection.0).step(self.step).await
            }

            /// Sends it; its one row.
            ///
            /// # Errors
            /// Those of Postgres; [`Error::RowNotFound`].
            pub async fn fetch_one(self, pool: &SteppedPool) -> Result<O> {
                self.query.fetch_one(&pool.0).step(self.step).await
            }

            /// Sends it; its row, if it has one.
            ///
            /// # Errors
            /// Those of Postgres.
            pub async fn fetch_optional(self, pool: &SteppedPool) -> Result<Option<O>> {
                self.query.fetch_optional(&pool.0).step(self.step).await
            }
        }
    )+};
}

sent_for_rows! {
    ['q, F, O, A] Map<'q, Postgres, F, A> where {
        F: FnMut(PgRow) -> Result<O> + Send,
        O: Send + Unpin,
        A: 'q + Send + IntoArguments<Postgres>,
    }
    ['q, O, A] QueryScalar<'q, Postgres, O, A> where {
        O: Send + Unpin,
        A: 'q + Send + IntoArguments<Postgres>,
        (O,): Send + Unpin + for<'r> FromRow<'r, PgRow>,
    }
}
